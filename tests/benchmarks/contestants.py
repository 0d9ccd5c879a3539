"""Searches on recorded learning curves: Tune as its documentation has it, and this project's, driven whole.

Everything but the trainings is real (`tests.benchmarks.replayed`). A contestant is one function: it runs the search of
a task, and hands back every epoch that the search heard of, in its order.
"""

# ruff: noqa: ARG002 - signatures that Tune dictates

from __future__ import annotations

import dataclasses
import functools
import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from datasets.errors import ConfigError
from datasets.seeds import seed_from
from omr_model.config import TrainConfig
from results.journal import EpochReported, TrialStarted, read
from results.study import EVENTS_FILE, write_study
from search.config import (
    BudgetConfig,
    ConfirmConfig,
    DiskConfig,
    ParameterConfig,
    PathsConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)
from search.console import Console
from search.engine import keys
from search.engine.cluster import Cluster
from search.engine.tuning import run_trials
from search.space import SearchSpace
from tests.benchmarks.record_curves import BASE, LEVELS
from tests.benchmarks.replayed import Epoch, Replayed, replay
from tests.studies import study_record

NEAR = 0.01
STUDY = "replayed"
Place = tuple[int, ...]
"""A setting: where each knob stands among its levels."""

# A setting of the base, as the space would find it in a training's configuration.
Knobs = dataclasses.make_dataclass(
    "Knobs", [(name, int, LEVELS[name].index(value)) for name, value in BASE.items()], frozen=True
)


@dataclass(frozen=True)
class Landscape:
    """Settings and their curves.

    Attributes:
        curves: SER by epoch of each setting.
        seconds: of each epoch of each setting.
        deviations: of seeds from their mean, by epoch.
    """

    curves: Mapping[Place, Sequence[float]]
    seconds: Mapping[Place, Sequence[float]]
    deviations: Sequence[Sequence[float]]

    @staticmethod
    def read(path: Path, luck: float = 1.0) -> Landscape:
        """The recorded one; the base's curve is the mean of its seeds.

        Args:
            luck: what deviations are multiplied by; 0 is a world without.

        Raises:
            ConfigError: no table, or settings of the grid are missing.
        """
        if not path.exists():
            raise ConfigError(f"{path}: no such table; `python -m tests.benchmarks.record_curves` records it")
        table = pd.read_parquet(path).sort_values("epoch")
        table["place"] = [
            tuple(LEVELS[name].index(value) for name, value in zip(LEVELS, values, strict=True))
            for values in table[list(LEVELS)].itertuples(index=False)
        ]
        places = list(dict.fromkeys(table["place"]))
        if missing := math.prod(map(len, LEVELS.values())) - len(places):
            raise ConfigError(f"{path}: {missing} settings of the grid are missing; record_curves goes on with them")
        means = table.groupby(["place", "epoch"])[["ser", "seconds"]].mean()
        of_base = table[table["place"] == dataclasses.astuple(Knobs())]
        seeds = of_base.pivot_table(index="seed", columns="epoch", values="ser")
        return Landscape(
            {place: means.loc[place]["ser"].tolist() for place in places},
            {place: means.loc[place]["seconds"].tolist() for place in places},
            (luck * (seeds - seeds.mean())).to_numpy().tolist(),
        )

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return len(next(iter(self.curves.values())))

    @functools.cached_property
    def best(self) -> float:
        """The lowest final SER."""
        return min(curve[-1] for curve in self.curves.values())

    def near(self, place: Place) -> bool:
        """Whether a setting is truly as good as the best, but for `NEAR`."""
        return self.curves[place][-1] <= self.best + NEAR

    def training(self, place: Place, seed: int) -> list[Epoch]:
        """What a training of a setting reports under a seed of the simulation."""
        rng = np.random.default_rng(seed_from(seed, str(place)))
        deviation = self.deviations[rng.integers(len(self.deviations))]
        sers = [max(0.0, ser + off) for ser, off in zip(self.curves[place], deviation, strict=True)]
        return [
            Epoch(seconds, _report(epoch, ser, seconds))
            for epoch, (ser, seconds) in enumerate(zip(sers, self.seconds[place], strict=True), start=1)
        ]


