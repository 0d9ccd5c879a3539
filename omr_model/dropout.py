"""When dropout is on: standard, early or late (Liu et al., Dropout Reduces Underfitting, arXiv 2303.01500)."""

from __future__ import annotations

import math

from timm.layers import DropPath
from torch import nn
from x_transformers.attend import Attend

from omr_model.config import DropoutScheduleConfig

STAIRS = 6
"""A linear fall in so many stairs: a compiled model is compiled anew for every rate that it meets, which takes time,
and only so often (`omr_model.compiled.MOST_VARIANTS`). As many where nothing is compiled: no number depends on that."""


class DropoutSchedule:
    """Sets the rates of a model's dropout layers during a training.

    Args:
        model: as it was built; its rates are those of the `standard` schedule.
    """

    def __init__(self, model: nn.Module, config: DropoutScheduleConfig) -> None:
        self.config = config
        self.rates: list[tuple[nn.Module, str, float]] = []
        for module in model.modules():
            for kind, attribute in _rates_of(module):
                rate = float(getattr(module, attribute))
                if rate > 0 and config.kind in ("both", kind):
                    self.rates.append((module, attribute, rate))

    def set(self, progress: float) -> None:
        """Set every rate for a share of the training that is done, from 0 to 1."""
        factor = strength(self.config, progress)
        for module, attribute, rate in self.rates:
            if getattr(module, attribute) != rate * factor:
                setattr(module, attribute, rate * factor)


def strength(config: DropoutScheduleConfig, progress: float) -> float:
    """The share of its rate that dropout has when so much of the training is done."""
    if config.schedule == "early":
        left = max(0.0, 1 - progress / config.cutoff)
        return math.ceil(left * STAIRS) / STAIRS
    if config.schedule == "late":
        return float(progress >= config.cutoff)
    return float(config.schedule == "standard")


def _rates_of(module: nn.Module) -> list[tuple[str, str]]:
    """The attributes of a layer that are rates, each with its kind."""
    if isinstance(module, nn.Dropout):
        return [("dropout", "p")]
    if isinstance(module, DropPath):
        return [("drop_path", "drop_prob")]
    if isinstance(module, Attend):
        return [("dropout", "dropout")]  # what its flash attention reads; its nn.Dropout is the other attention's
    return []
