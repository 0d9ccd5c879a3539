"""The embedded corpus: music out of the music21 package, engraved staff by staff; or the user's own scores.

Nothing is downloaded: music21 ships folk songs and fiddle tunes as ABC text. They are taken in turn from all
collections, so that the 8,500 songs of the Essen collection do not crowd out the rest. music21 itself is not imported,
which would take seconds; only its files are read.

The same tune stands in several collections under one title, so the title decides the split. Of each tune a few staves
are taken, and those first that show the most accidentals, ties, dots, rests, chords, grace notes and meters: taken
as they come, one note in a hundred would have an accidental.

Grand staves are Bach's chorales and piano music (`datasets.sources.keyboard`).

With `root=` the scores in the user's folder take the place of all this (formats: `datasets.scores.score`).
"""

from __future__ import annotations

import importlib.util
import itertools
import posixpath
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import verovio

from datasets.errors import CorpusError
from datasets.scores import mei
from datasets.scores.score import SUFFIXES, read_score
from datasets.sources import grand, keyboard, listing, tunes
from datasets.sources.base import Harvest, Piece, Request, Source, UnusableError, nothing_found
from datasets.sources.cutter import Cutter
from datasets.staff import StaffSize

COLLECTIONS = (
    "essenFolksong",
    "ryansMammoth",
    "oneills1850",
    "airdsAirs",
    "miscFolk",
)
STAVES_OF_A_TUNE = 4
SCORES = "scores"
"""The source of staves out of the user's scores."""

_LIMITS = {"short": 7200, "full": 6400}


class EngravedSource(Source):
    """Single staves and grand staves, drawn by Verovio."""

    name = "engraved"
    recipe = 3
    needs_root = False
    default_staff = "short"
    staves_an_image = (1, 2)

    def default_limit(self, size: StaffSize) -> int | None:
        return None if size.staves > 1 else _LIMITS.get(size.name, _LIMITS["full"])

    def pieces(self, request: Request) -> Sequence[Piece]:
        if request.root is not None:
            return _files(request.root, request.seed)
        if request.size.staves > 1:
            return listing.shuffled(keyboard.pieces(corpus_folder()), request.seed)
        return _tunes_in_turn(corpus_folder(), request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        try:
            if request.root is not None:
                return _from_file(piece, request)
            if request.size.staves > 1:
                return keyboard.harvest(piece, corpus_folder(), request)
            measures = mei.read(_abc_to_mei(tunes.readable(piece.content)))
        except (mei.MeiError, ET.ParseError) as error:
            reason, _, detail = str(error).partition(": ")
            raise UnusableError(reason, detail) from None
        return _single_staves(
            Cutter(
                name=piece.work,
                work=piece.work,
                source=collection_of(piece.work),
                measures=measures,
                size=request.size,
                seed=request.seed,
                most=STAVES_OF_A_TUNE,
            )
        )


def _single_staves(*cutters: Cutter) -> Harvest:
    staves = tuple(itertools.chain.from_iterable(cutter.staves() for cutter in cutters))
    return Harvest(staves, tuple(itertools.chain.from_iterable(cutter.rejects for cutter in cutters)))


def _files(root: Path, seed: int) -> Sequence[Piece]:
    """The user's scores, each a work of its own; of a book of ABC tunes each tune is one."""
    paths = [path for path in listing.files_below(root) if PurePosixPath(path).suffix.lower() in SUFFIXES]
    if not paths:
        raise nothing_found("engraved", root, f"scores ({', '.join(SUFFIXES)})")
    # Names are from the innermost folder of all on, so that an archive with a folder around gives the same staves.
    outer = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    pieces: list[Piece] = []
    for path in paths:
        name = listing.printable(posixpath.relpath(path, outer or "."))
        count = len(tunes.tunes_of(root / path)) if path.lower().endswith(tunes.SUFFIX) else 1
        names = [f"{name}/{number}" for number in range(1, count + 1)] if count > 1 else [name]
        pieces += [Piece(each, each, group=name, content=path) for each in names]
    return listing.shuffled(pieces, seed)


def _from_file(piece: Piece, request: Request) -> Harvest:
    """The staves of one of the user's scores: all of them, single ones from their labels, grand ones as they stand."""
    path = request.path(piece)
    if path.suffix.lower() == tunes.SUFFIX:
        book, (_, _, number) = tunes.tunes_of(path), piece.name.rpartition("/")
        data = tunes.readable(book[int(number) - 1 if len(book) > 1 else 0]).encode()
    else:
        data = path.read_bytes()
    score = read_score(data, path.suffix.lower())
    if request.size.staves > 1:
        return grand.harvest(piece.name, SCORES, score, request.size, request.seed)
    return _single_staves(
        *(
            Cutter(
                name=f"{piece.name}/staff-{place}",
                work=piece.work,
                source=SCORES,
                measures=mei.read_single_voice(score.root, number),
                size=request.size,
                seed=request.seed,
                most=None,
            )
            for place, number in enumerate(score.staff_numbers, start=1)
        )
    )


def _tunes_in_turn(folder: Path, seed: int) -> Sequence[Piece]:
    """The tunes of all collections, one of each after the other."""
    rng = np.random.default_rng(seed)
    shuffled = []
    for collection in COLLECTIONS:
        pieces = list(_tunes(folder / collection))
        shuffled.append([pieces[index] for index in rng.permutation(len(pieces))])
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
    return [piece for piece in in_turn if piece is not None]


def corpus_folder() -> Path:
    """The folder of scores inside the installed music21 package.

    Raises:
        CorpusError: the package is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise CorpusError("data=engraved takes its tunes from the music21 package, which is not installed")
    return Path(spec.origin).parent / "corpus"


def collection_of(work: str) -> str:
    """The collection that a tune stands in, one of `COLLECTIONS`: the source of its staves."""
    return work.partition("/")[0]


def _tunes(folder: Path) -> Iterator[Piece]:
    for path in sorted(folder.rglob(f"*{tunes.SUFFIX}")):
        for number, text in enumerate(tunes.tunes_of(path), start=1):
            work = f"{folder.name}/{path.stem}/{number}"
            yield Piece(work, work, group=tunes.title_of(text) or work, content=text)


def _abc_to_mei(abc: str) -> str:
    """One tune as MEI; a fresh toolkit each time, because a used one aborts more often."""
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setInputFrom("abc")
    if not toolkit.loadData(abc):
        raise mei.MeiError("the ABC reader refuses it")
    return str(toolkit.getMEI())
