"""What Optuna is told of trials that end early, diverge or crash: the two faults that Tune's own searcher has."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from omr_model.config import TrainingConfig
from search.config import ParameterConfig, PointConfig, SamplerConfig, SpaceConfig
from search.engine.searcher import OptunaSearcher
from search.engine.stop import Stop
from search.outcome import Outcome
from search.samplers import build_sampler
from search.space import SearchSpace
from tests.models import SMALL

EPOCHS = 9
TARGET = "model.decoder.dropout"


@pytest.fixture
def searcher() -> OptunaSearcher:
    space = SpaceConfig(
        parameters={"dropout": ParameterConfig(target=TARGET, low=0.0, high=0.5)},
        points={"log": PointConfig(origin="run 51", values={"dropout": 0.1})},
    )
    search_space = SearchSpace(space, TrainingConfig(model=SMALL))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    search_space.queue(study)
    return OptunaSearcher(study, search_space, EPOCHS, Stop())


def run(searcher: OptunaSearcher, trial_id: str, sers: list[float]) -> dict[str, float]:
    """A trial that reports some epochs; the last result, which Tune hands over at the end."""
    if trial_id not in searcher.trials:
        searcher.suggest(trial_id)
    results = [{"epoch": epoch, "ser": ser} for epoch, ser in enumerate(sers, start=1)]
    for result in results[:-1]:
        searcher.on_trial_result(trial_id, result)
    return results[-1]


def only_trial(searcher: OptunaSearcher) -> optuna.trial.FrozenTrial:
    [trial] = [trial for trial in searcher.study.trials if trial.state != TrialState.WAITING]
    return trial


def test_the_base_comes_first_then_the_points_of_the_space(searcher: OptunaSearcher) -> None:
    assert searcher.suggest("a") == {"number": 0, "settings": {TARGET: 0.0}, "origin": "base"}
    assert searcher.suggest("b") == {"number": 1, "settings": {TARGET: 0.1}, "origin": "run 51"}
    drawn = searcher.suggest("c")
    assert isinstance(drawn, dict)
    assert drawn["settings"][TARGET] not in (0.0, 0.1)
    assert drawn["origin"] == ""


def test_a_trial_trained_to_the_end_is_complete(searcher: OptunaSearcher) -> None:
    sers = [0.9 - 0.05 * epoch for epoch in range(EPOCHS)]
    searcher.on_trial_complete("a", run(searcher, "a", sers))
    trial = only_trial(searcher)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, sers[-1])
    assert trial.intermediate_values == dict(enumerate(sers, start=1))


def test_a_trial_stopped_early_is_pruned_with_its_intermediate_values(searcher: OptunaSearcher) -> None:
    searcher.on_trial_complete("a", run(searcher, "a", [0.30, 0.29, 0.28]))
    trial = only_trial(searcher)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.30, 2: 0.29, 3: 0.28}


def test_a_lucky_early_value_is_not_the_best_trial(searcher: OptunaSearcher) -> None:
    searcher.on_trial_complete("a", run(searcher, "a", [0.30]))
    searcher.on_trial_complete("b", run(searcher, "b", [0.5] * (EPOCHS - 1) + [0.35]))
    assert searcher.study.best_trial.number == 1
    assert searcher.study.best_value == 0.35


def test_a_diverged_trial_is_pruned_with_what_was_finite(searcher: OptunaSearcher) -> None:
    run(searcher, "a", [0.9, 0.8, 0.7])
    searcher.on_trial_complete("a", {"epoch": 3, "ser": 1e6, "diverged": "the loss is no longer finite"})
    trial = only_trial(searcher)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9, 2: 0.8}


def test_a_trial_that_diverges_at_once_does_not_stay_running(searcher: OptunaSearcher) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"epoch": 1, "ser": 1e6, "diverged": "at once"})
    assert only_trial(searcher).state == TrialState.PRUNED


@pytest.mark.parametrize("ser", [math.nan, math.inf])
def test_what_is_not_finite_never_becomes_a_value(searcher: OptunaSearcher, ser: float) -> None:
    searcher.on_trial_complete("a", run(searcher, "a", [0.9] * (EPOCHS - 1) + [ser]))
    trial = only_trial(searcher)
    assert trial.state == TrialState.PRUNED
    assert len(trial.intermediate_values) == EPOCHS - 1


def test_the_last_epoch_may_be_told_twice(searcher: OptunaSearcher) -> None:
    result = run(searcher, "a", [0.5] * EPOCHS)
    searcher.on_trial_result("a", result)  # nobody stops a trial at its last epoch: it ends by itself
    searcher.on_trial_complete("a", result)  # a warning of Optuna's would fail this test, and in a search the trial
    assert only_trial(searcher).value == 0.5


def changed(result: dict[str, float]) -> dict[str, float]:
    """As Tune reports a trial that has gone on from trial 3's checkpoint with other settings."""
    return {**result, "config/number": 0, "config/adopted": 3}


