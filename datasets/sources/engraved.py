"""The embedded corpus: folk songs and fiddle tunes out of the music21 package, engraved staff by staff.

Nothing is downloaded: music21 ships the tunes as ABC text. They are taken in turn from all collections, so that the
8,500 songs of the Essen collection do not crowd out the rest. music21 itself is not imported, which would take
seconds; only its files are read.

The same tune stands in several collections under one title, so the title decides the split.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
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
from datasets.sources.base import Harvest, Piece, Reject, Source
from datasets.staff import StaffSample, StaffSize

COLLECTIONS = (
    "essenFolksong",
    "ryansMammoth",
    "oneills1850",
    "airdsAirs",
    "nottingham-dataset",
    "miscFolk",
)
STAVES_OF_A_TUNE = 4
_LIMITS = {"short": 7200, "full": 6400}
_SHORTEST = 0.75  # a staff is cut at 75 to 100 % of the size's longest label, so that lengths vary

_TUNE_START = re.compile(r"^(?=X:)", re.MULTILINE)
_KEY = re.compile(r"^K:|\[K:", re.MULTILINE)
_TITLE = re.compile(r"^T:(.*)$", re.MULTILINE)
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
    recipe = 1

    def default_limit(self, size: StaffSize) -> int | None:
        return _LIMITS[size.name]

    def pieces(self, seed: int) -> Sequence[Piece]:
        folder = corpus_folder()
        rng = np.random.default_rng(seed)
        shuffled = []
        for collection in COLLECTIONS:
            tunes = list(_tunes(folder / collection))
            shuffled.append([tunes[index] for index in rng.permutation(len(tunes))])
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
        return [piece for piece in in_turn if piece is not None]

    def staves(self, piece: Piece, size: StaffSize, seed: int) -> Harvest:
        try:
            measures = mei.read(_abc_to_mei(before_key_change(piece.content)))
        except (mei.MeiError, ET.ParseError) as error:
            return Harvest(rejects=(Reject(piece.work, str(error)),))
        cutter = _Cutter(piece, measures, size, seed)
        cutter.run()
        return Harvest(tuple(cutter.staves), tuple(cutter.rejects))


class _Cutter:
    """Cuts a tune into staves from its start, measure by measure, until there are enough."""

    def __init__(self, piece: Piece, measures: Sequence[Measure], size: StaffSize, seed: int) -> None:
        self.piece = piece
        self.measures = measures
        self.size = size
        self.seed = seed
        self.staves: list[StaffSample] = []
        self.rejects: list[Reject] = []

    def run(self) -> None:
        position = 0
        while position < len(self.measures) and len(self.staves) < STAVES_OF_A_TUNE:
            measure = self.measures[position]
            if measure.problem:
                self._reject(position, measure.problem)
                position += 1
            else:
                position += self._staff_at(position)

    def _staff_at(self, position: int) -> int:
        """Make a staff that starts with the measure at `position`; the number of measures used up."""
        staff_id = f"{self.piece.work}/{position + 1}"
        seed = seed_from(self.seed, staff_id)
        count = self._fitting(position, seed)
        if count == 0:
            self._reject(position, "more symbols than the size allows")
            return 1
        try:
            run, image, count = self._engrave(position, count, seed)
        except EngravingError as error:
            self._reject(position, str(error))
            return count
        self.staves.append(
            StaffSample(
                staff_id=staff_id,
                work=self.piece.work,
                source=EngravedSource.name,
                image=image,
                semantic=format_semantic(run.symbols),
            )
        )
        return count

    def _fitting(self, position: int, seed: int) -> int:
        """How many measures from `position` on a staff may hold by the number of their symbols."""
        longest = self.size.max_symbols
        wanted = np.random.default_rng(seed).uniform(_SHORTEST, 1.0) * longest
        count = 0
        for end in range(position + 1, len(self.measures) + 1):
            length = len(cut(self.measures[position:end]).symbols)
            if self.measures[end - 1].problem or length > (wanted if count else longest):
                break
            count += 1
        return count

    def _engrave(self, position: int, count: int, seed: int) -> tuple[StaffRun, Gray, int]:
        """Engrave so many measures, or as many of them as the image is wide; a single one tightly if need be."""
        run = cut(self.measures[position : position + count])
        try:
            return run, engrave(run, self.size, seed), count
        except TooWideError as error:
            if count == 1:
                return run, engrave(run, self.size, seed, tight=True), count
            return self._engrave(position, max(1, min(error.measures, count - 1)), seed)

    def _reject(self, position: int, reason: str) -> None:
        self.rejects.append(Reject(f"{self.piece.work}/{position + 1}", reason))


def corpus_folder() -> Path:
    """The folder of scores inside the installed music21 package.

    Raises:
        CorpusError: the package is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise CorpusError("data=engraved takes its tunes from the music21 package, which is not installed")
    return Path(spec.origin).parent / "corpus"


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
            yield Piece(work, group=(title and normalised_title(title[1])) or work, content=text)


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
