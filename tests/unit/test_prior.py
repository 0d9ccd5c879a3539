"""A prior that draws near what was good, fades, and cannot cost more than a few trials."""

from __future__ import annotations

import math
import pickle
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from omr_model.config import LossConfig, OptimizerConfig, TrainingConfig
from results.log_records import LogRun
from results.study import DEFAULT_LOG
from results.training_log import read_log
from search.compose import compose
from search.config import ParameterConfig, SamplerConfig, SpaceConfig
from search.prior import PRIOR, Prior, PriorSampler, completed, prior_from_log
from search.samplers import build_sampler
from search.space import ORIGIN, SearchSpace, Values
from tests.benchmarks.prior_simulation import SimulationConfig, search
from tests.models import SMALL

DROPOUT = ParameterConfig(target="model.decoder.dropout", low=0.0, high=0.5)
LEARNING_RATE = ParameterConfig(target="optimizer.learning_rate", low=1e-5, high=1e-2, log=True)
FOCAL = ParameterConfig(options={"off": {"loss.focal_gamma": 0.0}, "on": {}})
GAMMA = ParameterConfig(target="loss.focal_gamma", low=0.5, high=5.0, when={"focal": "on"})
SPACE = SpaceConfig(parameters={"dropout": DROPOUT, "learning_rate": LEARNING_RATE, "focal": FOCAL, "gamma": GAMMA})
BASE = TrainingConfig(model=SMALL, optimizer=OptimizerConfig(learning_rate=1e-3), loss=LossConfig(focal_gamma=0.0))
PAST = Prior((({"dropout": 0.4, "learning_rate": 1e-4, "focal": "on", "gamma": 4.0}, 1.0),), bandwidth=0.02, keep=1.0)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Recorder(RandomSampler):
    """Says what it was asked for."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.calls: list[str] = []

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:  # noqa: ARG002 - Optuna's signature
        self.calls.append(f"before {trial.number}")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self.calls.append(f"{param_name} of {trial.number}")
        return super().sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna's signature
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.calls.append(f"after {trial.number} {state.name} {values}")

    def reseed_rng(self) -> None:
        self.calls.append("reseed")


def run(sampler: optuna.samplers.BaseSampler, trials: int, config: SpaceConfig = SPACE) -> list[FrozenTrial]:
    """Trials whose SER is lowest without dropout."""
    return go_on(optuna.create_study(sampler=sampler), trials, config)


def go_on(study: optuna.Study, trials: int, config: SpaceConfig = SPACE) -> list[FrozenTrial]:
    space = SearchSpace(config, BASE)
    for _ in range(trials):
        trial = study.ask()
        settings = space.suggest(trial)
        study.tell(trial, settings.get("model.decoder.dropout", 0.5))
    return study.trials


def from_prior(trials: Sequence[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials if trial.user_attrs.get(ORIGIN) == PRIOR]


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (FloatDistribution(0.0, 0.5), 0.1),
        (FloatDistribution(0.0, 0.5), 0.0),
        (FloatDistribution(0.0, 0.5), 0.8),  # from a wider range
        (FloatDistribution(1e-5, 1e-2, log=True), 1e-2),
        (FloatDistribution(0.0, 1.0, step=0.1), 0.3),
        (FloatDistribution(0.0, 0.9, step=0.3), 0.9),
        (IntDistribution(1, 8), 1),
        (IntDistribution(2, 8, step=3), 8),
        (IntDistribution(1, 100, log=True), 1),
        (CategoricalDistribution(["a", "b", None, True, 0.5]), None),
        (CategoricalDistribution(["a", "b"]), "one of the past"),
    ],
    ids=str,
)
def test_what_is_drawn_near_a_value_is_allowed(distribution: BaseDistribution, value: object) -> None:
    rng = np.random.default_rng(0)
    drawn = [Prior((), bandwidth=0.4).near(value, distribution, rng) for _ in range(300)]
    for one in drawn:
        assert distribution._contains(distribution.to_internal_repr(one))
        if isinstance(distribution, IntDistribution):
            assert type(one) is int
        elif isinstance(distribution, FloatDistribution):
            assert type(one) is float
    if isinstance(distribution, CategoricalDistribution):
        assert set(drawn) == set(distribution.choices)


@pytest.mark.parametrize(
    ("distribution", "value", "into"),
    [
        (FloatDistribution(0.0, 0.5), 0.25, lambda one: one / 0.5),
        (FloatDistribution(1e-5, 1e-1, log=True), 1e-3, lambda one: math.log10(one) / 4),
        (IntDistribution(0, 99), 50, lambda one: one / 100),
    ],
    ids=["uniform", "logarithmic", "whole"],
)
def test_a_kernel_is_as_wide_as_the_bandwidth_says(distribution: BaseDistribution, value: float, into: Any) -> None:
    rng = np.random.default_rng(0)
    drawn = [into(Prior((), bandwidth=0.1).near(value, distribution, rng)) for _ in range(2000)]
    assert statistics.mean(drawn) == pytest.approx(into(value), abs=0.01)
    assert statistics.stdev(drawn) == pytest.approx(0.1, abs=0.01)


def test_a_kernel_at_the_end_of_a_range_is_reflected_and_does_not_pile_up() -> None:
    rng = np.random.default_rng(0)
    drawn = [Prior((), bandwidth=0.1).near(0.0, FloatDistribution(0.0, 1.0), rng) for _ in range(500)]
    assert len(set(drawn)) == 500
    assert statistics.mean(drawn) == pytest.approx(0.1 * math.sqrt(2 / math.pi), abs=0.01)


def test_an_observed_choice_is_kept_mostly_and_all_others_stay_possible() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(Prior((), keep=0.8).near("a", CategoricalDistribution("abcd"), rng) for _ in range(2000))
    assert drawn["a"] / 2000 == pytest.approx(0.85, abs=0.03)
    assert drawn["b"] / 2000 == pytest.approx(0.05, abs=0.02)
    assert set(drawn) == set("abcd")


def test_past_settings_are_drawn_by_weight() -> None:
    prior = Prior((({"dropout": 0.1}, 3.0), ({"dropout": 0.2}, 1.0), ({"dropout": 0.3}, 0.0)))
    rng = np.random.default_rng(0)
    drawn = Counter(prior.observation(rng)["dropout"] for _ in range(1000))
    assert drawn[0.1] / 1000 == pytest.approx(0.75, abs=0.05)
    assert drawn[0.3] == 0


def test_a_trial_is_near_the_past_as_a_whole_or_not_at_all() -> None:
    trials = run(PriorSampler(RandomSampler(seed=1), PAST, 0), 40)
    of_prior = from_prior(trials)
    near = [trial.number for trial in trials if is_near(trial.params)]
    assert of_prior == near
    assert len(of_prior) in (3, 4)


def test_each_parameter_is_near_the_same_past_setting_and_drawn_for_itself() -> None:
    far_apart = ({"dropout": 0.1, "learning_rate": 1e-4}, 1.0), ({"dropout": 0.4, "learning_rate": 1e-3}, 1.0)
    sampler = PriorSampler(RandomSampler(seed=0), Prior(far_apart, bandwidth=0.05), 0, share=1.0, half_life=1e9)
    trials = [trial.params for trial in run(sampler, 60)]
    high = [values["dropout"] > 0.25 for values in trials]
    assert high == [values["learning_rate"] > 10**-3.5 for values in trials]
    assert 15 < sum(high) < 45
    missed = [
        (values["dropout"] - (0.4 if is_high else 0.1), math.log10(values["learning_rate"]) - (-3 if is_high else -4))
        for values, is_high in zip(trials, high, strict=True)
    ]
    assert abs(np.corrcoef(np.array(missed).T)[0, 1]) < 0.4


def is_near(values: Values) -> bool:
    return (
        abs(values["dropout"] - 0.4) < 0.05
        and abs(math.log10(values["learning_rate"]) + 4) < 0.3
        and abs(values.get("gamma", 0.0) - 4.0) < 0.5
    )


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("half_life", [1.0, 4.0])
def test_no_study_has_more_trials_from_the_prior_than_the_limit(share: float, half_life: float) -> None:
    fading = 2 ** (-1 / half_life)
    counts, first, sixth = [], 0, 0
    for seed in range(60):
        sampler = PriorSampler(RandomSampler(seed=seed), PAST, seed, share=share, half_life=half_life)
        turns = [sampler._turns(number + 1) - sampler._turns(number) for number in range(200)]
        counts.append(sum(turns))
        first, sixth = first + turns[0], sixth + turns[5]
    expected = share / (1 - fading)
    assert max(counts) <= sampler.limit == math.ceil(expected)
    assert statistics.mean(counts) == pytest.approx(expected, abs=0.2)
    assert first / 60 == pytest.approx(share, abs=0.15)
    assert sixth / 60 == pytest.approx(share * fading**5, abs=0.15)


def test_a_wrong_prior_draws_at_most_four_of_two_hundred_trials() -> None:
    for seed in range(3):
        trials = run(PriorSampler(RandomSampler(seed=seed), PAST, seed), 200, SpaceConfig(parameters={"d": DROPOUT}))
        assert 3 <= len(from_prior(trials)) <= 4
        assert max(from_prior(trials)) < 40


def test_queued_trials_are_left_alone_and_do_not_fade_the_prior() -> None:
    def study(queued: int) -> list[FrozenTrial]:
        new = optuna.create_study(sampler=PriorSampler(RandomSampler(seed=0), PAST, 0))
        for number in range(queued):
            new.enqueue_trial({"dropout": 0.01 * number}, user_attrs={ORIGIN: "training log"})
        return go_on(new, 30)

    without, after = study(0), study(10)
    assert {trial.user_attrs[ORIGIN] for trial in after[:10]} == {"training log"}
    assert [trial.params["dropout"] for trial in after[:10]] == [0.01 * number for number in range(10)]
    assert [number - 10 for number in from_prior(after)] == [number for number in from_prior(without) if number < 20]


def test_the_sampler_draws_what_a_past_setting_does_not_have_and_hears_of_every_trial() -> None:
    recorder = Recorder()
    prior = Prior((({"dropout": 0.4, "focal": "on"}, 1.0),), bandwidth=0.01, keep=1.0)
    sampler = PriorSampler(recorder, prior, 0, share=1.0, half_life=1.0)
    study = optuna.create_study(sampler=sampler)
    trials = go_on(study, 1)
    assert from_prior(trials) == [0]
    value = trials[0].params["dropout"]
    assert recorder.calls == ["before 0", "learning_rate of 0", "gamma of 0", f"after 0 COMPLETE [{value}]"]
    sampler.reseed_rng()
    assert recorder.calls[-1] == "reseed"


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc", "random"])
def test_a_prior_goes_around_every_sampler(name: str) -> None:
    space = SearchSpace(SPACE, BASE)
    config = SamplerConfig(name=name, startup_trials=3)
    sampler = build_sampler(config, 0, space, PAST)
    assert isinstance(sampler, PriorSampler)
    trials = run(sampler, 10)
    of_prior = from_prior(trials)
    assert 1 <= len(of_prior) <= sampler.limit
    assert all(is_near(trials[number].params) for number in of_prior)
    others = [trial.params for trial in trials if trial.number not in of_prior]
    assert not any(is_near(values) for values in others)
    assert all(("gamma" in values) == (values["focal"] == "on") for values in others)


def test_the_sampler_is_the_one_without_a_prior_once_the_prior_has_faded() -> None:
    """A sequence shows it: what the prior does not draw is the sequence, without a gap."""
    space = SearchSpace(SPACE, BASE)
    plain = run(build_sampler(SamplerConfig(name="qmc"), 0, space), 10)
    trials = run(build_sampler(SamplerConfig(name="qmc"), 0, space, PAST), 10)
    others = [trial.params for trial in trials if trial.number not in from_prior(trials)]
    assert others == [trial.params for trial in plain][: len(others)]


@pytest.mark.parametrize("storage", ["memory", "journal"])
def test_a_search_that_is_taken_up_again_goes_on_as_it_would_have(storage: str, tmp_path: Path) -> None:
    def new() -> optuna.Study:
        journal = JournalStorage(JournalFileBackend(str(tmp_path / f"{len(list(tmp_path.iterdir()))}")))
        return optuna.create_study(
            storage=InMemoryStorage() if storage == "memory" else journal,
            sampler=PriorSampler(RandomSampler(seed=0), PAST, 0),
        )

    whole = go_on(new(), 20)
    study = new()
    go_on(study, 2)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    again = go_on(study, 18)
    assert [trial.params for trial in again] == [trial.params for trial in whole]
    assert from_prior(again) == from_prior(whole)


def test_a_trial_says_that_it_is_from_the_prior_when_it_is_asked_for(tmp_path: Path) -> None:
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal"))),
        sampler=PriorSampler(RandomSampler(seed=0), PAST, 0, share=1.0),
    )
    trial = study.ask()
    assert trial.user_attrs == {ORIGIN: PRIOR}
    restored = optuna.Trial(study, trial._trial_id)  # as the searcher does when a search is taken up again
    assert restored.user_attrs == {ORIGIN: PRIOR}
    assert is_near(SearchSpace(SPACE, BASE).draw(restored))


def log_run(ser: float | None, **settings: float | str) -> LogRun:
    places = {"dropout": "model.decoder.dropout", "rate": "optimizer.learning_rate", "gamma": "loss.focal_gamma"}
    return LogRun(number=1, ser=ser, settings={places.get(name, name): value for name, value in settings.items()})


def test_runs_of_the_log_count_by_their_ser_and_are_as_the_base_elsewhere() -> None:
    runs = [
        log_run(0.72, dropout=0.1),
        log_run(0.74, dropout=0.2, rate=1e-4),
        log_run(0.81, dropout=0.3, gamma=2.0),
    ]
    prior = prior_from_log(runs, SearchSpace(SPACE, BASE))
    assert prior is not None
    assert [values for values, _ in prior.observations] == [
        {"dropout": 0.1, "learning_rate": 1e-3, "focal": "off"},
        {"dropout": 0.2, "learning_rate": 1e-4, "focal": "off"},
        {"dropout": 0.3, "learning_rate": 1e-3, "focal": "on", "gamma": 2.0},
    ]
    weights = [weight for _, weight in prior.observations]
    assert weights == pytest.approx([1.0, math.exp(-1), math.exp(-4.5)])


def test_runs_that_say_nothing_about_the_space_do_not_count() -> None:
    nothing = [
        log_run(0.72),
        log_run(None, dropout=0.1),
        log_run(0.6, **{"optimizer.weight_decay": 0.01}),
        LogRun(number=0, ser=0.5),
    ]
    space = SearchSpace(SPACE, BASE)
    assert prior_from_log(nothing, space) is None
    assert prior_from_log([], space) is None
    prior = prior_from_log([*nothing, log_run(0.8, dropout=0.3)], space)
    assert prior is not None
    assert [(values["dropout"], weight) for values, weight in prior.observations] == [(0.3, 1.0)]


def test_a_run_counts_with_what_it_names_where_the_rest_is_outside_of_the_space() -> None:
    outside = TrainingConfig(
        model=SMALL, optimizer=OptimizerConfig(learning_rate=0.1), loss=LossConfig(focal_gamma=0.0)
    )
    runs = [
        log_run(0.72, dropout=0.1),
        log_run(0.72, dropout=0.8),  # more than the space allows: nothing is left to say
        log_run(0.72, dropout=0.8, rate=1e-4),
        log_run(0.72, dropout=0.2, gamma=0.0),
        log_run(0.72, gamma=2.0),
    ]
    prior = prior_from_log(runs, SearchSpace(SPACE, outside))
    assert prior is not None
    assert [values for values, _ in prior.observations] == [
        {"dropout": 0.1},
        {"learning_rate": 1e-4},
        {"dropout": 0.2, "focal": "off"},
        {"gamma": 2.0},
    ]


def test_what_a_run_of_the_log_does_not_name_was_as_usual() -> None:
    """So the runs without focal loss speak against it, and two backbones can be told apart."""
    runs = completed(read_log(DEFAULT_LOG).runs())
    assert {run.number for run in runs} == {1, 3, 50, 51, 55, 56, 57, 63, 70, 71, 74, 75, 76, 77}

    def weight(space: str, name: str) -> dict[str, float]:
        config = compose([f"space={space}", "model=paper"])
        prior = prior_from_log(runs, SearchSpace(config.space, config.training()))
        assert prior is not None
        weights: dict[str, float] = {}
        for values, one in prior.observations:
            if name in values:
                weights[values[name]] = weights.get(values[name], 0.0) + one
        return weights

    focal = weight("focal_loss", "focal")
    assert focal["off"] > 5 * focal["on"] > 0
    assert weight("backbone", "backbone")["resnetv2"] > 1
    reduced_and_full = weight("vocabulary", "vocabulary")
    assert reduced_and_full["reduced"] > reduced_and_full["full"] > 0


def test_a_right_prior_saves_trials_and_a_wrong_one_costs_no_more_than_its_limit_at_first() -> None:
    """Ten searches of the simulation, each with the same optimum and noise without and with a prior."""
    config = SimulationConfig(trials=40)
    needed = {kind: [search(config, 4, kind, seed) for seed in range(10)] for kind in ("none", "right", "wrong")}
    saved = [without[0] - right[0] for without, right in zip(needed["none"], needed["right"], strict=True)]
    assert statistics.median(saved) >= 5
    assert max(drawn for _, drawn in needed["wrong"]) <= 4
    assert (
        statistics.median(one[0] for one in needed["wrong"]) <= statistics.median(one[0] for one in needed["none"]) + 8
    )