def test_a_trial_with_other_settings_than_it_began_with_is_pruned_where_they_changed(searcher: OptunaSearcher) -> None:
    run(searcher, "a", [0.9, 0.8, 0.7])
    searcher.on_trial_result("a", changed({"epoch": 3, "ser": 0.4}))
    searcher.on_trial_complete("a", changed({"epoch": EPOCHS, "ser": 0.1}))
    trial = only_trial(searcher)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9, 2: 0.8}


def test_a_trial_that_waits_when_the_search_ends_has_not_failed(searcher: OptunaSearcher) -> None:
    run(searcher, "a", [0.9, 0.8, 0.7])
    searcher.on_trial_complete("a", None)
    trial = only_trial(searcher)
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 0.9, 2: 0.8})


def test_a_crashed_trial_has_failed(searcher: OptunaSearcher) -> None:
    result = run(searcher, "a", [0.9, 0.8])
    searcher.on_trial_complete("a", result, error=True)
    assert only_trial(searcher).state == TrialState.FAIL


def test_no_more_trials_are_suggested_once_the_search_is_to_end(searcher: OptunaSearcher) -> None:
    searcher.stop.interrupted = True
    assert searcher.suggest("a") == OptunaSearcher.FINISHED
    assert len(searcher.study.get_trials(states=[TrialState.WAITING])) == 2


def test_a_grid_ends_once_each_of_its_settings_has_begun() -> None:
    parameters = {"dropout": ParameterConfig(target=TARGET, low=0.1, high=0.5)}
    space = SearchSpace(SpaceConfig(parameters=parameters), TrainingConfig(model=SMALL), resolution=2)
    study = optuna.create_study(sampler=build_sampler(SamplerConfig(name="grid"), seed=0))
    space.queue(study)
    searcher = OptunaSearcher(study, space, EPOCHS, Stop())
    begun = [searcher.suggest(trial_id) for trial_id in "abc"]
    assert begun[0] == {"number": 0, "settings": {TARGET: 0.0}, "origin": "base"}  # which is not on the grid
    assert sorted(one["settings"][TARGET] for one in begun[1:]) == [0.1, 0.5]  # type: ignore[index]
    assert searcher.exhausted
    assert searcher.suggest("d") == OptunaSearcher.FINISHED


def test_a_search_ends_for_one_reason() -> None:
    assert (Stop().reason, Stop().early) == (Outcome.FINISHED, False)
    assert Stop(hours=1.0).reason == Outcome.FINISHED
    assert Stop(hours=1e-12).reason == Outcome.OUT_OF_TIME
    assert Stop(hours=1e-12, interrupted=True).reason == Outcome.INTERRUPTED


def test_what_was_running_is_known_again_after_a_restore(searcher: OptunaSearcher, tmp_path: Path) -> None:
    searcher.suggest("a")
    searcher.save(str(tmp_path / "state"))
    again = OptunaSearcher(searcher.study, searcher.space, EPOCHS, Stop())
    again.restore(str(tmp_path / "state"))
    again.on_trial_complete("a", {"epoch": EPOCHS, "ser": 0.4})
    assert searcher.study.best_value == 0.4


def test_a_trial_that_is_told_twice_counts_once(searcher: OptunaSearcher) -> None:
    result = run(searcher, "a", [0.5] * EPOCHS)
    trial = searcher.trials["a"]
    searcher.on_trial_complete("a", result)
    searcher.trials["a"] = trial
    searcher.on_trial_complete("a", result)
    assert len(searcher.study.get_trials(states=[TrialState.COMPLETE])) == 1
