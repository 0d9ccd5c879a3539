"""Searches on the real Ray Tune that are taken up again, one trial at a time; trainings are pretended."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from results.journal import EpochReported, Event, Journal, SessionStarted, TrialEnded, TrialStarted
from results.provenance import collect
from results.study import write_study
from search.config import (
    BudgetConfig,
    ClusterConfig,
    ParameterConfig,
    PointConfig,
    SamplerConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)
from search.console import Console
from search.engine.cluster import Cluster, local_cluster
from search.engine.tuning import run_trials
from search.outcome import Outcome
from search.rules import rungs
from search.space import SearchSpace
from tests.driven import EPOCHS, events, search_config, steps, stories, told, trained
from tests.pretended import DEPTH, DIES_ONCE, DROPOUT, RAISES, RATE, pretend_to_train
from tests.studies import study_record

PARAMETERS = {
    "rate": ParameterConfig(target=RATE, low=1e-5, high=1e-1, log=True),
    "depth": ParameterConfig(target=DEPTH, kind="int", low=1, high=3),
    "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with local_cluster(ClusterConfig(cpus=1, gpus=0, dashboard=False)) as running:
        yield running


def run(cluster: Cluster, config: SearchConfig) -> tuple[Outcome, str]:
    """A session; how it ended, and what it said."""
    space = SearchSpace(config.space, config.training())
    if not (config.folder() / "study.json").exists():
        record = study_record(config.study, tuple(space.roles))
        write_study(config.folder(), dataclasses.replace(record, max_epochs=EPOCHS))
    stream = io.StringIO()
    with Console(config.budget.trials, EPOCHS, rungs(config.scheduler, EPOCHS), stream=stream) as console:
        outcome = run_trials(config, space, cluster, config.folder(), console, collect(), trainable=pretend_to_train)
    return outcome, stream.getvalue()


def config(studies: Path, points: dict[str, dict[str, Any]] | None = None, **fields: Any) -> SearchConfig:
    first = {name: PointConfig(origin=name, values=values) for name, values in (points or {}).items()}
    plain = {"space": SpaceConfig(parameters=PARAMETERS, points=first), "trial": TrialConfig(retries=1)}
    return search_config(studies, **(plain | fields))


def optuna_of(search: SearchConfig) -> list[tuple[Any, ...]]:
    storage = JournalStorage(JournalFileBackend(str(search.folder() / "optuna.journal")))
    return told(optuna.load_study(study_name=search.study, storage=storage))


def test_a_study_that_is_given_more_ends_as_one_that_had_it_from_the_start(cluster: Cluster, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "sampler": SamplerConfig(name="tpe", startup_trials=3),
        "scheduler": SchedulerConfig(name="promotion", grace_epochs=2),
    }
    long = config(tmp_path / "long", budget=BudgetConfig(trials=6), **fields)
    assert run(cluster, long)[0] == Outcome.FINISHED
    short = config(tmp_path / "short", budget=BudgetConfig(trials=3), **fields)
    assert run(cluster, short)[0] == Outcome.FINISHED
    longer = dataclasses.replace(short, budget=long.budget)
    assert run(cluster, longer)[0] == Outcome.FINISHED
    assert stories(longer.folder()) == stories(long.folder())
    assert optuna_of(longer) == optuna_of(long)
    assert sorted(trained(longer.folder())) == sorted(trained(long.folder()))  # nothing is trained twice
    happened = steps(events(long.folder()))
    promoted = {step[1] for one, step in enumerate(happened) if step[0] == "start" and step in happened[:one]}
    assert promoted
    assert "completed" in {stories(long.folder())[int(one)].state for one in promoted}


def test_errors_deaths_and_a_budget_of_epochs(cluster: Cluster, tmp_path: Path) -> None:
    points = {
        "raises": {"rate": 1e-3, "depth": 1, "dropout": RAISES},
        "dies": {"rate": 1e-3, "depth": 2, "dropout": DIES_ONCE},
    }
    limits = BudgetConfig(trials=3, epochs=EPOCHS + 2 + 2)
    begun = config(tmp_path, points, scheduler=SchedulerConfig(name="none"), budget=limits)
    outcome, _ = run(cluster, begun)
    assert outcome == Outcome.OUT_OF_EPOCHS
    assert [story.state for story in stories(begun.folder()).values()] == ["completed", "failed", "paused"]
    more = dataclasses.replace(begun, budget=dataclasses.replace(limits, epochs=100))
    outcome, said = run(cluster, more)
    assert outcome == Outcome.FINISHED
    end = stories(more.folder())
    assert [story.state for story in end.values()] == ["completed", "failed", "completed"]
    assert [len(story.sers) for story in end.values()] == [EPOCHS, 2, EPOCHS]
    assert trained(more.folder())[EPOCHS:] == [("0001", 1), ("0001", 2), *(("0002", one) for one in range(1, 7))]
    assert "trial   2  crashed and goes on from its checkpoint" in said
    happened = events(more.folder())
    starts = [event.number for event in happened if isinstance(event, TrialStarted)]
    assert starts == [0, 1, 2, 2, 2]  # who raises is not tried again; who dies is
    assert [event.budget["epochs"] for event in happened if isinstance(event, SessionStarted)] == [10, 100]
    assert [state.name for state, *_ in optuna_of(more)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert (more.folder() / "tune" / "2").is_dir()  # each session has an experiment of its own


def test_a_full_disk_at_a_trials_end_and_a_gentle_stop(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune begins no trial again that has ended, and does not keep SIGUSR1 for itself."""
    search = config(tmp_path, budget=BudgetConfig(trials=2), scheduler=SchedulerConfig(name="none"))
    append, failed = Journal.append, list[Event]()

    def full_at_the_first_end(journal: Journal, event: Event) -> None:
        if isinstance(event, TrialEnded) and not failed:
            failed.append(event)
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, event)
        if isinstance(event, EpochReported) and event.trial_id == "0001" and event.metrics["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(Journal, "append", full_at_the_first_end)
    assert run(cluster, search)[0] == Outcome.DISK_FULL
    assert [story.state for story in stories(search.folder()).values()] == ["paused"]
    outcome, said = run(cluster, search)
    assert outcome == Outcome.INTERRUPTED
    assert said.count("stopping: each trial ends with its epoch") == 1
    assert [story.state for story in stories(search.folder()).values()] == ["completed", "paused"]
    assert trained(search.folder()) == [*(("0000", one) for one in range(1, 7)), *(("0001", one) for one in (1, 2, 3))]
