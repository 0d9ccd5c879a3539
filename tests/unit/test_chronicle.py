"""What a study has used, over all the processes that drove it."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.journal import EpochReported, TrialStarted
from search import chronicle
from search.chronicle import Chronicle, Used, trial_id


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that nobody sets, and beside it a calendar that jumps back with every look."""
    now, calendar = [100.0], iter(range(10**9, 0, -86_400))
    monkeypatch.setattr(chronicle.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(chronicle.time, "time", lambda: float(next(calendar)))
    return now


def start(number: int) -> TrialStarted:
    return TrialStarted(trial_id(number), number, 0, {}, 0.0)


def epoch(told: Chronicle, number: int, reached: int) -> None:
    metrics = {"epoch": float(reached), "ser": 0.5, "gpu_seconds": 30.0}
    told.append(EpochReported(trial_id(number), metrics, None, 0.0, told.elapsed))


def test_a_new_study_has_used_nothing(tmp_path: Path) -> None:
    new = Chronicle(tmp_path)
    assert (new.used, new.session, new.next_number, list(new.earlier())) == (Used(0.0, 0, 0.0), 0, 0, [])


def test_sessions_add_up_also_one_that_was_killed_whatever_the_calendar_does(
    tmp_path: Path, clock: list[float]
) -> None:
    first = Chronicle(tmp_path)
    first.begin("code", "command", {}, [], {})
    first.append(start(0))
    clock[0] += 40
    epoch(first, 0, 1)
    clock[0] += 1000  # and killed: nobody knows what it did since its last report
    second = Chronicle(tmp_path)
    assert second.used == Used(40.0, 1, 30.0)
    clock[0] = -5000  # another machine
    second.begin("code", "command", {}, [], {})
    clock[0] += 7
    assert second.used == Used(47.0, 1, 30.0)
    epoch(second, 0, 1)  # trained again: it took its time again
    second.end("finished")
    third = Chronicle(tmp_path)
    assert (third.used, third.session) == (Used(47.0, 2, 60.0), 2)
    assert [started.session for started in third.replay.sessions] == [1, 2]


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    one = Chronicle(tmp_path)
    for number in (0, 4, 2):
        one.append(start(number))
    assert (one.next_number, Chronicle(tmp_path).next_number) == (5, 5)
    assert Chronicle(tmp_path).trial(4).start.number == 4
