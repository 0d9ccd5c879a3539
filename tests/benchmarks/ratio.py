"""Two ways to do the same thing, timed in turns within one run: what is told is their ratio.

A machine that is shared is slower now and quicker then, and both ways feel it. Each round times one after the other,
in an order that alternates, and gives one ratio; the median over the rounds is the result, with the span between the
quartiles beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times as long the reference took.

    Attributes:
        name: what was done.
        reference, ours: median seconds of one round.
        median, low, high: of the rounds' ratios, reference / ours: the median and the quartiles.
        rounds: how many.
    """

    name: str
    reference: float
    ours: float
    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.median:.3g} times as quick ({self.low:.3g} to {self.high:.3g}, {self.rounds} rounds; "
            f"{self.reference:.4g} s and {self.ours:.4g} s)"
        )


def paired(
    name: str,
    reference: Callable[[], object],
    ours: Callable[[], object],
    *,
    rounds: int = 7,
    warmups: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time both ways in turns.

    Args:
        reference, ours: do the same work; a way that leaves work to a GPU waits for it before it returns.
        warmups: rounds that are not counted.
        clock: `time.process_time` counts this process's own seconds, whatever else the machine does.
    """
    ways = (reference, ours)
    seconds: list[list[float]] = [[], []]
    for number in range(-warmups, rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            began = clock()
            ways[which]()
            if number >= 0:
                seconds[which].append(clock() - began)
    ratios = [one / other for one, other in zip(*seconds, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if rounds > 1 else ratios * 3
    return Ratio(name, statistics.median(seconds[0]), statistics.median(seconds[1]), median, low, high, rounds)
