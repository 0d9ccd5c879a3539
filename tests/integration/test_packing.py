"""A GPU that is pretended, shared by trials under the real Ray Tune: one that runs out of memory goes on alone."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.journal import TrialEnded, TrialStarted
from search.config import BudgetConfig, ClusterConfig, SchedulerConfig, TrialConfig
from search.engine.cluster import Cluster, local_cluster
from search.engine.trial import TrialJob
from search.outcome import Outcome
from tests.driven import events, stories
from tests.integration.test_engine import EPOCHS, search, ten_trials

HUNGRY, GREEDY = 0.2, 0.4  # the dropouts of the trial that needs more memory than its share, and than there is


def pretend(config: Mapping[str, Any], job: TrialJob) -> None:
    """Train as the shared trainer would, but that a setting runs out of memory beside others, and one even alone."""
    from ray import tune

    from search.engine import trial

    def train(config: Mapping[str, Any], job: TrialJob) -> None:
        rate, alone = config["settings"]["model.decoder.dropout"], config.get("alone", False)
        reached = max((int(Path(one).name.rpartition("_")[2]) for one in config["checkpoints"]), default=-1) + 1
        for epoch in range(reached + 1, job.base.train.epochs + 1):
            began = time.time()
            _meet(Path(job.scratch).parent, config["number"], seconds=60 if epoch == 1 and not alone else 0)
            if epoch == 3 and (rate == GREEDY or (rate == HUNGRY and not alone)):
                import torch

                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            with (Path(job.scratch).parent / "spans.jsonl").open("a", encoding="utf-8") as file:
                said = {
                    "number": config["number"],
                    "alone": alone,
                    "pid": os.getpid(),
                    "from": began,
                    "to": time.time(),
                }
                file.write(json.dumps(said) + "\n")
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "resume.pt").write_text("state")
                numbers = {"epoch": float(epoch), "ser": 0.2 + rate / epoch, "samples_per_second": 50.0, "seconds": 1.0}
                result = {"epoch": epoch, "ser": numbers["ser"], "metrics": numbers}
                tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    trial._train = train
    trial.train_trial(config, job)


def _meet(folder: Path, number: int, seconds: float) -> None:
    """The first two trials wait for each other, so that they do run side by side."""
    (folder / f"begun-{number}").touch()
    until = time.time() + seconds
    while number < 2 and time.time() < until and len(list(folder.glob("begun-*"))) < 2:
        time.sleep(0.02)
    time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster():  # type: ignore[no-untyped-def]
    with local_cluster(ClusterConfig(cpus=4, gpus=1, dashboard=False)) as running:
        yield running


def test_who_runs_out_of_memory_beside_others_goes_on_alone(cluster: Cluster, tmp_path: Path) -> None:
    points = {"hungry": HUNGRY, "greedy": GREEDY}
    config = replace(
        ten_trials(tmp_path, points),
        budget=BudgetConfig(trials=3),
        scheduler=SchedulerConfig(name="none"),
        trial=TrialConfig(gpus=0.5, cpus=1),
    )
    assert search(cluster, config, trainable=pretend) == Outcome.FINISHED
    end = stories(config.folder())
    assert [end[number].state for number in sorted(end)] == ["completed", "completed", "failed"]
    happened = events(config.folder())
    alone = {one.number for one in happened if isinstance(one, TrialStarted) and one.alone}
    short = [one for one in happened if isinstance(one, TrialEnded) and one.out_of_memory]
    assert {int(one.trial_id) for one in short} >= {1}
    assert alone >= {1, 2}
    [failed] = [one for one in happened if isinstance(one, TrialEnded) and one.state == "failed"]
    assert "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB" in failed.message

    [file] = config.folder().rglob("spans.jsonl")
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(end[1].sers) == EPOCHS == len([one for one in spans if one["number"] == 1]), "from its checkpoint"
    for mine in (one for one in spans if one["alone"]):
        others = [one for one in spans if one["number"] != mine["number"]]
        assert not [one for one in others if one["from"] < mine["to"] and mine["from"] < one["to"]], "it has the GPU"
    beside = [one for one in spans if not one["alone"]]
    assert any(
        one["number"] != other["number"] and one["from"] < other["to"] and other["from"] < one["to"]
        for one in beside
        for other in beside
    ), "others share it"
