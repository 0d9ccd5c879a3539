"""CPMS, camera photographs of printed scores: 1,263 single lines, each a picture beside its label.

    semantic/training/<n>/<n>.jpg, <n>.semantic      663 lines, labelled with printed accidentals
    semantic/test/<n>/<n>.jpeg, <n>.semantic         600 lines, labelled with what sounds

Many lines stand there in two photographs: `96826807-26` is `6826807-26` again, with the same label. So the work is the
number before the hyphen without the 9 that stands before its seven digits; taken as it is, it would put one photograph
of a line into training and the other into validation.

Known noise: no natural sign is labelled in the training folder, though some are printed, and no fermata; a tuplet is
labelled by its printed values. The whole pages in `data/`, with boxes around their notes, are left alone: their lines
have no label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from datasets.sources import listing, pairs
from datasets.sources.base import Harvest, Piece, Request, Source, UnusableError, nothing_found, training_split_of

_FOLDER = re.compile(r"(?:(?:.*/)?semantic/)?(training|test)/.")
_SECOND_PHOTOGRAPH = re.compile(r"9(?=\d{7}$)")


class CpmsSource(Source):
    """Photographed lines, as published or split anew by work."""

    name = "cpms"
    recipe = 1
    options = MappingProxyType({"split": ("published", "work")})

    def pieces(self, request: Request) -> Sequence[Piece]:
        lines = pairs.each_once(_lines(request.folder)[0], _line)
        if not lines:
            raise nothing_found(self.name, request.root, "semantic/training/<n>/<n>.jpg beside <n>.semantic")
        splits = _published_splits(lines) if request.options["split"] == "published" else {}
        return listing.shuffled((_piece(stem, splits.get(stem, "")) for stem in lines), request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        if request.options["split"] == "published" and not piece.published:
            raise UnusableError("a training line of a work that the test folder has too", piece.work)
        picture, symbols = pairs.read(request.path(piece))
        if _folder(piece.content) == "test":
            symbols = pairs.printed(symbols)
        return Harvest((pairs.staff(piece, self.name, picture, symbols, request.size),))

    def remarks(self, request: Request) -> Sequence[str]:
        lines, left = _lines(request.folder)
        twice = len(lines) - len(pairs.each_once(lines, _line))
        remarks = []
        if left:
            remarks.append(f"left alone: {left:,} outside semantic/ (whole pages, whose lines have no label)")
        if twice:
            remarks.append(f"left out: {twice:,} lines that stand below {request.folder} twice")
        return remarks


def _lines(root: Path) -> tuple[dict[str, int], int]:
    """The stems of all lines with their number of files, and how many stems are no line's."""
    found = pairs.stems(listing.files_below(root))
    lines = {stem: files for stem, files in found.items() if _FOLDER.match(stem)}
    return lines, len(found) - len(lines)


def _line(stem: str) -> str:
    """`training/<n>/<n>`, wherever the folder stands."""
    match = _FOLDER.match(stem)
    return stem[match.start(1) :] if match else stem


def _published_splits(lines: Sequence[str]) -> dict[str, str]:
    """The split of each line; one of the training folder whose work is tested has none."""
    tested = {work_of(stem) for stem in lines if _folder(stem) == "test"}
    splits = {}
    for stem in lines:
        work = work_of(stem)
        if _folder(stem) == "test":
            splits[stem] = "test"
        elif work not in tested:
            splits[stem] = training_split_of(work)
    return splits


def _piece(stem: str, published: str) -> Piece:
    work = work_of(stem)
    return Piece(listing.printable(stem), work, group=work, content=stem, published=published)


def work_of(stem: str) -> str:
    """The score that a line was photographed from: `training/96826807-26/96826807-26` is of 6826807."""
    number = listing.printable(PurePosixPath(stem).name).partition("-")[0]
    return _SECOND_PHOTOGRAPH.sub("", number)


def _folder(stem: str) -> str:
    match = _FOLDER.match(stem)
    return match[1] if match else ""
