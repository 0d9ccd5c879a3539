"""Every space keeps the contract; and what a space file may not say."""

from __future__ import annotations

import optuna
import pytest

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig
from search.compose import choices
from search.config import ParameterConfig, PointConfig, SpaceConfig
from search.space import SearchSpace
from tests.contracts.space import SpaceContract
from tests.models import SMALL

BASE = TrainingConfig(model=SMALL)


class TestDropout(SpaceContract):
    name = "dropout"

    def test_the_logs_values_are_the_backbones_two_rates_together(self, space: SearchSpace) -> None:
        rates = [
            (point["model.backbone.drop_rate"], point["model.backbone.drop_path_rate"]) for point, _ in space.points
        ]
        assert rates == [(0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.8, 0.8)]
        others = set(space.targets) - {"model.backbone.drop_rate", "model.backbone.drop_path_rate"}
        assert all(point[target] == 0.0 for point, _ in space.points for target in others)
        assert [origin for _, origin in space.points] == [f"training log, run {run}" for run in (51, 56, 55, 57)]


def test_every_space_file_has_its_contract_test() -> None:
    tested = {contract.name for contract in SpaceContract.__subclasses__()}
    assert tested == set(choices("space"))


def test_a_conditional_parameter_is_there_only_when_its_condition_holds() -> None:
    config = SpaceConfig(
        parameters={
            "gamma": ParameterConfig(target="loss.focal_gamma", kind="categorical", choices=[0.0, 2.0]),
            "alpha": ParameterConfig(target="loss.focal_alpha", low=0.1, high=0.9, when={"gamma": 2.0}),
        }
    )
    space = SearchSpace(config, BASE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(20)]
    assert {settings["loss.focal_gamma"] for settings in drawn} == {0.0, 2.0}
    assert all(("loss.focal_alpha" in settings) == (settings["loss.focal_gamma"] == 2.0) for settings in drawn)


def test_integers_and_logarithms_are_drawn_as_such() -> None:
    config = SpaceConfig(
        parameters={
            "depth": ParameterConfig(target="model.decoder.depth", kind="int", low=1, high=3),
            "rate": ParameterConfig(target="train.learning_rate", low=1e-5, high=1e-2, log=True),
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [SearchSpace(config, BASE).suggest(study.ask()) for _ in range(60)]
    assert {settings["model.decoder.depth"] for settings in drawn} == {1, 2, 3}
    below = sum(settings["train.learning_rate"] < 10**-3.5 for settings in drawn)
    assert 15 < below < 45  # half of a logarithmic range


@pytest.mark.parametrize(
    ("parameters", "points", "message"),
    [
        ({}, {}, "no parameters"),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=1.5)},
            {},
            r"space parameter rate reaches 1.5: `decoder.dropout` must be between 0 and 0.95",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5, when={"gamma": 1})},
            {},
            "`when` names gamma",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5)},
            {"far": PointConfig(origin="nowhere", values={"rate": 0.7})},
            "space point far: 0.7 is outside the range of rate",
        ),
        (
            {"rate": ParameterConfig(target="model.decoder.dropout", low=0, high=0.5)},
            {"lost": PointConfig(origin="nowhere", values={"speed": 0.1})},
            "space point lost: no parameter speed; there are rate",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(
    parameters: dict[str, ParameterConfig], points: dict[str, PointConfig], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace(SpaceConfig(parameters=parameters, points=points), BASE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "gaussian"}, "gaussian"),
        ({"kind": "categorical"}, "needs `choices`"),
        ({"low": 0.5, "high": 0.1}, "`low` must be below `high`"),
        ({"low": 0.0, "high": 0.1, "log": True}, "must begin above 0"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParameterConfig(target="model.decoder.dropout", **fields)
