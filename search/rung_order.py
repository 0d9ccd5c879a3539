"""How trials stand that came to the same rung, kept in order: what a rule asks for costs no more as trials grow.

With n trials, the lists below are searched by bisection; to put a number in its place moves what is behind it, which
is a copy of memory and next to nothing beside an epoch (10,000 trials: microseconds).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Standing:
    """The trials that came to a rung, by their SER there, the lowest first; of two that tie, the earlier trial."""

    _sers: dict[int, float] = field(default_factory=dict)
    _ordered: list[tuple[float, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._ordered)

    def __contains__(self, trial: int) -> bool:
        return trial in self._sers

    def add(self, trial: int, ser: float) -> None:
        """A trial came here, for the first time; one without a SER stands last."""
        self._sers[trial] = math.inf if math.isnan(ser) else ser
        insort(self._ordered, (self._sers[trial], trial))

    def place(self, trial: int) -> int:
        """How many stand before it."""
        return bisect_left(self._ordered, (self._sers[trial], trial))

    def cutoff(self, share: float) -> float:
        """The quantile of what is maximised, -SER: `numpy.percentile(of them, 100 * share)`, to the last bit."""
        last = len(self._ordered) - 1
        at = last * share
        below = min(math.floor(at), last)
        above, weight = min(below + 1, last), at - below
        low, high = -self._ordered[last - below][0], -self._ordered[last - above][0]
        if weight == 0 or low == high:  # of infinities, which those without a SER have, there is no step
            return low
        step = high - low
        return high - step * (1 - weight) if weight >= 0.5 else low + step * weight


@dataclass
class Agreement:
    """Kendall's rank correlation of pairs of numbers that come one by one; pairs that tie in either count as neither.

    One more of n costs n comparisons, and not all pairs anew.
    """

    _first: list[float] = field(default_factory=list)
    _last: list[float] = field(default_factory=list)
    _agreeing: float = 0.0  # pairs that stand the same way in both, less those that do not

    def __len__(self) -> int:
        return len(self._first)

    def add(self, first: float, last: float) -> None:
        """One more pair."""
        same = np.sign(np.array(self._first) - first) * np.sign(np.array(self._last) - last)
        self._agreeing += float(same.sum())
        self._first.append(first)
        self._last.append(last)

    @property
    def tau(self) -> float:
        """From -1 to 1; of two pairs at the least."""
        return self._agreeing / math.comb(len(self), 2)
