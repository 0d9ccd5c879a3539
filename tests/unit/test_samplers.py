"""Every sampler through a small study as the engine runs one: asked and told, two at a time, some trials bad."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from datasets.errors import ConfigError
from omr_model.config import OptimizerConfig, TrainingConfig
from search.compose import choices, compose
from search.config import ParameterConfig, SamplerConfig, SpaceConfig
from search.prior import Prior
from search.samplers import SAMPLERS, build_sampler, exhausted, grid_size
from search.space import SearchSpace, Values
from tests.models import SMALL

LEARNING_RATE = ParameterConfig(target="optimizer.learning_rate", low=1e-5, high=1e-2, log=True)
DROPOUT = ParameterConfig(target="model.decoder.dropout", low=0.0, high=0.5)
DEPTH = ParameterConfig(target="model.decoder.depth", kind="int", low=1, high=3)
SCHEDULE = ParameterConfig(target="optimizer.schedule", kind="categorical", choices=["cosine", "linear", "constant"])
FOCAL = ParameterConfig(options={"off": {"loss.focal_gamma": 0.0}, "on": {}})
GAMMA = ParameterConfig(target="loss.focal_gamma", low=0.5, high=5.0, when={"focal": "on"})
MIXED = SpaceConfig(
    parameters={
        "learning_rate": LEARNING_RATE,
        "dropout": DROPOUT,
        "depth": DEPTH,
        "schedule": SCHEDULE,
        "focal": FOCAL,
        "gamma": GAMMA,
    }
)
SMALL_GRID = SpaceConfig(parameters={"dropout": DROPOUT, "depth": DEPTH, "focal": FOCAL, "gamma": GAMMA})
INSIDE = TrainingConfig(model=SMALL, optimizer=OptimizerConfig(learning_rate=1e-3))
OUTSIDE = TrainingConfig(model=SMALL, optimizer=OptimizerConfig(learning_rate=0.1))
TRIALS = 14
BEST_DROPOUT = 0.05


@dataclass
class Engine:
    """Asks and tells a study as the searcher does, so many trials at a time."""

    space: SearchSpace
    study: optuna.Study
    running: list[optuna.Trial] = field(default_factory=list)

    def start(self) -> None:
        """One more trial."""
        self.running.append(self.study.ask())
        self.space.suggest(self.running[-1])

    def end(self) -> None:
        """The trial that was started first: stopped early, crashed or trained to the end."""
        trial = self.running.pop(0)
        if trial.number % 5 == 3:
            trial.report(0.9 - 0.01 * trial.number, step=1)
            trial.report(ser(trial.params) + 0.2, step=2)
            self.study.tell(trial, state=TrialState.PRUNED)
        elif trial.number % 7 == 5:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, ser(trial.params))

    def run(self, trials: int, abreast: int = 2) -> None:
        for _ in range(trials):
            if len(self.running) == abreast:
                self.end()
            self.start()
        while self.running:
            self.end()

    @property
    def drawn(self) -> list[FrozenTrial]:
        """Not the base, where it lies outside of the space."""
        return [trial for trial in self.study.trials if trial.params]


def ser(values: Values) -> float:
    """Lowest at little dropout and a high learning rate."""
    return 0.2 + 4 * (values.get("dropout", 0.1) - BEST_DROPOUT) ** 2 - 10 * values.get("learning_rate", 1e-3)


def engine(name: str, base: TrainingConfig = INSIDE, seed: int = 0, config: SpaceConfig = MIXED) -> Engine:
    """A study whose base has been queued."""
    space = SearchSpace(config, base, resolution=2 if name == "grid" else None)
    study = optuna.create_study(sampler=build_sampler(SamplerConfig(name=name, startup_trials=4), seed, space))
    space.queue(study)
    return Engine(space, study)


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is logged or printed; and warnings are errors anyway."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield
    optuna.logging.disable_propagation()
    assert [record.message for record in caplog.get_records("call")] == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("base", [INSIDE, OUTSIDE], ids=["base inside", "base outside"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_whole_small_study(name: str, base: TrainingConfig) -> None:
    one = engine(name, base)
    one.run(TRIALS)
    states = Counter(trial.state for trial in one.study.trials)
    assert states == {TrialState.COMPLETE: 9, TrialState.PRUNED: 3, TrialState.FAIL: 2}
    assert len(one.drawn) == (TRIALS if base is INSIDE and name != "grid" else TRIALS - 1)
    for trial in one.drawn:
        assert_in_the_space(trial.params)
    assert {trial.params["focal"] for trial in one.drawn} == {"off", "on"}
    assert len({tuple(sorted(trial.params.items())) for trial in one.drawn}) == len(one.drawn)


def assert_in_the_space(values: Values) -> None:
    assert set(values) - {"gamma"} == set(MIXED.parameters) - {"gamma"}
    assert ("gamma" in values) == (values["focal"] == "on")
    assert 1e-5 <= values["learning_rate"] <= 1e-2
    assert 0 <= values["dropout"] <= 0.5
    assert values["depth"] in (1, 2, 3)
    assert isinstance(values["depth"], int)
    assert values["schedule"] in SCHEDULE.choices
    assert 0.5 <= values.get("gamma", 1.0) <= 5.0


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_gives_the_same_settings_again(name: str) -> None:
    settings = []
    for seed in (0, 0, 1):
        one = engine(name, seed=seed)
        one.run(9)
        settings.append([trial.params for trial in one.drawn])
    assert settings[0] == settings[1]
    assert settings[0] != settings[2]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_is_made_anew_goes_on(name: str) -> None:
    one = engine(name)
    one.run(6)
    again = copy.deepcopy(one)
    again.study.sampler = engine(name).study.sampler
    one.run(3)
    again.run(3)
    assert [trial.params for trial in one.drawn] == [trial.params for trial in again.drawn]


@pytest.mark.parametrize(("name", "trials"), [("tpe", 36), ("gp", 20), ("cmaes", 60)])
def test_what_is_modelled_gets_better_also_where_the_base_is_outside_of_the_space(name: str, trials: int) -> None:
    """A base without parameters would leave nothing to be modelled, and the sampler would draw at random for ever."""
    one = engine(name, OUTSIDE)
    one.run(trials)
    missed = [abs(trial.params["dropout"] - BEST_DROPOUT) for trial in one.drawn]
    assert sum(missed[-10:]) / 10 < 0.09  # at random: 0.2


def test_a_good_base_outside_of_the_space_does_not_tell_tpe_that_anything_is_as_good() -> None:
    """It has no parameters, so TPE draws as it would without it."""
    settings = []
    for queued in (True, False):
        one = engine("tpe", OUTSIDE)
        if not queued:
            one.study = optuna.create_study(sampler=one.study.sampler)
            one.study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))  # numbers are seeds
        for _ in range(12 + queued):
            one.start()
            trial = one.running.pop()
            one.study.tell(trial, ser(trial.params) if trial.params else 0.0)
        settings.append([trial.params for trial in one.drawn])
    assert settings[0] == settings[1]


def test_early_stops_fill_the_generations_of_cmaes() -> None:
    """Nearly all trials are stopped, so that without them there would be no generation after the first."""
    one = engine("cmaes")
    for _ in range(60):
        one.start()
        trial = one.running.pop()
        trial.report(ser(trial.params), step=4)
        one.study.tell(trial, state=TrialState.PRUNED)
    missed = [abs(trial.params["dropout"] - BEST_DROPOUT) for trial in one.drawn]
    assert sum(missed[-10:]) / 10 < 0.09


@pytest.mark.parametrize("base", [INSIDE, OUTSIDE], ids=["base inside", "base outside"])
def test_qmc_covers_every_range_evenly_also_of_what_is_conditional(base: TrainingConfig) -> None:
    one = engine("qmc", base)
    one.run(17)
    drawn = [trial.params for trial in one.drawn if trial.number > 0]
    assert sorted(int(values["dropout"] / 0.5 * 16) for values in drawn) == list(range(16))
    assert sorted(Counter(values["focal"] for values in drawn).values()) == [8, 8]
    gammas = sorted(int((values["gamma"] - 0.5) / 4.5 * 4) for values in drawn if "gamma" in values)
    assert all(Counter(gammas)[quarter] in (1, 2, 3) for quarter in range(4))


@pytest.mark.parametrize("name", ["gp", "cmaes", "qmc"])
def test_a_sampler_that_does_not_know_the_space_goes_by_past_trials(name: str) -> None:
    space = SearchSpace(SpaceConfig(parameters={"dropout": DROPOUT, "depth": DEPTH}), INSIDE)
    study = optuna.create_study(sampler=build_sampler(SamplerConfig(name=name, startup_trials=4), 0))
    one = Engine(space, study)
    one.run(10)
    assert len({tuple(trial.params.items()) for trial in one.drawn}) == 10


@pytest.mark.parametrize("abreast", [1, 2, 5])
def test_a_grid_is_tried_out_each_setting_once_and_then_is_exhausted(abreast: int) -> None:
    one = engine("grid", config=SMALL_GRID)
    size = grid_size(one.space)
    assert size == 2 * 2 * (1 + 2)  # two dropouts, two depths, no focal loss or one of two
    begun = 0
    while not exhausted(one.study, one.space):
        if len(one.running) == abreast:
            one.end()
        one.start()
        begun += 1
    assert begun == size + 1  # the base comes first, which is not on the grid
    settings = Counter(tuple(sorted(trial.params.items())) for trial in one.drawn)
    assert len(settings) == size
    assert set(settings.values()) == {1}
    while one.running:
        one.end()
    assert exhausted(one.study, one.space)


def test_a_grid_that_is_taken_up_again_knows_what_was_tried() -> None:
    one = engine("grid", config=SMALL_GRID)
    one.run(7)
    one.study.sampler = build_sampler(SamplerConfig(name="grid"), 0, one.space)
    assert not exhausted(one.study, one.space)
    one.run(6)
    assert exhausted(one.study, one.space)
    assert len({tuple(sorted(trial.params.items())) for trial in one.drawn}) == 12


def test_the_size_of_a_grid_counts_what_exists() -> None:
    nested = {
        "focal": FOCAL,
        "gamma": GAMMA,
        "schedule": SCHEDULE,
        "warmup": ParameterConfig(
            target="optimizer.warmup", low=0.1, high=0.3, when={"schedule": ["cosine", "linear"]}
        ),
        "alpha": ParameterConfig(
            target="loss.focal_alpha", low=0.1, high=0.9, when={"focal": "on", "schedule": "linear"}
        ),
    }
    space = SearchSpace(SpaceConfig(parameters=nested), INSIDE, resolution=3)
    off, on = 3 + 3 + 1, 3 * 3 + 3 * 3 * 3 + 3  # cosine, linear, constant
    assert grid_size(space) == off + on


def test_other_samplers_never_come_to_an_end() -> None:
    one = engine("random", config=SpaceConfig(parameters={"schedule": SCHEDULE}))
    one.run(8)
    assert not exhausted(one.study, one.space)


def test_every_sampler_has_its_file_and_the_other_way_round() -> None:
    assert sorted(SAMPLERS) == choices("sampler")
    for name in SAMPLERS:
        assert compose([f"sampler={name}", "model=tiny"]).sampler.name == name


@pytest.mark.parametrize(
    ("name", "config", "prior", "message"),
    [
        ("tbe", MIXED, None, "unknown sampler 'tbe'; choose tpe, .*did you mean tpe"),
        ("cmaes", SpaceConfig(parameters={"schedule": SCHEDULE}), None, "cmaes: it models numbers, and this space has"),
        ("grid", MIXED, Prior((({"dropout": 0.1}, 1.0),)), "history=prior: sampler=grid tries every setting"),
    ],
)
def test_a_sampler_that_would_do_nothing_is_refused(
    name: str, config: SpaceConfig, prior: Prior | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_sampler(SamplerConfig(name=name), 0, SearchSpace(config, INSIDE), prior)
