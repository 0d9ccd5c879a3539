"""A study that died after any of its events goes on as if it had not: its own parts, without Ray."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from results.journal import EndState, EpochReported, Event, TrialEnded, TrialStarted
from results.replay import Replay
from search.config import BudgetConfig, SamplerConfig, SchedulerConfig, SearchConfig
from search.recovery import recover
from search.rules import build_rule
from tests.driven import EPOCHS, Session, cut, events, search_config, stories, told, trained

CASES: dict[str, dict[str, Any]] = {
    "asha and random": {"sampler": SamplerConfig(name="random")},
    "asha and tpe": {"sampler": SamplerConfig(name="tpe", startup_trials=3)},
    "promotion and tpe": {
        "sampler": SamplerConfig(name="tpe", startup_trials=3),
        "scheduler": SchedulerConfig(name="promotion", grace_epochs=2),
    },
    "hyperband and qmc": {
        "sampler": SamplerConfig(name="qmc"),
        "scheduler": SchedulerConfig(name="hyperband", grace_epochs=2),
    },
    "median and grid": {
        "sampler": SamplerConfig(name="grid", resolution=2),
        "scheduler": SchedulerConfig(name="median", grace_epochs=2),
    },
}


class Uncut:
    """Studies that nobody disturbed, each run once."""

    def __init__(self, studies: Path) -> None:
        self.studies = studies

    @cache  # noqa: B019 - as long as the tests of this file
    def folder(self, case: str) -> Path:
        """Of the study."""
        session = Session(six_trials(self.studies / case, case))
        session.run()
        return session.folder

    @cache  # noqa: B019
    def reopened(self, case: str) -> list[Any]:
        """What Optuna is told of it when it is taken up again."""
        config = six_trials(self.studies / f"{case} again", case)
        cut(self.folder(case), config, len(events(self.folder(case))))
        return told(Session(config).study)


def six_trials(studies: Path, case: str) -> SearchConfig:
    return search_config(studies, budget=BudgetConfig(trials=6), **CASES[case])


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Uncut:
    return Uncut(tmp_path_factory.mktemp("uncut"))


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=4, phases=[Phase.generate])
@given(share=st.floats(0, 1), storage=st.sampled_from(["as it is", "deleted", "cut", "damaged"]))
def test_cut_after_any_event_it_ends_as_the_uncut_one(
    case: str, share: float, storage: str, uncut: Uncut, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, config = uncut.folder(case), six_trials(tmp_path_factory.mktemp("cut"), case)
    cut(whole, config, int(share * len(events(whole))))
    spoil(config.folder() / "optuna.journal", storage)
    Session(config).run()
    assert stories(config.folder()) == stories(whole)
    assert len(trained(config.folder())) == len(trained(whole))  # no epoch that was reported is trained again
    assert told(Session(config).study) == uncut.reopened(case)


def spoil(path: Path, how: str) -> None:
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "damaged":
        path.write_bytes(b"\x00\xff no journal\n" + path.read_bytes())


def start(number: int, origin: str = "", repeats: int | None = None) -> TrialStarted:
    return TrialStarted(f"{number:04d}", number, 0, {}, 0.0, origin, repeats)


def epoch(number: int, reached: int, ser: float) -> EpochReported:
    return EpochReported(f"{number:04d}", {"epoch": float(reached), "ser": ser}, None, 0.0)


def end(number: int, state: EndState) -> TrialEnded:
    return TrialEnded(f"{number:04d}", state, "", 0.0)


def recovered(name: str, happened: list[Event]) -> tuple[list[int], dict[str, str]]:
    """Who goes on, and who had come to an end."""
    rule = build_rule(SchedulerConfig(name=name, grace_epochs=2), EPOCHS)
    recovery = recover(rule, happened, Replay(happened), EPOCHS)
    return list(recovery.unfinished), {ending.trial_id: ending.state for ending in recovery.endings}


BETTER = [start(0, "base"), epoch(0, 1, 0.5), epoch(0, 2, 0.4)]


def test_a_trial_that_had_been_stopped_is_stopped() -> None:
    stopped = [*BETTER, start(1), epoch(1, 1, 0.9), epoch(1, 2, 0.9)]
    assert recovered("asha", stopped) == ([0], {"0001": "pruned"})
    assert recovered("none", stopped) == ([0, 1], {})


def test_a_trial_that_was_to_wait_waits_and_one_that_went_on_goes_on() -> None:
    waits = [*BETTER, start(1), epoch(1, 2, 0.9)]
    assert recovered("promotion", waits) == ([0], {"0001": "paused"})
    assert recovered("promotion", [*waits, end(1, "paused")]) == ([0], {})
    assert recovered("promotion", [*waits, end(1, "paused"), start(1)]) == ([0, 1], {})


def test_a_trial_that_had_come_to_its_last_epoch_is_completed() -> None:
    assert recovered("asha", [start(0, "base"), epoch(0, EPOCHS, 0.1)]) == ([], {"0000": "completed"})


def test_what_has_ended_has_ended_and_what_was_cut_off_goes_on() -> None:
    ended = [
        event
        for number, state in enumerate(("completed", "pruned", "failed", "diverged"))
        for event in (start(number), epoch(number, 1, 0.5), end(number, state))
    ]
    assert recovered("none", [*ended, start(4), end(4, "paused"), start(5)]) == ([4, 5], {})


def test_repeats_are_none_of_the_rules_business() -> None:
    again = [*BETTER, start(1, "again: trial 0", 0), epoch(1, 2, 0.9), start(2), epoch(2, 2, 0.45)]
    assert recovered("asha", again) == ([0, 1], {"0002": "pruned"})
