"""The real Ray Tune, Optuna and ASHA, driven by trials that only pretend to train.

One search for all tests of this file: its first trials are queued, and each of them ends in another way.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from datasets.errors import ConfigError
from omr_model.config import TrainConfig
from results.gather import gather
from results.journal import EpochReported, TrialEnded, TrialStarted, read
from results.study import CorpusRecord, StudyRecord, write_study
from search.config import (
    BudgetConfig,
    ClusterConfig,
    ConfirmConfig,
    ParameterConfig,
    PathsConfig,
    PointConfig,
    SamplerConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)
from search.console import Console
from search.engine.cluster import Cluster, local_cluster
from search.engine.tuning import Trainable, run_trials
from search.outcome import Outcome
from search.resources import concurrent_trials, trial_resources
from search.rules import rungs
from search.space import SearchSpace
from tests.models import SMALL
from tests.pretended import COMPLETE, DIES, DIVERGES, DROPOUT, MELTS, end_by_dropout
from tests.processes import LOOPBACK, listening

EPOCHS = 6
POINTS = {"complete": COMPLETE, "diverges": DIVERGES, "raises": MELTS, "dies": DIES}
BASE = 0.45
JOB = {"job_name": "pretended: 10 trials", "study": "pretended"}


@pytest.fixture(scope="module")
def cluster():  # type: ignore[no-untyped-def]
    with local_cluster(ClusterConfig(cpus=2, gpus=0), JOB) as running:
        yield running


def search(
    cluster: Cluster, config: SearchConfig, resolution: int | None = None, trainable: Trainable = end_by_dropout
) -> Outcome:
    """Run a search of such trials, with a study's record in its folder."""
    from results.provenance import collect

    space = SearchSpace(config.space, config.training(), resolution)
    record = StudyRecord(
        name=config.study,
        created="2026-01-01T00:00:00+00:00",
        provenance=collect(),
        config={},
        space=("dropout",),
        roles=space.roles,
        corpus=CorpusRecord("none", "none", "0"),
        seed=0,
        max_epochs=EPOCHS,
    )
    write_study(config.folder(), record)
    with Console(10, EPOCHS, rungs(config.scheduler, EPOCHS), stream=io.StringIO()) as console:
        corpus = Path(config.paths.studies)
        return run_trials(config, space, cluster, corpus, console, record.provenance, trainable=trainable)


def ten_trials(studies: Path, points: Mapping[str, float], **fields: Any) -> SearchConfig:
    """A search for a dropout, ten trials at most."""
    return SearchConfig(
        study="pretended",
        model=dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, dropout=BASE)),
        train=TrainConfig(epochs=EPOCHS),
        space=SpaceConfig(
            parameters={"dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5)},
            points={name: PointConfig(origin=name, values={"dropout": rate}) for name, rate in points.items()},
        ),
        budget=BudgetConfig(trials=10),
        confirm=ConfirmConfig(top=0),
        scheduler=SchedulerConfig(name="asha", grace_epochs=2),
        trial=TrialConfig(retries=1),
        paths=PathsConfig(studies=str(studies)),
        **fields,
    )


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Our lines among Ray's metrics while the search ran."""
    return set()


def scrape(address: str, lines: set[str], over: threading.Event) -> None:
    """Read the metrics until the search is over; and if nothing was there yet, for an export or two more."""
    until = math.inf
    while not (over.is_set() and lines) and time.monotonic() < until:
        with urllib.request.urlopen(address, timeout=30) as said:
            lines |= {line for line in said.read().decode().splitlines() if line.startswith("ray_omr_")}
        until = min(until, time.monotonic() + 30) if over.is_set() else math.inf
        time.sleep(0.5)


