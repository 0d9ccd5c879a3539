"""What a sampler sees of a long search."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState, create_trial

from search import sampler_window
from search.config import SamplerConfig
from search.samplers import build_sampler

COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
kinds = st.tuples(st.sampled_from([COMPLETE, PRUNED, RUNNING]), st.integers(0, 40), st.integers(1, 9))


def trials_of(drawn: list[tuple[TrialState, int, int]]) -> list[FrozenTrial]:
    """Of state, SER in hundredths, and the epoch that they got to."""
    trials = []
    for number, (state, ser, epoch) in enumerate(drawn):
        values = {} if state == RUNNING else {epoch: ser / 100}
        trial = create_trial(state=state, value=ser / 100 if state == COMPLETE else None, intermediate_values=values)
        trial.number = number
        trials.append(trial)
    return trials


@settings(max_examples=25, deadline=None)
@given(st.lists(kinds, min_size=40, max_size=90), st.integers(0, 2**32))
def test_tpe_has_the_good_trials_that_it_would_have_without_the_bound(
    drawn: list[tuple[TrialState, int, int]], seed: int
) -> None:
    trials = trials_of(drawn)
    some = sampler_window.best_and_sample(trials, 5, 30, np.random.default_rng(seed))
    study = cast(Any, SimpleNamespace(direction=optuna.study.StudyDirection.MINIMIZE, directions=[0]))
    finished = sum(trial.state != RUNNING for trial in trials)
    good = min(5, finished)
    of_all, of_some = (_split_trials(study, list(shown), good)[0] for shown in (trials, some))
    assert [sampler_window.standing(trial) for trial in sorted(of_some, key=sampler_window.standing)] == [
        sampler_window.standing(trial) for trial in sorted(of_all, key=sampler_window.standing)
    ]
    assert len(some) == 30
    assert [trial.number for trial in some] == sorted({trial.number for trial in some})


def test_there_are_enough_to_be_seen_for_tpe_to_take_as_many_as_good() -> None:
    assert default_gamma(sampler_window.TPE_SEES // 3) == default_gamma(10**6) == sampler_window.TPE_GOOD


@pytest.mark.parametrize("bound", [sampler_window.for_tpe, sampler_window.for_gp, sampler_window.for_cmaes])
def test_of_a_short_search_all_is_seen(bound: sampler_window.Bound) -> None:
    trials = trials_of([(COMPLETE, 10, 9), (PRUNED, 20, 2), (RUNNING, 0, 1)] * 30)
    assert bound(trials, np.random.default_rng(0)) == trials


def test_of_a_long_one_a_sample_of_the_trial_that_is_suggested_for() -> None:
    trials = trials_of([(COMPLETE if ser % 3 else PRUNED, ser, 1 + ser % 9) for ser in range(1_500)])
    first, again, other = (sampler_window.for_tpe(trials, np.random.default_rng([7, number])) for number in (1, 1, 2))
    assert len(first) == sampler_window.TPE_SEES
    assert first == again != other
    best = sorted(trials, key=sampler_window.standing)[: sampler_window.TPE_GOOD]
    assert all(trial in shown for trial in best for shown in (first, other))
    assert len(sampler_window.for_gp(trials, np.random.default_rng(0))) == sampler_window.GP_SEES


def test_a_long_search_is_suggested_for_in_the_same_way_however_often_it_is_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler_window, "TPE_SEES", 20)
    monkeypatch.setattr(sampler_window, "TPE_GOOD", 3)

    def suggested(sessions: int) -> list[float]:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=build_sampler(SamplerConfig(name="tpe", startup_trials=4), 3))
        for number in range(48):
            if number % (48 // sessions) == 0:
                study.sampler = build_sampler(SamplerConfig(name="tpe", startup_trials=4), 3)
            trial = study.ask()
            study.tell(trial, (trial.suggest_float("x", -1, 1) - 0.3) ** 2)
        return [trial.params["x"] for trial in study.trials]

    one = suggested(1)
    assert one == suggested(4)
    assert min(abs(x - 0.3) for x in one) < 0.1
