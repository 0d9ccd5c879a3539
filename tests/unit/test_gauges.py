"""What Ray's dashboard is told of a search, without a Ray: whatever goes wrong, the search goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results.journal import EpochReported, TrialEnded, TrialStarted
from search.chronicle import Chronicle
from search.engine.gauges import Gauges

DROPOUT = "model.decoder.dropout"
Told = dict[tuple[str, str], float]


class FakeActor:
    """A process whose tasks can be named once: what is named has no more options."""

    @property
    def _method(self) -> Any:
        return SimpleNamespace(options=lambda name: SimpleNamespace(name=name))

    def __getattr__(self, name: str) -> Any:
        if name == "train":
            return self._method
        raise AttributeError(name)


@pytest.fixture
def told() -> Told:
    """The latest value of each gauge, by its name and the tag that is not the study's."""
    return {}


def gauges(chronicle: Chronicle, told: Told) -> Gauges:
    def gauge(name: str, description: str, keys: tuple[str, ...]) -> Any:
        assert description
        assert keys[0] == "study"

        def to(value: float, tags: Mapping[str, str]) -> None:
            assert set(tags) == set(keys)
            assert tags["study"] == "demo"
            told[name, next((tag for key, tag in tags.items() if key != "study"), "")] = value

        return SimpleNamespace(set=to)

    return Gauges("demo", chronicle, gauge)


def trial(number: int, actor: Any = None) -> Any:
    config = {"number": number, "settings": {DROPOUT: 0.1 * number}}
    return SimpleNamespace(config=config, temporary_state=SimpleNamespace(ray_actor=actor or FakeActor()))


def begin(chronicle: Chronicle, number: int) -> None:
    chronicle.append(TrialStarted(f"{number:04d}", number, 0, {DROPOUT: 0.1 * number}, 0.0))


def report(chronicle: Chronicle, number: int, epoch: int, ser: float, **more: float) -> dict[str, Any]:
    metrics = {"epoch": float(epoch), "ser": ser, "samples_per_second": 50.0, "peak_memory_bytes": 1e9, **more}
    chronicle.append(EpochReported(f"{number:04d}", metrics, None, 0.0))
    return {"epoch": epoch, "ser": ser, "metrics": metrics}


def test_each_trial_and_the_study_have_their_gauges(tmp_path: Path, told: Told) -> None:
    chronicle = Chronicle(tmp_path)
    tuned = gauges(chronicle, told)
    for number in range(3):
        begin(chronicle, number)
        tuned.on_trial_start(0, [], trial(number))
    tuned.on_trial_result(0, [], trial(0), report(chronicle, 0, 2, 0.4, gpu_seconds=3.0))
    tuned.on_trial_result(0, [], trial(1), report(chronicle, 1, 1, 0.1, gpu_seconds=0.0))
    tuned.on_trial_result(0, [], trial(2), report(chronicle, 2, 2, math.nan, gpu_seconds=0.0))
    chronicle.append(TrialEnded("0000", "completed", "", 0.0))
    tuned.on_trial_complete(0, [], trial(0))
    assert told["omr_ser", "0000"] == 0.4
    assert told["omr_ser", "0001"] == 0.1
    assert ("omr_ser", "0002") not in told
    assert told["omr_epoch", "0002"] == 2
    assert told["omr_samples_per_second", "0001"] == 50
    assert told["omr_gpu_memory_bytes", "0000"] == 1e9
    assert ("omr_gpu_memory_bytes", "0001") not in told  # it has trained on a CPU
    assert told["omr_best_ser", ""] == 0.4  # of those that were trained furthest
    assert {state: told["omr_trials", state] for state in ("running", "completed", "pruned")} == {
        **{"running": 2.0, "completed": 1.0, "pruned": 0.0}
    }


def test_what_nobody_sets_is_forgotten_so_they_are_set_again_until_the_trial_ends(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    chronicle = Chronicle(tmp_path)
    tuned = gauges(chronicle, told)
    for number in range(2):
        begin(chronicle, number)
        tuned.on_trial_result(0, [], trial(number), report(chronicle, number, 1, 0.5))
    chronicle.append(TrialEnded("0000", "pruned", "", 0.0))
    tuned.on_trial_complete(0, [], trial(0))
    tuned.on_step_end(0, [])
    for seconds, expected in ((1, set()), (10, {"omr_ser", "omr_epoch", "omr_samples_per_second"})):
        told.clear()
        now[0] += seconds
        tuned.on_step_end(0, [])
        assert {name for name, tag in told if tag == "0001"} == expected
        assert "0000" not in {tag for _, tag in told}
    assert told["omr_trials", "pruned"] == 1


def test_after_a_resume_they_begin_with_what_was(tmp_path: Path, told: Told) -> None:
    chronicle = Chronicle(tmp_path)
    for number in range(2):
        begin(chronicle, number)
        report(chronicle, number, 3, 0.5 - 0.1 * number)
    chronicle.append(TrialEnded("0001", "completed", "", 0.0))
    again = Chronicle(tmp_path)
    begin(again, 0)
    gauges(again, told).on_trial_start(0, [], trial(0))
    assert told["omr_best_ser", ""] == pytest.approx(0.4)
    assert told["omr_trials", "completed"] == 1
    assert told["omr_trials", "running"] == 1


def test_the_tasks_of_a_process_carry_the_name_of_the_trial_that_it_trains(tmp_path: Path, told: Told) -> None:
    chronicle, actor = Chronicle(tmp_path), FakeActor()
    tuned = gauges(chronicle, told)
    for number in (1, 2):
        begin(chronicle, number)
        tuned.on_trial_start(0, [], trial(number, actor))
        assert actor.train.name == f"{number:04d} dropout=0.{number}"
        tuned.on_trial_start(0, [], trial(number, actor))  # taken up again
    tuned.on_trial_complete(0, [], trial(2, actor))
    assert vars(actor) == {}  # nothing is left that would hold on to the process


def test_no_error_of_theirs_is_one_of_the_search(tmp_path: Path) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("no agent to export to")

    chronicle = Chronicle(tmp_path)
    tuned = Gauges("demo", chronicle, broken)
    begin(chronicle, 0)
    actor = SimpleNamespace()  # of a Ray that knows no such task
    tuned.on_trial_start(0, [], trial(0, actor))
    tuned.on_trial_result(0, [], trial(0, actor), report(chronicle, 0, 1, 0.5))
    tuned.on_trial_result(0, [], trial(0, actor), {"epoch": 0, "ser": 10.0, "failed": "it melted"})
    tuned.on_trial_error(0, [], trial(0, actor))
