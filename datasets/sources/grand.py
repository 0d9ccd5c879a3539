"""Grand staves out of a score: stretches of measures that fill an image, drawn as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.notation import Symbol, events, format_semantic
from datasets.scores.drawing import engrave_score
from datasets.scores.engraving import EngravingError, TooWideError
from datasets.scores.measures import Measure
from datasets.scores.score import Score, grand_staff, labelled
from datasets.sources.base import REASON_TOO_LONG, Harvest
from datasets.sources.cutter import ByMeasure
from datasets.staff import StaffSample, StaffSize

_SPACES_AN_EVENT = 3.4  # staff spaces that a note or a chord takes on the average
_SHORTEST = 0.7  # a staff is cut at 70 to 100 % of what would fill it, so that lengths vary


def harvest(name: str, source: str, score: Score, size: StaffSize, seed: int) -> Harvest:
    """The first grand staff of a score in stretches, one after the other.

    Args:
        name: of the work; its staves are called by it and by the number of their first measure.
        source: as in `StaffSample`.

    Raises:
        MeiError: there is no grand staff, or one of its staves cannot be read.
    """
    pair = grand_staff(score)
    cutter = _GrandCutter(
        name=name,
        source=source,
        size=size,
        seed=seed,
        score=score,
        pair=pair,
        measures=[score.measures(staff) for staff in pair],
    )
    return Harvest(tuple(cutter.staves()), tuple(cutter.rejects))


@dataclass(kw_only=True)
class _GrandCutter(ByMeasure):
    """A score on its way into staves; `measures` are those of both staves of the `pair`."""

    score: Score
    pair: tuple[int, int]
    measures: Sequence[Sequence[Measure]]

    def staves(self) -> Iterator[StaffSample]:
        start, end = 0, min(map(len, self.measures))
        while start < end:
            problem = next((measures[start].problem for measures in self.measures if measures[start].problem), "")
            count = 0 if problem else self._count(start, end)
            if not count:
                self._reject(start, problem or REASON_TOO_LONG)
            while count:
                try:
                    yield self._staff(start, count)
                    break
                except TooWideError as error:
                    if not 0 < error.measures < count:
                        self._reject(start, str(error))
                        break
                    count = error.measures
                except EngravingError as error:
                    self._reject(start, str(error))
                    break
            start += max(1, count)

    def _count(self, start: int, end: int) -> int:
        """How many measures a staff from `start` on is to hold, by what begins one after the other in them."""
        natural = self.size.width / self.size.staff_space / _SPACES_AN_EVENT
        wanted = natural * np.random.default_rng(self._seed(start)).uniform(_SHORTEST, 1.0)
        count = 0
        for stop in range(start + 1, end + 1):
            here = [measures[start:stop] for measures in self.measures]
            if any(measures[-1].problem for measures in here):
                break
            labels = [labelled(measures) for measures in here]
            is_full = count > 0 and max(len(events(label)) for label in labels) > wanted
            if is_full or sum(map(len, labels)) > self.size.max_symbols:
                break
            count += 1
        return count

    def _staff(self, start: int, count: int) -> StaffSample:
        stop = start + count
        label: list[Symbol] = []
        for measures in self.measures:
            label += labelled(measures[start:stop])
        return StaffSample(
            staff_id=self._name(start),
            work=self.name,
            source=self.source,
            image=engrave_score(self.score, self.pair, self.size, self._seed(start), start, stop),
            semantic=format_semantic(label),
        )
