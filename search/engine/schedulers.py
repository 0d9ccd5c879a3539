"""Tune's schedulers by name: who stops trials early. A new one is one pair of functions and one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from datasets.command_line import check_choice
from search.config import SchedulerConfig
from search.engine.searcher import METRIC, STEP


@dataclass(frozen=True)
class Kind:
    """How to build a scheduler for trials of so many epochs, and the epochs after which it compares them."""

    build: Callable[[SchedulerConfig, int], TrialScheduler]
    rungs: Callable[[SchedulerConfig, int], list[int]]


def build_scheduler(config: SchedulerConfig, epochs: int) -> TrialScheduler:
    """The scheduler that a configuration names.

    Raises:
        ConfigError: no such scheduler.
    """
    check_choice("scheduler", config.name, tuple(SCHEDULERS))
    return SCHEDULERS[config.name].build(config, epochs)


def rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    """The epochs after which trials are compared and stopped.

    Raises:
        ConfigError: no such scheduler.
    """
    check_choice("scheduler", config.name, tuple(SCHEDULERS))
    return SCHEDULERS[config.name].rungs(config, epochs)


def _asha(config: SchedulerConfig, epochs: int) -> TrialScheduler:
    return AsyncHyperBandScheduler(
        time_attr=STEP,
        metric=METRIC,
        mode="min",
        max_t=epochs,
        grace_period=min(config.grace_epochs, epochs),
        reduction_factor=config.reduction_factor,
    )


def _asha_rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    found, rung = [], config.grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= config.reduction_factor
    return found


def _none(config: SchedulerConfig, epochs: int) -> TrialScheduler:
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _no_rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    return []


SCHEDULERS = {"asha": Kind(_asha, _asha_rungs), "none": Kind(_none, _no_rungs)}
