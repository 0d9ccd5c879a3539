"""A single voice, cut into staves that are engraved from their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.images import Gray
from datasets.notation import format_semantic
from datasets.scores.engraving import EngravingError, TooWideError, engrave
from datasets.scores.measures import Measure, StaffRun, cut
from datasets.seeds import seed_from
from datasets.sources.base import REASON_TOO_LONG, Reject
from datasets.staff import StaffSample, StaffSize

_SPACES_A_SYMBOL = 2.9  # staff spaces that a symbol takes on the average
_SHORTEST = 0.75  # a staff is cut at 75 to 100 % of what would fill it, so that lengths vary
_PLAIN_KINDS = frozenset({"clef", "keySignature", "note", "barline"})


@dataclass(frozen=True)
class _Cut:
    """A stretch for one staff: `count` measures from the index `start` on."""

    start: int
    count: int


@dataclass
class Cutter:
    """Cuts a single voice into staves and engraves those that show the most of what is rare.

    Attributes:
        name: what its staves are called by, with the number of their first measure.
        work, source: as in `StaffSample`.
        most: how many staves at most; None for all.
        rejects: what did not become a staff, once `staves` has run.
    """

    name: str
    work: str
    source: str
    measures: Sequence[Measure]
    size: StaffSize
    seed: int
    most: int | None
    rejects: list[Reject] = field(default_factory=list)

    def staves(self) -> list[StaffSample]:
        """The staves, the richest first."""
        richest_first = sorted(self._cuts(), key=lambda cut_: -_rarities(self._run(cut_)))
        staves: list[StaffSample] = []
        for cut_ in richest_first:
            if len(staves) == self.most:
                break
            try:
                staves.append(self._staff(cut_))
            except EngravingError as error:
                self._reject(cut_.start, str(error))
        return staves

    def _cuts(self) -> Iterator[_Cut]:
        """The whole voice in stretches, without the measures that the encoding cannot say."""
        start = 0
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

    def _staff(self, cut_: _Cut) -> StaffSample:
        run, image = self._engrave(cut_)
        return StaffSample(
            staff_id=self._name(cut_.start),
            work=self.work,
            source=self.source,
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
        return f"{self.name}/{start + 1}"

    def _seed(self, start: int) -> int:
        return seed_from(self.seed, self._name(start))

    def _reject(self, start: int, reason: str) -> None:
        self.rejects.append(Reject(self._name(start), reason))


def _rarities(run: StaffRun) -> int:
    """How many symbols are more than a plain note: folk tunes have hundreds of those for one accidental."""
    return sum(bool(symbol.lift) or "." in symbol.rhythm or symbol.kind not in _PLAIN_KINDS for symbol in run.symbols)
