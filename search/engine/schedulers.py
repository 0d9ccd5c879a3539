"""Tune's schedulers by name: who stops trials early. A new one is three functions and one line of the table.

None of them stops the base early: it is what the best setting is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from search.config import SchedulerConfig, SearchConfig
from search.engine.exploration import Exploration
from search.engine.population import Population
from search.engine.searcher import METRIC, NUMBER, STEP
from search.engine.stop import Stop
from search.rungs import brackets, halving_rungs
from search.space import BASE, ORIGIN, SearchSpace

MEDIAN_OF = 3  # trials at the least; the median of two is no majority


@dataclass(frozen=True)
class Kind:
    """What is known of a scheduler.

    Attributes:
        build: makes it for a search.
        rungs: the epochs after which it compares trials, of so many in all.
        describe: what it does, for a person; empty if it never does anything.
    """

    build: Callable[[SearchConfig, SearchSpace, Stop], TrialScheduler]
    rungs: Callable[[SchedulerConfig, int], list[int]]
    describe: Callable[[SchedulerConfig, int], str]


def build_scheduler(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    """The scheduler that a search names.

    Raises:
        ConfigError: pbt with a space in which nothing can change during a training.
    """
    return SCHEDULERS[config.scheduler.name].build(config, space, stop)


def rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    """The epochs after which trials are compared and stopped."""
    return SCHEDULERS[config.name].rungs(config, epochs)


def describe(config: SchedulerConfig, epochs: int) -> str:
    """When trials are compared, such as `compared after epoch 4, 8`; empty if never."""
    return SCHEDULERS[config.name].describe(config, epochs)


class TrainsBase(FIFOScheduler):
    """In front of one of Tune's schedulers: that one sees the base's results, but cannot end the base.

    Attributes:
        epochs: of a trial that is trained to the end.
    """

    epochs: int

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """What the scheduler says, or for the base: go on."""
        action: str = super().on_trial_result(tune_controller, trial, result)
        spared = trial.config.get(ORIGIN) == BASE and result[STEP] < self.epochs
        return TrialScheduler.CONTINUE if spared else action


class Halving(TrainsBase, AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al., arXiv 1810.05934), in one bracket or several.

    Each bracket begins to compare one rung later than the one before. Tune draws a trial's bracket from NumPy's
    global random state; here the trials' numbers go round.
    """

    def __init__(self, config: SchedulerConfig, epochs: int, brackets: int) -> None:
        super().__init__(
            time_attr=STEP,
            metric=METRIC,
            mode="min",
            max_t=epochs,
            grace_period=min(config.grace_epochs, epochs),
            reduction_factor=config.reduction_factor,
            brackets=brackets,
        )
        self.epochs = epochs

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called again when a trial that crashed is taken up."""
        self._trial_info[trial.trial_id] = self._brackets[trial.config[NUMBER] % len(self._brackets)]


class Median(TrainsBase, MedianStoppingRule):
    """Ends a trial whose best SER is above the median of the others' means (Golovin et al., Vizier, 2017)."""

    def __init__(self, config: SchedulerConfig, epochs: int) -> None:
        super().__init__(
            time_attr=STEP,
            metric=METRIC,
            mode="min",
            grace_period=config.grace_epochs,
            min_samples_required=MEDIAN_OF,
            # Else it pauses a trial that nothing can be said of yet, for another to start.
            min_time_slice=math.inf,  # type: ignore[arg-type]
            hard_stop=True,
        )
        self.epochs = epochs

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune takes it for an error if a trial that it has ended reports again, as the base may."""
        self._stopped_trials.discard(trial)
        return super().on_trial_result(tune_controller, trial, result)


def _asha(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    return Halving(config.scheduler, config.train.epochs, brackets=1)


def _hyperband(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    """As many brackets as have a rung to stop at.

    The synchronous HyperBand, which Tune has too, hung once in seven runs when it was tried.
    """
    return Halving(config.scheduler, config.train.epochs, brackets(config.scheduler, config.train.epochs))


def _median(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    return Median(config.scheduler, config.train.epochs)


def _pbt(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    return Population(
        Exploration(space), config.scheduler.grace_epochs, config.train.epochs, seed=config.seed, stop=stop
    )


def _none(config: SearchConfig, space: SearchSpace, stop: Stop) -> TrialScheduler:
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _no_rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    return []


def _asha_text(config: SchedulerConfig, epochs: int) -> str:
    found = halving_rungs(config, epochs)
    return f"compared after epoch {', '.join(map(str, found))}" if found else ""


def _hyperband_text(config: SchedulerConfig, epochs: int) -> str:
    count = brackets(config, epochs)
    return _asha_text(config, epochs) + (f", in {count} brackets" if count > 1 else "")


def _median_text(config: SchedulerConfig, epochs: int) -> str:
    first = config.grace_epochs
    return f"stopped behind the median from epoch {first} on" if first < epochs else ""


def _pbt_text(config: SchedulerConfig, epochs: int) -> str:
    every = config.grace_epochs
    return f"exchanged every {every} epochs" if every < epochs else ""


def _no_text(config: SchedulerConfig, epochs: int) -> str:
    return ""


SCHEDULERS = {
    "asha": Kind(_asha, halving_rungs, _asha_text),
    "hyperband": Kind(_hyperband, halving_rungs, _hyperband_text),
    "median": Kind(_median, _no_rungs, _median_text),
    "pbt": Kind(_pbt, _no_rungs, _pbt_text),
    "none": Kind(_none, _no_rungs, _no_text),
}
