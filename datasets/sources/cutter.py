"""A single voice, cut into staves that are engraved from their labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.images import Gray
from datasets.notation import format_semantic
from datasets.scores.engraving import EngravingError, TooWideError, engrave
from datasets.scores.measures import Measure, StaffRun, cut
from datasets.seeds import seed_from
from datasets.sources.base import REASON_TOO_LONG, Reject, counted
from datasets.staff import StaffSample, StaffSize

_SPACES_A_SYMBOL = 2.9  # staff spaces that a symbol takes on the average
_SHORTEST = 0.75  # a staff is cut at 75 to 100 % of what would fill it, so that lengths vary
_PLAIN_KINDS = frozenset({"clef", "keySignature", "note", "barline"})


@dataclass(frozen=True)
class _Cut:
    """A stretch for one staff: `count` measures from the index `start` on."""

    start: int
    count: int


@dataclass(kw_only=True)
class ByMeasure:
    """Music on its way into staves, each of which is known by its first measure.

    Attributes:
        name: what its staves are called by, with the number of their first measure.
        source: as in `StaffSample`.
        rejects: what did not become a staff, once all staves are made.
    """

    name: str
    source: str
    size: StaffSize
    seed: int
    rejects: list[Reject] = field(default_factory=list)

    def _name(self, start: int) -> str:
        return f"{self.name}/{start + 1}"

    def _seed(self, start: int) -> int:
        return seed_from(self.seed, self._name(start))

    def _reject(self, start: int, problem: str) -> None:
        self.rejects.append(Reject(self._name(start), *counted(problem)))


@dataclass(kw_only=True)
class Cutter(ByMeasure):
    """Cuts a single voice into staves and engraves them all, or those that show the most of what is rare.

    Attributes:
        work: as in `StaffSample`.
        most: how many staves at most; None for all.
    """

    work: str
    measures: Sequence[Measure]
    most: int | None

    def staves(self) -> list[StaffSample]:
        """All staves one after the other; or `most`, the richest first."""
        if self.most is None:
            return list(self._one_after_the_other())
        return list(itertools.islice(self._richest_first(), self.most))

    def _one_after_the_other(self) -> Iterator[StaffSample]:
        """Staves of the whole voice: what an image has no room for opens the next one."""
        start = 0
        while cut_ := next(self._cuts(start), None):
            staff, start = self._staff(cut_)
            if staff:
                yield staff

    def _richest_first(self) -> Iterator[StaffSample]:
        for cut_ in sorted(self._cuts(0), key=lambda cut_: -_rarities(self._run(cut_))):
            staff, _ = self._staff(cut_)
            if staff:
                yield staff

    def _cuts(self, start: int) -> Iterator[_Cut]:
        """The voice from a measure on in stretches, without the measures that the encoding cannot say."""
        while start < len(self.measures):
            count = self._count(start)
            if self.measures[start].problem:
                self._reject(start, self.measures[start].problem)
            elif count == 0:
                self._reject(start, REASON_TOO_LONG)
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

    def _staff(self, cut_: _Cut) -> tuple[StaffSample | None, int]:
        """The staff of a stretch, or None if it is rejected; and the index of the first measure behind it."""
        try:
            drawn, image = self._engrave(cut_)
        except EngravingError as error:
            self._reject(cut_.start, str(error))
            return None, cut_.start + cut_.count
        staff = StaffSample(
            staff_id=self._name(cut_.start),
            work=self.work,
            source=self.source,
            image=image,
            semantic=format_semantic(self._run(drawn).symbols),
        )
        return staff, drawn.start + drawn.count

    def _engrave(self, cut_: _Cut) -> tuple[_Cut, Gray]:
        """Engrave a stretch, or as much of it as the image is wide; a single measure tightly if need be."""
        run, seed = self._run(cut_), self._seed(cut_.start)
        try:
            return cut_, engrave(run, self.size, seed)
        except TooWideError as error:
            if cut_.count == 1:
                return cut_, engrave(run, self.size, seed, tight=True)
            return self._engrave(_Cut(cut_.start, max(1, min(error.measures, cut_.count - 1))))

    def _run(self, cut_: _Cut) -> StaffRun:
        return cut(self.measures[cut_.start : cut_.start + cut_.count])


def _rarities(run: StaffRun) -> int:
    """How many symbols are more than a plain note: folk tunes have hundreds of those for one accidental."""
    return sum(bool(symbol.lift) or "." in symbol.rhythm or symbol.kind not in _PLAIN_KINDS for symbol in run.symbols)
