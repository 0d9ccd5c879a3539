"""When a trial counts as hung, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.errors import StudyError
from search.engine import watchdog
from search.engine.watchdog import RayDiedError, Watchdog


class Search:
    """Trials that report when the test says so, and a list of what was killed and said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hang_minutes: float | None) -> None:
        self.now = 1e6
        self.killed: list[int] = []
        self.said: list[str] = []
        self.trials: list[Any] = []
        monkeypatch.setattr(watchdog, "kill", lambda trial: self.killed.append(trial.config["number"]))
        monkeypatch.setattr(watchdog, "check_ray", lambda study: None)  # noqa: ARG005
        self.dog = Watchdog("mine", hang_minutes, self.said.append, clock=lambda: self.now)

    def start(self, number: int) -> Any:
        trial = SimpleNamespace(trial_id=f"t{number}", config={"number": number}, status="RUNNING")
        trial.run_metadata = SimpleNamespace(num_failures=0)
        self.trials.append(trial)
        self.dog.on_trial_start(0, self.trials, trial)
        return trial

    def report(self, trial: Any, epoch: int = 0) -> None:
        self.dog.on_trial_result(0, self.trials, trial, {"epoch": epoch})

    def minutes(self, count: float) -> None:
        """Time goes by, with Tune's loop running."""
        for _ in range(10):
            self.now += count * 6
            self.dog.on_step_end(0, self.trials)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], Search]:
    return lambda hang_minutes: Search(monkeypatch, hang_minutes)


def test_a_trial_that_does_not_report_is_killed_once(search: Callable[[float | None], Search]) -> None:
    running = search(5.0)
    hangs, works = running.start(3), running.start(4)
    for _ in range(2):
        running.minutes(3)
        running.report(works)
    assert running.killed == [3]
    assert running.said == ["trial   3  no report for 5 minutes: its process is killed"]
    running.dog.on_trial_start(0, running.trials, hangs)  # Tune takes it up again
    running.minutes(4.9)
    assert running.killed == [3]
    running.report(works)
    running.minutes(0.2)
    assert running.killed == [3, 3]


def test_half_an_hour_is_the_least_where_nothing_is_said(search: Callable[[float | None], Search]) -> None:
    running = search(None)
    running.start(0)
    running.minutes(29.9)
    assert running.killed == []
    running.minutes(0.3)
    assert running.killed == [0]


def test_ten_times_the_longest_epoch_is_waited_for(search: Callable[[float | None], Search]) -> None:
    running = search(None)
    slow, quick = running.start(0), running.start(1)
    for _ in range(2):
        running.minutes(5)
        running.report(quick)
    running.report(slow)  # an epoch of ten minutes, and one of five
    new = running.start(2)
    running.minutes(51)
    assert running.killed == [1]
    running.dog.on_trial_complete(0, running.trials, running.trials[1])
    running.minutes(48.9)
    assert running.killed == [1]
    running.report(new)
    running.minutes(0.2)
    assert running.killed == [1, 0]


def test_only_deaths_at_the_same_place_are_counted(search: Callable[[float | None], Search]) -> None:
    running = search(None)
    trial = running.start(0)
    for epoch, died, expected in ((1, 1, 0), (2, 1, 0), (2, 1, 1), (1, 2, 2), (3, 2, 0)):
        trial.run_metadata.num_failures = died
        running.dog.on_trial_start(0, running.trials, trial)
        running.report(trial, epoch)  # one that is trained again is no progress
        assert trial.run_metadata.num_failures == expected


@pytest.mark.parametrize("statuses", [["PENDING"], ["PAUSED", "PENDING"], ["RUNNING", "PENDING"], ["PAUSED"], []])
def test_processes_that_never_start_are_not_waited_for_without_end(
    search: Callable[[float | None], Search], statuses: list[str]
) -> None:
    running = search(None)
    running.trials += [SimpleNamespace(trial_id=status, status=status) for status in statuses]
    running.minutes(29)
    if "RUNNING" in statuses or "PENDING" not in statuses:
        running.minutes(100)
        return
    with pytest.raises(StudyError, match=r"for 30 minutes no process .* resume=mine"):
        running.minutes(2)


def test_a_trial_that_waits_or_has_ended_is_left_alone(search: Callable[[float | None], Search]) -> None:
    running = search(1.0)
    paused, ended = running.start(0), running.start(1)
    paused.status = "PAUSED"
    running.dog.on_trial_error(0, running.trials, ended)
    running.minutes(100)
    assert running.killed == []


@pytest.mark.parametrize(
    ("gone", "dies"), [(["raylet"], True), (["gcs_server"], True), (["dashboard", "monitor"], False), ([], False)]
)
def test_ray_is_dead_without_its_essential_processes(
    monkeypatch: pytest.MonkeyPatch, gone: list[str], dies: bool
) -> None:
    node = SimpleNamespace(dead_processes=lambda: [(name, None) for name in gone], is_head=lambda: True)
    monkeypatch.setattr(watchdog.ray._private.worker, "_global_node", node)
    if not dies:
        watchdog.check_ray("mine")
        return
    with pytest.raises(RayDiedError, match=r"Ray died \((raylet|gcs_server) .* python -m search\.run resume=mine"):
        watchdog.check_ray("mine")
