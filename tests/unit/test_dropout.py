"""When dropout is on, and what it falls on."""

from __future__ import annotations

import pytest
from timm.layers import DropPath
from torch import nn

from omr_model.compiled import MOST_VARIANTS
from omr_model.config import DropoutScheduleConfig, TrainingConfig, replace_fields
from omr_model.dropout import STAIRS, DropoutSchedule, strength
from omr_model.model import TrOMR
from tests.models import SMALL

RATES = {
    "model.backbone.drop_rate": 0.2,
    "model.backbone.drop_path_rate": 0.3,
    "model.encoder.dropout": 0.2,
    "model.encoder.attention_dropout": 0.2,
    "model.decoder.dropout": 0.2,
    "model.decoder.attention_dropout": 0.2,
}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("standard", [1, 1, 1, 1, 1]),
        ("none", [0, 0, 0, 0, 0]),
        ("early", [1, 0.5, 0, 0, 0]),
        ("late", [0, 0, 1, 1, 1]),
    ],
)
def test_the_four_schedules(schedule: str, expected: list[float]) -> None:
    config = DropoutScheduleConfig(schedule=schedule, cutoff=0.5)
    assert [strength(config, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)] == expected


def test_early_falls_in_so_many_stairs_close_to_a_line() -> None:
    config = DropoutScheduleConfig(schedule="early", cutoff=1.0)
    steps = [strength(config, step / 1000) for step in range(1000)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == STAIRS
    assert max(abs(value - (1 - step / 1000)) for step, value in enumerate(steps)) <= 1 / STAIRS


def test_a_compiled_model_is_not_compiled_more_often_than_torch_allows() -> None:
    assert MOST_VARIANTS >= STAIRS + 1


def rates(model: nn.Module) -> tuple[set[float], set[float]]:
    """The rates of dropout and of stochastic depth that are in a model, without those that are zero."""
    dropout = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    dropout |= {module.dropout for module in model.modules() if type(module).__name__ == "Attend"}  # type: ignore[misc]
    paths = {module.drop_prob for module in model.modules() if isinstance(module, DropPath)}
    return dropout - {0.0}, paths - {0.0}


@pytest.mark.parametrize("kind", ["both", "dropout", "drop_path"])
def test_a_schedule_falls_on_its_kind_and_comes_back(kind: str) -> None:
    model = TrOMR(replace_fields(TrainingConfig(model=SMALL), RATES).model)
    dropout, paths = rates(model)
    assert dropout
    assert paths
    schedule = DropoutSchedule(model, DropoutScheduleConfig(schedule="late", kind=kind, cutoff=0.5))
    schedule.set(0.0)
    assert rates(model) == (set() if kind != "drop_path" else dropout, set() if kind != "dropout" else paths)
    schedule.set(0.5)
    assert rates(model) == (dropout, paths)
