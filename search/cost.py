"""From what a moment of training took to what a whole search takes. Arithmetic alone: nothing is measured here."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from search.rungs import Epochs

Pick: TypeAlias = Callable[[Sequence[float]], float]
PICKS: tuple[Pick, Pick, Pick] = (min, fmean, max)  # the cheapest setting, all on the average, the dearest


MOST_TRIALS = 100_000  # a search has; where to end looking


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one setting took, while as many others were trained beside it as will be in the search.

    Attributes:
        label: `base`, `drawn`, or where the setting comes from.
        staves_per_epoch, validation_staves: of an epoch as the search will train it, not as it was measured.
        staves_per_second: training alone.
        scored_per_second: validation staves, read by an untrained model.
        start_seconds: a trial's, once: building model and data, and what a first step takes beside its work.
        process_seconds: a process's, once: importing.
        checkpoint_seconds: an epoch's: writing weights and resume state.
        memory_bytes: the peak: of the process on a CPU, allocated on a GPU.
        memory_limit_bytes: of the machine or of the GPU.
        kept_bytes: what a trial leaves: weights and samples.
        resume_bytes: what a trial has beside it while it runs.
    """

    label: str
    staves_per_epoch: int
    validation_staves: int
    staves_per_second: float
    scored_per_second: float
    start_seconds: float
    process_seconds: float
    checkpoint_seconds: float
    memory_bytes: int
    memory_limit_bytes: int
    kept_bytes: int
    resume_bytes: int

    @property
    def epoch_seconds(self) -> float:
        """An epoch's: training, validation, checkpoint."""
        trained = self.staves_per_epoch / self.staves_per_second
        return trained + self.validation_staves / self.scored_per_second + self.checkpoint_seconds


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is to be run.

    Attributes:
        trials: in all.
        epochs: of a trial.
        starts: how often a trial is started; more than once where trials take turns.
        abreast: trials side by side, if there are so many.
        gpus: of one trial.
        hours: after which the search is ended, if it is.
        rounds: of trainings with other seeds after that, at most.
        again: trainings of such a round.
    """

    trials: int
    epochs: Epochs
    starts: int
    abreast: int
    gpus: float
    hours: float | None
    rounds: int = 0
    again: int = 0

    @property
    def repeats(self) -> int:
        """Trainings with other seeds, at most."""
        return self.rounds * self.again


@dataclass(frozen=True)
class Span:
    """A number from several settings: that of the cheapest, of all on the average, and of the dearest."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a search takes.

    Attributes:
        trial_seconds: of a trial that is trained to the end; all its starts are in it.
        seconds: of the search: `low` if all trials were as the cheapest setting, `high` as the dearest.
        most_seconds: of the search if nothing were stopped, all were as the dearest, and all repeats were needed; how
            many are, nobody knows before, so there are none in `seconds`.
        gpu_seconds, most_gpu_seconds: the same, for each GPU that trials hold.
        unlimited_seconds, unlimited_most_seconds: of the search, likely and at most, if no `hours` ended it.
        disk_bytes: weights and samples of all trials and repeats, those of the exported best once more, and resume
            states of the trials that run; all as of the largest.
    """

    trial_seconds: Span
    seconds: Span
    most_seconds: float
    gpu_seconds: float
    most_gpu_seconds: float
    unlimited_seconds: float
    unlimited_most_seconds: float
    disk_bytes: int


def cost(measured: Sequence[Measurement], schedule: Schedule) -> Cost:
    """What a search takes, from what some of its settings took."""
    epochs, alive = schedule.epochs, min(schedule.abreast, schedule.trials)
    trial = Span(*(_trial_seconds(measured, schedule, epochs.most, pick) for pick in PICKS))
    process = max(one.process_seconds for one in measured)
    expected = (epochs.low, (epochs.low + epochs.high) / 2, epochs.high)
    low, likely, high = (
        process + _search_seconds(_trial_seconds(measured, schedule, count, pick), full, schedule)
        for count, pick, full in zip(expected, PICKS, (trial.low, trial.likely, trial.high), strict=True)
    )
    repeated = schedule.rounds * math.ceil(schedule.again / schedule.abreast) * trial.high  # one round after the other
    most = process + _search_seconds(trial.high, trial.high, schedule) + repeated
    limit = math.inf if schedule.hours is None else schedule.hours * 3600
    seconds = Span(min(limit, low), min(limit, likely), min(limit, high))
    gpus = alive * schedule.gpus
    return Cost(
        trial_seconds=trial,
        seconds=seconds,
        most_seconds=min(limit, most),
        gpu_seconds=gpus * seconds.likely,
        most_gpu_seconds=gpus * min(limit, most),
        unlimited_seconds=likely,
        unlimited_most_seconds=most,
        disk_bytes=(schedule.trials + schedule.repeats + 1) * max(one.kept_bytes for one in measured)
        + (schedule.trials if schedule.starts > 1 else alive) * max(one.resume_bytes for one in measured),
    )


def _trial_seconds(measured: Sequence[Measurement], schedule: Schedule, epochs: float, pick: Pick) -> float:
    return pick([schedule.starts * one.start_seconds + epochs * one.epoch_seconds for one in measured])


def _search_seconds(trial: float, full: float, schedule: Schedule) -> float:
    """From the first trial's start to the last one's end.

    Args:
        trial: seconds of a trial on the average.
        full: of one that is trained to the end; there is at least one, the base.
    """
    if trial >= full:  # all take as long, so they end together and the last round may not be full
        return math.ceil(schedule.trials / schedule.abreast) * full
    return max(schedule.trials * trial / schedule.abreast, full)


def trials_within(seconds: float, measured: Sequence[Measurement], schedule_for: Callable[[int], Schedule]) -> Span:
    """How many trials end in so many seconds: of the dearest settings, of all on the average, of the cheapest.

    Args:
        schedule_for: what is run if there are so many; without a limit of hours.
    """

    def taken(trials: int, pick: Callable[[Span], float]) -> float:
        return pick(cost(measured, schedule_for(trials)).seconds)

    def most(pick: Callable[[Span], float]) -> int:
        return max(1, bisect.bisect_right(range(1, MOST_TRIALS), seconds, key=lambda trials: taken(trials, pick)))

    return Span(most(lambda span: span.high), most(lambda span: span.likely), most(lambda span: span.low))
