"""How population-based training changes settings: within their ranges, and only what can change in a training."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from datasets.errors import ConfigError
from omr_model.checkpoint import may_change
from omr_model.config import OptimizerConfig, TrainingConfig
from search.config import ParameterConfig, SpaceConfig
from search.engine.exploration import Exploration, moved
from search.space import SearchSpace
from tests.models import SMALL

RATE, DEPTH, DROPOUT = "optimizer.learning_rate", "model.decoder.depth", "model.decoder.dropout"
DROP_RATE, DROP_PATH_RATE = "model.backbone.drop_rate", "model.backbone.drop_path_rate"
DRAWS = 400

KINDS = {
    "uniform": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
    "log": ParameterConfig(target=RATE, low=1e-5, high=1e-2, log=True),
    "step": ParameterConfig(target=DROPOUT, low=0.05, high=0.48, step=0.1),
    "int": ParameterConfig(target="train.mix.lengths", kind="int", low=1, high=6),
    "int of step": ParameterConfig(target="train.mix.lengths", kind="int", low=1, high=8, step=3),
    "choice": ParameterConfig(target="optimizer.schedule", kind="categorical", choices=["a", "b", "c", "d"]),
}
ALLOWED: dict[str, list[Any]] = {
    "step": [0.05, 0.15, 0.25, 0.35, 0.45],
    "int": [1, 2, 3, 4, 5, 6],
    "int of step": [1, 4, 7],
    "choice": ["a", "b", "c", "d"],
}


def walk(parameter: ParameterConfig, value: Any, resolution: int | None = None) -> list[Any]:
    """The values that a parameter wanders through."""
    random = Random(0)
    found = [value]
    for _ in range(DRAWS):
        found.append(moved(found[-1], parameter, resolution, random))
    return found


@pytest.mark.parametrize("kind", ["uniform", "log"])
def test_a_number_stays_in_its_range(kind: str) -> None:
    parameter = KINDS[kind]
    assert parameter.low is not None
    assert parameter.high is not None
    found = walk(parameter, parameter.high)
    assert parameter.low <= min(found) <= max(found) <= parameter.high
    assert len(set(found)) > DRAWS / 2


@pytest.mark.parametrize("kind", list(ALLOWED))
def test_a_value_is_one_that_the_sampler_could_have_drawn(kind: str) -> None:
    found = walk(KINDS[kind], ALLOWED[kind][0])
    assert sorted(set(found)) == pytest.approx(ALLOWED[kind]) if kind == "step" else set(found) == set(ALLOWED[kind])
    assert {type(value) for value in found} == {type(ALLOWED[kind][0])}


def test_on_a_grid_a_number_is_one_of_the_grids() -> None:
    assert set(walk(KINDS["uniform"], 0.25, resolution=3)) == {0.0, 0.25, 0.5}


def test_most_changes_are_small_and_some_are_anew() -> None:
    found = [moved(1e-3, KINDS["log"], None, Random(seed)) for seed in range(DRAWS)]
    near = [value for value in found if value == pytest.approx(0.8e-3) or value == pytest.approx(1.2e-3)]
    assert 0.65 * DRAWS < len(near) < 0.85 * DRAWS
    assert min(found) < 1e-4
    assert max(found) > 5e-3


def test_zero_does_not_stay_zero() -> None:
    assert 0.0 not in [moved(0.0, KINDS["uniform"], None, Random(seed)) for seed in range(DRAWS)]


def test_a_whole_number_moves_by_one_at_least() -> None:
    anew_or_next = [moved(2, KINDS["int"], None, Random(seed)) for seed in range(DRAWS)]
    assert {1, 3} < set(anew_or_next)
    assert anew_or_next.count(2) < 0.1 * DRAWS  # only drawn anew


PARAMETERS = {
    "rate": KINDS["log"],
    "depth": ParameterConfig(target=DEPTH, kind="int", low=1, high=3),
    "schedule": ParameterConfig(target="train.dropout.schedule", kind="categorical", choices=["standard", "late"]),
    "cutoff": ParameterConfig(target="train.dropout.cutoff", low=0.1, high=0.9, when={"schedule": "late"}),
    "rates": ParameterConfig(target=DROP_RATE, also=[DROP_PATH_RATE], low=0.0, high=0.8),
    "switch": ParameterConfig(options={"off": {"loss.focal_gamma": 0.0}, "on": {"loss.focal_gamma": 2.0}}),
}


def exploration(rate: float = 1e-3, **parameters: ParameterConfig) -> Exploration:
    base = TrainingConfig(model=SMALL, optimizer=OptimizerConfig(learning_rate=rate))
    return Exploration(SearchSpace(SpaceConfig(parameters=parameters or PARAMETERS), base))


STANDARD = {
    RATE: 1e-3,
    DEPTH: 2,
    "train.dropout.schedule": "standard",
    DROP_RATE: 0.4,
    DROP_PATH_RATE: 0.4,
    "loss.focal_gamma": 2.0,
}


def test_only_what_can_change_in_a_training_is_changed() -> None:
    found = exploration().explore(STANDARD, Random(1))
    kept = (DEPTH, "train.dropout.schedule", "loss.focal_gamma")
    assert {target: found[target] for target in kept} == {target: STANDARD[target] for target in kept}
    assert found[RATE] != STANDARD[RATE]
    assert found[DROP_RATE] == found[DROP_PATH_RATE] != 0.4


def test_what_does_not_exist_in_a_setting_does_not_appear() -> None:
    some = exploration()
    found = [some.explore(STANDARD, Random(seed)) for seed in range(20)]
    assert {frozenset(one) for one in found} == {frozenset(STANDARD)}
    late = {**STANDARD, "train.dropout.schedule": "late", "train.dropout.cutoff": 0.5}
    assert some.explore(late, Random(1))["train.dropout.cutoff"] != 0.5


def test_a_base_outside_of_the_space_can_be_gone_on_from() -> None:
    outside = exploration(rate=0.5)
    settings = outside.space.base_settings
    assert outside.space.values_of(settings) is None
    found = outside.explore(settings, Random(1))
    assert 1e-5 <= found[RATE] <= 1e-2
    changed = {target for target in settings if found[target] != settings[target]}
    assert changed <= {RATE, DROP_RATE, DROP_PATH_RATE}


def test_the_same_seed_changes_the_same() -> None:
    some = exploration()
    first, again, other = (some.explore(STANDARD, Random(seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_a_space_without_anything_that_can_change_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler=pbt: the space has no parameter .* it has depth, switch\."):
        exploration(depth=PARAMETERS["depth"], switch=PARAMETERS["switch"])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("loss.alpha", True),
        ("loss.token_weights.rest", True),
        (RATE, True),
        ("optimizer.weight_decay", True),
        ("optimizer.decay_norms", False),
        ("optimizer.fused", False),
        (DROPOUT, True),
        ("model.encoder.attention_dropout", True),
        ("model.backbone.drop_path_rate", True),
        (DEPTH, False),
        ("model.vocabulary", False),
        ("train.mix.weights.ryansMammoth", True),
        ("train.dropout.cutoff", True),
        ("train.batch_size", False),
        ("train.epochs", False),
    ],
)
def test_what_may_change_in_a_training(target: str, expected: bool) -> None:
    assert may_change(target) is expected