@pytest.fixture(scope="module")
def study(cluster: Cluster, exported: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of ten such trials."""
    whole = ten_trials(tmp_path_factory.mktemp("studies"), POINTS, trackers=["tensorboard"])
    over = threading.Event()
    watch = threading.Thread(target=scrape, args=(cluster.metrics, exported, over))
    watch.start()
    try:
        assert search(cluster, whole) == Outcome.FINISHED
    finally:
        over.set()
        watch.join()
    return whole.folder()


def optuna_trials(study: Path) -> dict[float, optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(study / "optuna.journal")))
    trials = optuna.load_study(study_name="pretended", storage=storage).trials
    return {trial.params["dropout"]: trial for trial in trials}


def ends(study: Path) -> dict[float, str]:
    events = list(read(study / "events.jsonl"))
    rates = {event.trial_id: event.params[DROPOUT] for event in events if isinstance(event, TrialStarted)}
    return {rates[event.trial_id]: event.state for event in events if isinstance(event, TrialEnded)}  # type: ignore[misc]


def test_every_trial_ends_in_its_own_state(study: Path) -> None:
    states = ends(study)
    assert len(states) == 10
    assert states[BASE] == "completed"  # though nearly all others are better
    assert states[COMPLETE] == "completed"
    assert states[DIVERGES] == "diverged"
    assert states[MELTS] == "failed"
    assert states[DIES] in ("completed", "pruned")
    assert "pruned" in states.values()
    assert "running" not in set(gather(study).trials["state"].to_pylist())


def test_optuna_is_told_what_they_were(study: Path) -> None:
    told = {rate: trial.state for rate, trial in optuna_trials(study).items()}
    expected = {
        "completed": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "diverged": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    assert told == {rate: expected[state] for rate, state in ends(study).items()}


def test_optuna_has_every_reported_value_of_a_pruned_trial(study: Path) -> None:
    reported: dict[float, dict[int, float]] = {}
    events = list(read(study / "events.jsonl"))
    rates = {event.trial_id: event.params[DROPOUT] for event in events if isinstance(event, TrialStarted)}
    for event in events:
        if isinstance(event, EpochReported):
            rate = rates[event.trial_id]
            reported.setdefault(rate, {})[int(event.metrics["epoch"])] = event.metrics["ser"]  # type: ignore[arg-type]
    for rate, state in ends(study).items():
        if state == "pruned":
            assert optuna_trials(study)[rate].intermediate_values == pytest.approx(reported[rate])


def test_a_trial_whose_process_died_went_on_from_its_checkpoint(study: Path) -> None:
    events = [event for event in read(study / "events.jsonl") if not isinstance(event, TrialEnded)]
    starts = [e.trial_id for e in events if isinstance(e, TrialStarted) and e.params[DROPOUT] == DIES]
    assert len(starts) == 2  # both are in the record
    [trial_id] = set(starts)
    epochs = [int(e.metrics["epoch"]) for e in events if isinstance(e, EpochReported) and e.trial_id == trial_id]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= 2


def test_a_failed_trial_says_why(study: Path) -> None:
    messages = {e.state: e.message for e in read(study / "events.jsonl") if isinstance(e, TrialEnded)}
    assert "the graphics card has melted" in messages["failed"]
    assert messages["diverged"] == "the loss is no longer finite"


def test_the_first_trials_are_the_base_and_the_spaces_points(study: Path) -> None:
    started = [event for event in read(study / "events.jsonl") if isinstance(event, TrialStarted)]
    first = {event.number: (event.origin, event.params[DROPOUT]) for event in started}
    assert [first[number] for number in range(5)] == [("base", BASE), *POINTS.items()]
    assert {first[number][0] for number in range(5, 10)} == {""}


def test_a_grid_that_ends_before_the_budget_is_finished(cluster: Cluster, tmp_path: Path) -> None:
    grid = ten_trials(tmp_path, {}, sampler=SamplerConfig(name="grid"))
    assert search(cluster, grid, resolution=2) == Outcome.FINISHED
    assert set(ends(grid.folder())) == {BASE, 0.0, 0.5}


def test_what_is_needed_to_go_on_is_deleted_where_nobody_goes_on(study: Path) -> None:
    kept = list(study.glob("tune/1/*/checkpoint_*/epoch"))
    assert kept
    assert list(study.glob("tune/1/*/checkpoint_*/resume.pt")) == []


def test_the_tables_hold_all_of_it(study: Path) -> None:
    tables = gather(study)
    assert tables.trials.num_rows == 10
    assert tables.epochs.num_rows == sum(isinstance(event, EpochReported) for event in read(study / "events.jsonl"))
    assert (study / "reports" / "trials.parquet").exists()


@pytest.mark.parametrize(
    ("cpus", "gpus", "config", "expected", "abreast"),
    [
        (2, 0, TrialConfig(), (1, 0.0), 2),
        (16, 1, TrialConfig(), (16, 1.0), 1),
        (16, 4, TrialConfig(), (4, 1.0), 4),
        (16, 1, TrialConfig(gpus=0.5), (8, 0.5), 2),
        (8, 0, TrialConfig(cpus=4), (4, 0.0), 2),
    ],
)
def test_a_trial_gets_its_share(
    cpus: int, gpus: int, config: TrialConfig, expected: tuple[int, float], abreast: int
) -> None:
    machine = Cluster(cpus=cpus, gpus=gpus, dashboard=None, token=None)
    share = trial_resources(SearchConfig(trial=config), machine)
    assert share == expected
    assert concurrent_trials(machine, *share) == abreast


@pytest.mark.parametrize(
    ("config", "message"),
    [(TrialConfig(gpus=2), "trial.gpus=2: there are 1 GPUs"), (TrialConfig(cpus=64), "trial.cpus=64: there are 8")],
)
def test_a_trial_that_could_never_be_placed_is_refused(config: TrialConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trial_resources(SearchConfig(trial=config), Cluster(cpus=8, gpus=1, dashboard=None, token=None))


def answer(cluster: Cluster, path: str) -> Any:
    """What the dashboard says to whoever has the token."""
    request = urllib.request.Request(f"{cluster.dashboard}{path}", headers={"Authorization": f"Bearer {cluster.token}"})
    with urllib.request.urlopen(request, timeout=30) as said:
        return json.loads(said.read())


def test_the_dashboard_has_the_study_as_a_job_and_tasks_named_after_the_trials(cluster: Cluster, study: Path) -> None:
    [job] = answer(cluster, "/api/jobs/")
    assert job["metadata"] == JOB
    started = [event for event in read(study / "events.jsonl") if isinstance(event, TrialStarted)]
    wanted = {f"{event.number:04d} dropout={event.params[DROPOUT]:.3g}" for event in started}
    tasks = answer(cluster, "/api/v0/tasks?detail=true&limit=1000")["data"]["result"]["result"]
    assert {task["name"] for task in tasks} >= wanted
    actors = answer(cluster, "/api/v0/actors?detail=true")["data"]["result"]["result"]
    assert "trials of pretended" in {actor["repr_name"] for actor in actors}


def test_our_gauges_are_among_the_metrics_that_ray_exports(exported: set[str], study: Path) -> None:
    known = {f"{row['number']:04d}" for row in gather(study).trials.select(["number"]).to_pylist()}
    reported = {event.metrics["ser"] for event in read(study / "events.jsonl") if isinstance(event, EpochReported)}
    names = {line.partition("{")[0] for line in exported}
    assert names == {f"ray_omr_{name}" for name in ("ser", "best_ser", "epoch", "samples_per_second", "trials")}
    assert all('study="pretended"' in line for line in exported)
    sers = [line for line in exported if line.startswith("ray_omr_ser{")]
    assert {line.split('trial="')[1][:4] for line in sers} <= known
    assert all(float(line.rpartition(" ")[2]) in reported for line in sers)


def test_with_its_dashboard_ray_is_for_this_machine_alone(cluster: Cluster) -> None:
    assert cluster.dashboard
    assert listening(os.getpid()) <= LOOPBACK


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # TensorBoard's own
def test_tensorboard_has_every_epoch_that_the_journal_has(study: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reported: dict[str, list[tuple[int, float]]] = {}
    for event in read(study / "events.jsonl"):
        if isinstance(event, EpochReported):
            reported.setdefault(event.trial_id, []).append((int(event.metrics["epoch"]), event.metrics["ser"]))
    logged = {}
    for run in (study / "trackers" / "tensorboard").iterdir():
        events = EventAccumulator(str(run))
        events.Reload()
        logged[run.name[:4]] = [(event.step, event.value) for event in events.Scalars("ser")]
    assert {trial: [(step, pytest.approx(value)) for step, value in run] for trial, run in logged.items()} == reported


def test_the_dashboard_opens_with_the_token_and_only_with_it(cluster: Cluster) -> None:
    def status(headers: dict[str, str]) -> int:
        request = urllib.request.Request(f"{cluster.dashboard}/api/version", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert cluster.token
    assert status({}) == 401
    assert status({"Authorization": f"Bearer {cluster.token}"}) == 200


def test_rungs_are_those_of_asha() -> None:
    config = SearchConfig().scheduler
    assert (config.grace_epochs, config.reduction_factor) == (4, 2)
    assert rungs(config, 9) == [4, 8]
    assert rungs(config, 4) == []