def _report(epoch: int, ser: float, seconds: float) -> dict[str, Any]:
    metrics = {keys.STEP: float(epoch), keys.METRIC: ser, "seconds": seconds, "samples_per_second": 1.0}
    return {keys.STEP: epoch, keys.METRIC: ser, keys.METRICS: metrics, "checkpoint_dir_name": f"checkpoint_{epoch:06d}"}


@dataclass(frozen=True)
class Report:
    """An epoch as a search heard of it: of which trial (numbered as they began), and how many had begun by then."""

    trial: int
    place: Place
    epoch: int
    ser: float
    begun: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """One search to be simulated.

    Attributes:
        landscape: what it searches.
        seed: of the search, and of the luck that its trainings have.
        trials, epochs: after which it ends; None for no such limit.
        slots: trials side by side.
        grace, factor: epochs before the first rung, and how many share a place on the next one.
    """

    landscape: Landscape
    seed: int
    trials: int | None
    epochs: int | None
    slots: int
    grace: int
    factor: int


# --------------------------------------------------------------------------------------------------------- Tune's


def tune_random(task: Task) -> list[Report]:
    """Random search, every trial to the end."""
    return _tune(task, optuna.samplers.RandomSampler(seed=task.seed), None)


def tune_random_asha(task: Task) -> list[Report]:
    """Random search with Tune's ASHA."""
    return _tune(task, optuna.samplers.RandomSampler(seed=task.seed), _asha(task, task.grace, task.factor))


def tune_optuna_asha(task: Task) -> list[Report]:
    """Tune's OptunaSearch and its ASHA, with the rungs that ours have."""
    return _tune(task, None, _asha(task, task.grace, task.factor))


def tune_optuna_asha_defaults(task: Task) -> list[Report]:
    """The same with ASHA's own rungs: from the first epoch on, one in four passes."""
    return _tune(task, None, _asha(task, 1, 4))


def _asha(task: Task, grace: int, factor: int) -> ASHAScheduler:
    return ASHAScheduler(time_attr=keys.STEP, max_t=task.landscape.epochs, grace_period=grace, reduction_factor=factor)


def _tune(task: Task, sampler: optuna.samplers.BaseSampler | None, scheduler: TrialScheduler | None) -> list[Report]:
    """Tune as a user writes it. Without a sampler its Optuna takes its default, TPE."""
    ledger = Ledger()
    with replay(lambda config: task.landscape.training(_place(config), task.seed), task.slots) as folder:
        tune.Tuner(
            Replayed,
            param_space={name: tune.randint(0, len(levels)) for name, levels in LEVELS.items()},
            tune_config=tune.TuneConfig(
                metric=keys.METRIC,
                mode="min",
                num_samples=task.trials or -1,
                max_concurrent_trials=task.slots,
                search_alg=OptunaSearch(sampler=sampler, seed=None if sampler else task.seed),
                scheduler=scheduler,
            ),
            run_config=tune.RunConfig(
                name=STUDY, storage_path=folder, verbose=0, callbacks=[ledger], stop=Enough(ledger, task.epochs)
            ),
        ).fit()
    return ledger.reports


