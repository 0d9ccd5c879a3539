"""A GPU that is pretended, shared by trials under the real Ray Tune: one that runs out of memory goes on alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from results.journal import TrialEnded, TrialStarted
from search.config import BudgetConfig, ClusterConfig, SchedulerConfig, TrialConfig
from search.engine.cluster import Cluster, local_cluster
from search.outcome import Outcome
from tests.driven import events, stories
from tests.integration.test_engine import EPOCHS, search, ten_trials
from tests.pretended import GREEDY, HUNGRY, run_out_of_memory


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
    assert search(cluster, config, trainable=run_out_of_memory) == Outcome.FINISHED
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
