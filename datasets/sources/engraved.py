"""The embedded corpus: folk songs and fiddle tunes out of the music21 package, engraved staff by staff.

Nothing is downloaded: music21 ships the tunes as ABC text. They are taken in turn from all collections, so that the
8,500 songs of the Essen collection do not crowd out the rest. music21 itself is not imported, which would take
seconds; only its files are read.

The same tune stands in several collections under one title, so the title decides the split. Of each tune a few staves
are taken, and those first that show the most accidentals, ties, dots, rests, chords, grace notes and meters: taken
as they come, one note in a hundred would have an accidental.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import verovio

from datasets import mei
from datasets.engraving import EngravingError, TooWideError, engrave
from datasets.errors import CorpusError
from datasets.images import Gray
from datasets.measures import Measure, StaffRun, cut
from datasets.notation import format_semantic
from datasets.seeds import seed_from
from datasets.sources.base import Harvest, Piece, Reject, Request, Source, UnusableError
from datasets.staff import StaffSample, StaffSize

COLLECTIONS = (
    "essenFolksong",
    "ryansMammoth",
    "oneills1850",
    "airdsAirs",
    "miscFolk",
)
STAVES_OF_A_TUNE = 4
_LIMITS = {"short": 7200, "full": 6400}
_SPACES_A_SYMBOL = 2.9  # staff spaces that a symbol takes on the average
_SHORTEST = 0.75  # a staff is cut at 75 to 100 % of what would fill it, so that lengths vary

_TUNE_START = re.compile(r"^(?=X:)", re.MULTILINE)
_KEY = re.compile(r"^K:|\[K:", re.MULTILINE)
_TITLE = re.compile(r"^T:(.*)$", re.MULTILINE)
_PLAIN_KINDS = frozenset({"clef", "keySignature", "note", "barline"})
_KINDS_OF_TUNE = frozenset(
    (
        *("a", "an", "and", "or", "the", "das", "der", "die", "ein", "eine"),
        *("air", "clog", "dance", "highland", "hornpipe", "jig", "march", "polka", "quickstep", "reel", "slip"),
        *("strathspey", "waltz"),
    )
)


class EngravedSource(Source):
    """Single staves of ABC tunes, drawn by Verovio."""

    name = "engraved"
    recipe = 2
    needs_root = False
    takes_root = False

    def default_limit(self, size: StaffSize) -> int | None:
        return _LIMITS.get(size.name, _LIMITS["full"])

    def pieces(self, request: Request) -> Sequence[Piece]:
        folder = corpus_folder()
        rng = np.random.default_rng(request.seed)
        shuffled = []
        for collection in COLLECTIONS:
            tunes = list(_tunes(folder / collection))
            shuffled.append([tunes[index] for index in rng.permutation(len(tunes))])
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
        return [piece for piece in in_turn if piece is not None]

    def staves(self, piece: Piece, request: Request) -> Harvest:
        try:
            measures = mei.read(_abc_to_mei(before_key_change(piece.content)))
        except (mei.MeiError, ET.ParseError) as error:
            raise UnusableError(str(error)) from None
        cutter = _Cutter(piece, measures, request.size, request.seed)
        return Harvest(tuple(cutter.staves()), tuple(cutter.rejects))


@dataclass(frozen=True)
class _Cut:
    """A stretch of a tune for one staff: `count` measures from the index `start` on."""

    start: int
    count: int


class _Cutter:
    """Cuts a tune into staves and engraves those that show the most of what is rare."""

    def __init__(self, piece: Piece, measures: Sequence[Measure], size: StaffSize, seed: int) -> None:
        self.piece = piece
        self.measures = measures
        self.size = size
        self.seed = seed
        self.rejects: list[Reject] = []

    def staves(self) -> list[StaffSample]:
        richest_first = sorted(self._cuts(), key=lambda cut_: -_rarities(self._run(cut_)))
        staves: list[StaffSample] = []
        for cut_ in richest_first:
            if len(staves) == STAVES_OF_A_TUNE:
                break
            try:
                staves.append(self._staff(cut_))
            except EngravingError as error:
                self._reject(cut_.start, str(error))
        return staves

    def _cuts(self) -> Iterator[_Cut]:
        """The whole tune in stretches, without the measures that the encoding cannot say."""
        start = 0
        while start < len(self.measures):
            count = self._count(start)
            if self.measures[start].problem:
                self._reject(start, self.measures[start].problem)
            elif count == 0:
                self._reject(start, "more symbols than the size allows")
            else:
                yield _Cut(start, count)
            start += max(1, count)

    def _count(self, start: int) -> int:
        """How many measures a staff from `start` on is to hold, by the number of their symbols."""
        longest = self.size.max_symbols
        natural = min(longest, self.size.width / self.size.staff_space / _SPACES_A_SYMBOL)
        wanted = natural * np.random.default_rng(self._seed(start)).uniform(_SHORTEST, 1.0)
        count = 0
        for end in range(start + 1, len(self.measures) + 1):
            length = len(cut(self.measures[start:end]).symbols)
            if self.measures[end - 1].problem or length > (wanted if count > 1 else longest):
                break
            count += 1
        return count

    def _staff(self, cut_: _Cut) -> StaffSample:
        run, image = self._engrave(cut_)
        return StaffSample(
            staff_id=self._name(cut_.start),
            work=self.piece.work,
            source=collection_of(self.piece.work),
            image=image,
            semantic=format_semantic(run.symbols),
        )

    def _engrave(self, cut_: _Cut) -> tuple[StaffRun, Gray]:
        """Engrave a stretch, or as much of it as the image is wide; a single measure tightly if need be."""
        run, seed = self._run(cut_), self._seed(cut_.start)
        try:
            return run, engrave(run, self.size, seed)
        except TooWideError as error:
            if cut_.count == 1:
                return run, engrave(run, self.size, seed, tight=True)
            return self._engrave(_Cut(cut_.start, max(1, min(error.measures, cut_.count - 1))))

    def _run(self, cut_: _Cut) -> StaffRun:
        return cut(self.measures[cut_.start : cut_.start + cut_.count])

    def _name(self, start: int) -> str:
        return f"{self.piece.work}/{start + 1}"

    def _seed(self, start: int) -> int:
        return seed_from(self.seed, self._name(start))

    def _reject(self, start: int, reason: str) -> None:
        self.rejects.append(Reject(self._name(start), reason))


def _rarities(run: StaffRun) -> int:
    """How many symbols are more than a plain note: folk tunes have hundreds of those for one accidental."""
    return sum(bool(symbol.lift) or "." in symbol.rhythm or symbol.kind not in _PLAIN_KINDS for symbol in run.symbols)


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


def normalised_title(title: str) -> str:
    """A title as its words without accents, articles and kinds of tune: "The Bonnie Lass -- Reel" is "bonnie lass"."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower().replace("'", "")
    words = re.findall(r"[a-z0-9]+", plain)
    return " ".join([word for word in words if word not in _KINDS_OF_TUNE] or words)


def _tunes(folder: Path) -> Iterator[Piece]:
    for path in sorted(folder.rglob("*.abc")):
        tunes = _TUNE_START.split(path.read_text(encoding="utf-8", errors="replace"))[1:]
        for number, text in enumerate(tunes, start=1):
            work = f"{folder.name}/{path.stem}/{number}"
            title = _TITLE.search(text)
            yield Piece(work, work, group=(title and normalised_title(title[1])) or work, content=text)


def before_key_change(abc: str) -> str:
    """A tune up to its first change of key: Verovio's ABC reader would go on in the old one."""
    keys = list(_KEY.finditer(abc))
    if len(keys) < 2:
        return abc
    music = abc[: keys[1].start()]
    return music[: music.rindex("|") + 1] if "|" in music else music


def _abc_to_mei(abc: str) -> str:
    """One tune as MEI; a fresh toolkit each time, because a used one aborts more often."""
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setInputFrom("abc")
    if not toolkit.loadData(abc):
        raise mei.MeiError("the ABC reader refuses it")
    return str(toolkit.getMEI())