class Ledger(tune.Callback):
    """Writes down what Tune hears, in its order."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.reports: list[Report] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.numbers[trial.trial_id] = len(self.numbers)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        number = self.numbers[trial.trial_id]
        self.reports.append(
            Report(number, _place(trial.config), result[keys.STEP], result[keys.METRIC], len(self.numbers))
        )


class Enough(tune.Stopper):
    """Ends a search after so many epochs in all."""

    def __init__(self, ledger: Ledger, epochs: int | None) -> None:
        self.ledger = ledger
        self.epochs = math.inf if epochs is None else epochs

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return len(self.ledger.reports) >= self.epochs


# ----------------------------------------------------------------------------------------------------------- ours


def ours(task: Task, scheduler: str) -> list[Report]:
    """A whole study of this project, from its journal to its reports; the default sampler, TPE. None is confirmed."""

    def rest_of(config: Mapping[str, Any]) -> list[Epoch]:
        """The epochs after the one that the newest checkpoint is of."""
        done = int(config[keys.CHECKPOINTS][0].rpartition("_")[2]) if config[keys.CHECKPOINTS] else 0
        return task.landscape.training(_place(config[keys.SETTINGS]), task.seed)[done:]

    parameters = {
        name: ParameterConfig(target=name, kind="int", low=0, high=len(levels) - 1) for name, levels in LEVELS.items()
    }
    record = study_record(STUDY, list(LEVELS))
    with replay(rest_of, task.slots) as folder:
        config = SearchConfig(
            study=STUDY,
            seed=task.seed,
            budget=BudgetConfig(trials=task.trials, epochs=task.epochs),
            confirm=ConfirmConfig(top=0),
            scheduler=SchedulerConfig(name=scheduler, grace_epochs=task.grace, reduction_factor=task.factor),
            train=TrainConfig(epochs=task.landscape.epochs),
            trial=TrialConfig(cpus=1, gpus=0),
            disk=DiskConfig(reserve=0),
            paths=PathsConfig(studies=folder),
        )
        write_study(config.folder(), record)
        run_trials(
            config,
            SearchSpace(SpaceConfig(parameters=parameters), Knobs()),
            Cluster(task.slots, 0, None, None),
            config.folder(),
            Console(task.trials, task.landscape.epochs, [], io.StringIO()),
            record.provenance,
        )
        return _journal(config.folder() / EVENTS_FILE)


def _journal(path: Path) -> list[Report]:
    starts: dict[str, TrialStarted] = {}
    reports: list[Report] = []
    for event in read(path):
        if isinstance(event, TrialStarted):
            starts[event.trial_id] = event
        elif isinstance(event, EpochReported):
            start, metrics = starts[event.trial_id], event.metrics
            reports.append(
                Report(start.number, _place(start.params), int(metrics[keys.STEP]), metrics[keys.METRIC], len(starts))
            )
    return reports


def _place(values: Mapping[str, Any]) -> Place:
    return tuple(int(values[name]) for name in LEVELS)


# --------------------------------------------------------------------------------------------------------- answers


def lowest_last(reports: Sequence[Report]) -> Place:
    """Tune's answer, as `get_best_result` gives it: the lowest SER that any trial reported last."""
    last = {report.trial: report for report in reports}
    return min(last.values(), key=lambda report: (report.ser, report.trial)).place


def lowest_of_furthest(reports: Sequence[Report]) -> Place:
    """Ours (`results.ranking`): the lowest SER among the trials that were trained furthest."""
    furthest = max(report.epoch for report in reports)
    there = [report for report in reports if report.epoch == furthest]
    return min(there, key=lambda report: (report.ser, report.trial)).place


Answer = Callable[[Sequence[Report]], Place]


@dataclass(frozen=True)
class Contestant:
    """Who runs a search, and what it takes for the best setting."""

    search: Callable[[Task], list[Report]]
    answer: Answer


PLAIN = "Tune: Optuna, ASHA"
CONTESTANTS = {
    PLAIN: Contestant(tune_optuna_asha, lowest_last),
    "Tune: Optuna, ASHA, its own rungs": Contestant(tune_optuna_asha_defaults, lowest_last),
    "Tune: random, to the end": Contestant(tune_random, lowest_last),
    "Tune: random, ASHA": Contestant(tune_random_asha, lowest_last),
} | {
    f"ours: {scheduler}": Contestant(functools.partial(ours, scheduler=scheduler), lowest_of_furthest)
    for scheduler in ("asha", "promotion", "hyperband", "median", "none")
}


def quiet() -> None:
    """No lines of Tune's and Optuna's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
