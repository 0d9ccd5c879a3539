"""What Optuna is told of trials that end early, diverge or crash: the two faults that Tune's own searcher has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.config import BudgetConfig, SamplerConfig, SchedulerConfig
from tests.driven import DROPOUT, RATE, Session, search_config

EPOCHS = 6


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(search_config(tmp_path, scheduler=SchedulerConfig(name="none")))


def run(session: Session, trial_id: str, sers: list[float]) -> dict[str, Any]:
    """A trial that reports some epochs; the last result, which Tune hands over at the end."""
    if trial_id not in session.searcher.assigned:
        session.searcher.suggest(trial_id)
    results: list[dict[str, Any]] = [{"epoch": epoch, "ser": ser} for epoch, ser in enumerate(sers, start=1)]
    for result in results[:-1]:
        session.searcher.on_trial_result(trial_id, result)
    return results[-1]


def only_trial(session: Session) -> optuna.trial.FrozenTrial:
    [trial] = [trial for trial in session.study.trials if trial.state != TrialState.WAITING]
    return trial


def test_the_base_comes_first_then_the_points_of_the_space(session: Session) -> None:
    base = {"number": 0, "settings": {RATE: 0.05, DROPOUT: 0.0}, "origin": "base", "seed": 0}
    assert session.searcher.suggest("a") == {**base, "repeats": None, "checkpoints": []}
    second = session.searcher.suggest("b")
    assert isinstance(second, dict)
    assert (second["number"], second["settings"], second["origin"]) == (1, {RATE: 1e-2, DROPOUT: 0.1}, "run 51")
    drawn = session.searcher.suggest("c")
    assert isinstance(drawn, dict)
    assert drawn["settings"][DROPOUT] not in (0.0, 0.1)
    assert drawn["origin"] == ""


def test_a_trial_trained_to_the_end_is_complete(session: Session) -> None:
    sers = [0.9 - 0.05 * epoch for epoch in range(EPOCHS)]
    session.searcher.on_trial_complete("a", run(session, "a", sers))
    trial = only_trial(session)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, sers[-1])
    assert trial.intermediate_values == dict(enumerate(sers, start=1))


def test_a_trial_stopped_early_is_pruned_with_its_intermediate_values(session: Session) -> None:
    session.searcher.on_trial_complete("a", run(session, "a", [0.30, 0.29, 0.28]))
    trial = only_trial(session)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.30, 2: 0.29, 3: 0.28}


def test_a_lucky_early_value_is_not_the_best_trial(session: Session) -> None:
    session.searcher.on_trial_complete("a", run(session, "a", [0.30]))
    session.searcher.on_trial_complete("b", run(session, "b", [0.5] * (EPOCHS - 1) + [0.35]))
    assert session.study.best_trial.number == 1
    assert session.study.best_value == 0.35


def test_a_diverged_trial_is_pruned_with_what_was_finite(session: Session) -> None:
    run(session, "a", [0.9, 0.8, 0.7])
    session.searcher.on_trial_complete("a", {"epoch": 3, "ser": 1e6, "diverged": "the loss is no longer finite"})
    trial = only_trial(session)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9, 2: 0.8}


def test_a_trial_that_diverges_at_once_does_not_stay_running(session: Session) -> None:
    session.searcher.suggest("a")
    session.searcher.on_trial_complete("a", {"epoch": 1, "ser": 1e6, "diverged": "at once"})
    assert only_trial(session).state == TrialState.PRUNED


@pytest.mark.parametrize("ser", [math.nan, math.inf])
def test_what_is_not_finite_never_becomes_a_value(session: Session, ser: float) -> None:
    session.searcher.on_trial_complete("a", run(session, "a", [0.9] * (EPOCHS - 1) + [ser]))
    trial = only_trial(session)
    assert trial.state == TrialState.PRUNED
    assert len(trial.intermediate_values) == EPOCHS - 1


def test_the_last_epoch_may_be_told_twice(session: Session) -> None:
    result = run(session, "a", [0.5] * EPOCHS)
    session.searcher.on_trial_result("a", result)  # nobody stops a trial at its last epoch: it ends by itself
    session.searcher.on_trial_complete("a", result)  # a warning of Optuna's would fail this test, and the search
    assert only_trial(session).value == 0.5


def changed(result: dict[str, Any]) -> dict[str, Any]:
    """As Tune reports a trial that has gone on from trial 3's checkpoint with other settings."""
    return {**result, "config/number": 0, "config/adopted": 3}


def test_a_trial_with_other_settings_than_it_began_with_is_pruned_where_they_changed(session: Session) -> None:
    run(session, "a", [0.9, 0.8, 0.7])
    session.searcher.on_trial_result("a", changed({"epoch": 3, "ser": 0.4}))
    session.searcher.on_trial_complete("a", changed({"epoch": EPOCHS, "ser": 0.1}))
    trial = only_trial(session)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9, 2: 0.8}


def test_a_trial_that_waits_when_the_search_ends_has_not_failed(session: Session) -> None:
    run(session, "a", [0.9, 0.8, 0.7])
    session.searcher.on_trial_complete("a", None)
    assert only_trial(session).state == TrialState.RUNNING  # it may go on when the search is taken up again
    session.agenda.close()
    trial = only_trial(session)
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 0.9, 2: 0.8})


@pytest.mark.parametrize("how", [{"error": True}, {"result": {"epoch": 0, "ser": 10.0, "failed": "it has melted"}}])
def test_a_crashed_trial_has_failed(session: Session, how: dict[str, Any]) -> None:
    result = run(session, "a", [0.9, 0.8])
    session.searcher.on_trial_complete("a", **{"result": result, **how})
    assert only_trial(session).state == TrialState.FAIL


def test_no_more_trials_are_suggested_once_the_search_is_to_end(session: Session) -> None:
    session.stop.interrupted = True
    assert session.searcher.suggest("a") == Searcher.FINISHED
    assert len(session.study.get_trials(states=[TrialState.WAITING])) == 2


def test_a_grid_ends_once_each_of_its_settings_has_begun(tmp_path: Path) -> None:
    grid = search_config(
        tmp_path,
        sampler=SamplerConfig(name="grid", resolution=2),
        budget=BudgetConfig(trials=100),
        scheduler=SchedulerConfig(name="none"),
    )
    session = Session(grid)
    begun = [session.searcher.suggest(trial_id) for trial_id in "abcde"]
    assert begun[0]["origin"] == "base"  # type: ignore[index, call-overload]  # which is not on the grid
    drawn = {tuple(one["settings"].values()) for one in begun[1:]}  # type: ignore[union-attr, index, call-overload]
    assert drawn == {(1e-5, 0.0), (1e-5, 0.5), (1e-1, 0.0), (1e-1, 0.5)}
    assert session.agenda.over
    assert session.searcher.suggest("f") == Searcher.FINISHED
