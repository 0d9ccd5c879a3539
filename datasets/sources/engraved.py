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

from datasets.errors import CorpusError
from datasets.scores import mei
from datasets.scores.score import SUFFIXES, Score, read_score, score_bytes
from datasets.sources import grand, keyboard, listing, tunes
from datasets.sources.base import Harvest, Piece, Reject, Request, Source, UnusableError, counted, nothing_found
from datasets.sources.cutter import Cutter
from datasets.staff import StaffSample, StaffSize

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

_SECONDS_A_SCORE = 600.0  # 16 parts of 250 measures take 50 on an idle core
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

    def seconds_a_piece(self, request: Request) -> float:
        """A tune is short, but one of the user's scores may be an opera."""
        return super().seconds_a_piece(request) if request.root is None else _SECONDS_A_SCORE

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
            measures = mei.read(_read_tune(piece.content).root)
        except (mei.MeiError, ET.ParseError) as error:
            raise UnusableError(*counted(str(error))) from None
        cutter = Cutter(
            name=piece.work,
            work=piece.work,
            source=collection_of(piece.work),
            measures=measures,
            size=request.size,
            seed=request.seed,
            most=STAVES_OF_A_TUNE,
        )
        return Harvest(tuple(cutter.staves()), tuple(cutter.rejects))


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
        pieces += _book(name, path, root) or [Piece(name, name, group=name, content=path)]
    return listing.shuffled(pieces, seed)


def _book(name: str, path: str, root: Path) -> list[Piece]:
    """The tunes of an ABC file with more than one, by title as in the embedded corpus; else nothing."""
    if not path.lower().endswith(tunes.SUFFIX):
        return []
    try:
        texts = tunes.tunes_of(root / path)
    except OSError:
        return []  # a worker will say so
    if len(texts) < 2:
        return []
    names = [f"{name}/{number}" for number in range(1, len(texts) + 1)]
    return [
        Piece(each, each, group=tunes.title_of(text) or each, content=path)
        for each, text in zip(names, texts, strict=True)
    ]


def _from_file(piece: Piece, request: Request) -> Harvest:
    """The staves of one of the user's scores: all of them, single ones from their labels, grand ones as they stand."""
    path = request.path(piece)
    if path.suffix.lower() != tunes.SUFFIX:
        return _from_score(piece, read_score(score_bytes(path), path.suffix.lower()), request)
    book, (_, _, number) = tunes.tunes_of(path), piece.name.rpartition("/")
    tune = book[int(number) - 1 if len(book) > 1 else 0]
    harvest = _from_score(piece, _read_tune(tune), request)
    if not tunes.changes_key(tune):
        return harvest
    return Harvest(harvest.staves, (*harvest.rejects, Reject(piece.name, "music after a change of key is left out")))


def _from_score(piece: Piece, score: Score, request: Request) -> Harvest:
    """The staves of a score; a single staff that cannot be read at all is a reject of its own."""
    if request.size.staves > 1:
        return grand.harvest(piece.name, SCORES, score, request.size, request.seed)
    staves: list[StaffSample] = []
    rejects: list[Reject] = []
    for place, number in enumerate(score.staff_numbers, start=1):
        name = f"{piece.name}/staff-{place}"
        try:
            measures = mei.read_single_voice(score.root, number)
        except mei.MeiError as error:
            rejects.append(Reject(name, *counted(str(error))))
            continue
        cutter = Cutter(
            name=name,
            work=piece.work,
            source=SCORES,
            measures=measures,
            size=request.size,
            seed=request.seed,
            most=None,
        )
        staves += cutter.staves()
        rejects += cutter.rejects
    return Harvest(tuple(staves), tuple(rejects))


def _read_tune(abc: str) -> Score:
    """Read one tune.

    Raises:
        MeiError: as `read_score`, or it is in several voices.
    """
    if tunes.has_several_voices(abc):
        raise mei.MeiError("ABC in several voices")
    return read_score(tunes.readable(abc).encode(), tunes.SUFFIX)


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
