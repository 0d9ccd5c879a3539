"""One score read twice, and what came out."""

from __future__ import annotations

import codecs
import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from datasets.scores.measures import Measure
from datasets.scores.mei import read_single_voice
from datasets.scores.mei_measure import EMPTY
from datasets.scores.mei_symbols import MeiError
from datasets.scores.score import read_score, read_staves
from tests.crosscheck.bars import Staff, bars_of
from tests.crosscheck.compare import Difference, Pair, compare, pairs
from tests.crosscheck.explain import explanation
from tests.crosscheck.second_reading import second_reading


@dataclass(frozen=True)
class Source:
    """A score file.

    Attributes:
        suffix: one that both `datasets.scores.score` and `tests.crosscheck.second_reading` know.
    """

    name: str
    data: bytes
    suffix: str

    @property
    def prints(self) -> bool:
        """Whether it says which accidentals are printed. **kern does not; MusicXML may leave it out."""
        return self.suffix == ".abc" or (self.suffix != ".krn" and "<accidental" in self.text)

    @cached_property
    def text(self) -> str:
        """Its music as text: of an archive, the first XML file that is no table of contents."""
        data = self.data
        if self.suffix == ".mxl":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [name for name in archive.namelist() if not name.startswith("META-INF")]
                data = archive.read(next(name for name in names if name.endswith("xml")))
        is_utf_16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return data.decode("utf-16" if is_utf_16 else "utf-8", errors="replace")


@dataclass
class Outcome:
    """What comparing one score gave.

    Attributes:
        bars: compared.
        declined: bars that cannot be said, by our reading's reason, and whether theirs agrees.
        differences: with their explanations, "" for none.
    """

    bars: int = 0
    declined: Counter[tuple[str, bool]] = field(default_factory=Counter)
    differences: list[tuple[Difference, str]] = field(default_factory=list)


def first_reading(source: Source) -> list[Staff] | str:
    """The staves as our labels have them, or why there are none. Runs in a worker: Verovio may abort."""
    try:
        return [bars_of(measures) for measures in read_staves(read_score(source.data, source.suffix))]
    except MeiError as error:
        return str(error)


def first_readings(source: Source) -> list[tuple[Sequence[Measure], Sequence[Measure]]] | str:
    """Each staff as one that is drawn as it stands, without its empty measures, and as one that is drawn from its
    label; or why there are none. Runs in a worker."""
    try:
        score = read_score(source.data, source.suffix)
        singles = [read_single_voice(score.root, number) for number in score.staff_numbers]
        return list(zip(map(_not_empty, read_staves(score)), singles, strict=True))
    except MeiError as error:
        return str(error)


def _not_empty(measures: Sequence[Measure]) -> list[Measure]:
    return [measure for measure in measures if measure.problem != EMPTY]


def check(source: Source, ours: Sequence[Staff]) -> Outcome:
    """Read the score a second time and compare."""
    theirs = second_reading(source.text, source.suffix)
    outcome = Outcome()
    for difference in _differences(source, ours, theirs, outcome):
        outcome.differences.append((difference, explanation(difference, source.suffix, source.text)))
    return outcome


def _differences(
    source: Source, ours: Sequence[Staff], theirs: Sequence[Staff], outcome: Outcome
) -> Iterator[Difference]:
    if len(ours) != len(theirs):
        yield Difference("staves", 0, 0, None, None)
        return
    for staff, both in enumerate(zip(ours, theirs, strict=True)):
        found_before: list[str] = []
        for pair in pairs(*both):
            found = _found(pair, source, outcome)
            for aspect in found:
                # A clef or a key in force is the same difference until it changes.
                if aspect not in ("clef", "key") or aspect not in found_before:
                    yield Difference(aspect, staff, pair.bar, pair.ours, pair.theirs)
            found_before = found


def _found(pair: Pair, source: Source, outcome: Outcome) -> list[str]:
    """The aspects in which a pair of bars differs; counts what was compared."""
    if pair.ours is not None and pair.ours.problem:
        outcome.declined[pair.ours.problem, pair.theirs is None or not pair.theirs.printed] += 1
        return []
    outcome.bars += 1
    if pair.ours is None or pair.theirs is None:
        return ["bars"]
    if pair.theirs.problem:
        return ["not said"]
    return compare(pair.ours, pair.theirs, source.prints)
