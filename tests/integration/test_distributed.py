"""A search whose trials have two GPUs each, which are pretended: its processes train together, die, and come back."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datasets.shards import PreparedCorpus
from omr_model.config import TrainConfig
from omr_model.trainer import Trainer
from results.gather import gather
from results.provenance import collect
from results.study import CorpusRecord, StudyRecord, write_study
from search.config import (
    BudgetConfig,
    ClusterConfig,
    ConfirmConfig,
    ParameterConfig,
    PathsConfig,
    PointConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)
from search.console import Console
from search.engine.cluster import local_cluster
from search.engine.trial import TrialJob
from search.engine.tuning import run_trials
from search.outcome import Outcome
from search.space import SearchSpace
from tests.models import SMALL
from tests.processes import LOOPBACK, family, listening

TARGET = "optimizer.weight_decay"
DIES, RUNS_OUT = 0.05, 0.02
EPOCHS = 2


def run_out(folder: str) -> None:
    """In a worker: the next training begins, and has no memory on this GPU."""
    import torch

    from search.engine import distributed

    def learn(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    distributed.learn = learn  # type: ignore[assignment]
    Path(folder, "spoilt").touch()


def train_with_accidents(config: Mapping[str, Any], job: TrialJob) -> None:
    """As a trial trains; but a process of one is killed after the first epoch, and one of another has no memory."""
    from ray import tune

    from search.engine import distributed, trial

    setting = config["settings"].get(TARGET)
    tell = trial._tell
    notes = job.scratch.parents[1] / "notes"
    notes.mkdir(exist_ok=True)
    if setting == RUNS_OUT:
        distributed._team(2).group.execute_single(1, run_out, str(notes))

    def told(result: dict[str, Any], folder: Path) -> None:
        workers = distributed._team(2).group.workers
        (notes / f"listening-{os.getpid()}").write_text(" ".join(listening(workers[0].metadata.pid)))
        (notes / f"workers-{os.getpid()}").write_text(" ".join(str(worker.metadata.pid) for worker in workers))
        tell(result, folder)
        if setting == DIES and result["epoch"] == 1:
            os.kill(workers[1].metadata.pid, signal.SIGKILL)

    trial._tell = told
    try:
        (notes / f"begins-{setting}-{tune.get_checkpoint() is not None}").touch()
        trial.train_trial(config, job)
    finally:
        trial._tell = tell


def three_trials(studies: Path) -> SearchConfig:
    """A base and two settings, one after the other."""
    return SearchConfig(
        study="pairs",
        model=SMALL,
        train=TrainConfig(epochs=EPOCHS, staves_per_epoch=16, batch_size=8, validation_staves=5),
        space=SpaceConfig(
            parameters={"decay": ParameterConfig(target=TARGET, low=0.0, high=0.1)},
            points={
                "dies": PointConfig(origin="test", values={"decay": DIES}),
                "runs out": PointConfig(origin="test", values={"decay": RUNS_OUT}),  # last: it costs the processes
            },
        ),
        budget=BudgetConfig(trials=3),
        confirm=ConfirmConfig(top=0),
        scheduler=SchedulerConfig(name="none"),
        trial=TrialConfig(retries=1, gpus=2),
        paths=PathsConfig(studies=str(studies)),
    )


@pytest.fixture(scope="module")
def study(corpus: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = three_trials(tmp_path_factory.mktemp("studies"))
    space = SearchSpace(config.space, config.training())
    record = StudyRecord(
        name=config.study,
        created="2026-01-01T00:00:00+00:00",
        provenance=collect(),
        config={},
        space=("decay",),
        roles=space.roles,
        corpus=CorpusRecord("none", "none", "0"),
        seed=0,
        max_epochs=EPOCHS,
    )
    write_study(config.folder(), record)
    with (
        local_cluster(ClusterConfig(cpus=2, gpus=2, dashboard=False)) as cluster,
        Console(3, EPOCHS, (), stream=io.StringIO()) as console,
    ):
        outcome = run_trials(
            config, space, cluster, corpus.path, console, record.provenance, trainable=train_with_accidents
        )
        assert outcome == Outcome.FINISHED
    return config.folder()


def test_trials_end_as_they_should(study: Path) -> None:
    by_decay = {trial[f"params.{TARGET}"]: trial for trial in gather(study).trials.to_pylist()}
    assert by_decay.keys() == {0.01, RUNS_OUT, DIES}
    assert [by_decay[decay]["state"] for decay in (0.01, RUNS_OUT, DIES)] == ["completed", "failed", "completed"]
    assert "OutOfMemoryError: CUDA out of memory" in by_decay[RUNS_OUT]["message"]


def test_a_killed_process_costs_a_try_and_no_epoch(study: Path) -> None:
    assert (study / "notes" / f"begins-{DIES}-False").exists()
    assert (study / "notes" / f"begins-{DIES}-True").exists()
    epochs = gather(study).epochs.to_pylist()
    for trial in {row["trial_id"] for row in epochs}:
        assert [row["epoch"] for row in epochs if row["trial_id"] == trial] == [1, 2]


def test_the_base_is_what_one_process_trains(study: Path, corpus: PreparedCorpus) -> None:
    config = three_trials(study).training()
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, device="cpu"))
    alone = Trainer(config, corpus).fit()
    tables = gather(study)
    [trial_id] = (trial["trial_id"] for trial in tables.trials.to_pylist() if trial["number"] == 0)
    base = [row for row in tables.epochs.to_pylist() if row["trial_id"] == trial_id]
    for record, row in zip(alone, base, strict=True):
        assert row["train_loss"] == pytest.approx(record.losses["total"], rel=2e-3)
        assert row["ser"] == pytest.approx(record.ser, rel=2e-3)


def test_nobody_else_can_reach_the_processes_and_none_is_left(study: Path) -> None:
    notes = list((study / "notes").glob("listening-*"))
    assert notes
    for note in notes:
        assert set(note.read_text().split()) <= LOOPBACK
    pids = {int(pid) for note in (study / "notes").glob("workers-*") for pid in note.read_text().split()}
    assert len(pids) >= 4  # those that were killed among them
    deadline = time.monotonic() + 20
    while (left := pids & {process.pid for process in family(os.getpid())}) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
