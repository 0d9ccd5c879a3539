"""How long a scheduler lets trials train, without Ray: when it compares them, and what that means on the average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.config import SchedulerConfig


@dataclass(frozen=True)
class Epochs:
    """Epochs of a trial, averaged over a search: as is to be expected (from `low` to `high`), and the most."""

    low: float
    high: float
    most: int


def halving_rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    """The epochs after which asha and promotion compare trials, and hyperband in its first bracket."""
    found, rung = [], config.grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= config.reduction_factor
    return found


def brackets(config: SchedulerConfig, epochs: int) -> int:
    """Of hyperband: as many as have a rung to stop at."""
    return max(1, len(halving_rungs(config, epochs)))


def average_epochs(config: SchedulerConfig, epochs: int, trials: int) -> Epochs:
    """What is to be expected of so many trials of so many epochs.

    The base is trained to the end under every scheduler. Of the others, asha, promotion and hyperband let one in
    `reduction_factor` pass each rung; how many the median stops depends on the SER alone, so anything from the first
    comparison to the end is possible.
    """
    rungs = halving_rungs(config, epochs)
    if config.name in ("asha", "promotion"):
        others = low = _halved(rungs, epochs, config.reduction_factor)
    elif config.name == "hyperband":
        starts = range(brackets(config, epochs))
        others = low = sum(_halved(rungs[start:], epochs, config.reduction_factor) for start in starts) / len(starts)
    elif config.name == "median":
        low, others = min(config.grace_epochs, epochs), epochs
    else:  # none and pbt stop nobody
        low = others = epochs
    return Epochs((epochs + (trials - 1) * low) / trials, (epochs + (trials - 1) * others) / trials, epochs)


def _halved(rungs: Sequence[int], epochs: int, factor: int) -> float:
    """Mean epochs where one trial in `factor` passes each rung."""
    ends = [*rungs, epochs]
    return sum(
        (end - begin) / float(factor) ** passed
        for passed, (begin, end) in enumerate(zip([0, *rungs], ends, strict=True))
    )
