"""Which settings need at least as much of a GPU's memory as others: those with the same shapes, or larger ones.

Only a partial order, by what is sure: a deeper, wider model or a larger batch never needs less. Two settings of which
each is larger in something are not compared.
"""

from __future__ import annotations

import math
from typing import Any

from datasets.command_line import flat_fields
from omr_model.config import TrainingConfig

GROW = (
    *("model.height", "model.width", "model.embedding", "model.max_length"),
    *("model.backbone.layers", "model.backbone.channels", "model.backbone.stem_channels"),
    *("model.backbone.bottle_ratio", "model.encoder.depth", "model.encoder.heads"),
    *("model.decoder.depth", "model.decoder.heads", "train.batch_size"),
)
"""The more of them, the more memory."""
SAME = (
    *("model.vocabulary", "model.backbone.family", "model.backbone.basic", "model.backbone.preact"),
    *("model.backbone.norm", "model.encoder.patch", "model.encoder.class_token", "model.decoder.head_width"),
    *("model.decoder.attention_on_attention", "train.precision", "train.compile"),
)
"""Whoever differs in one of these is another kind of network, or runs it in another way."""


def needs_as_much(one: TrainingConfig, other: TrainingConfig) -> bool:
    """Whether a setting needs at least as much memory as another one, as far as their shapes say that for sure."""
    mine, others = flat_fields(one), flat_fields(other)
    if any(mine[name] != others[name] for name in SAME):
        return False
    return all(_at_least(mine[name], others[name]) for name in GROW)


def size_of(training: TrainingConfig) -> float:
    """A number that is never smaller for a setting that needs at least as much; of different kinds it says little."""
    fields = flat_fields(training)
    return math.fsum(math.log1p(_total(fields[name])) for name in GROW)


def _at_least(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(mine >= its for mine, its in zip(one, other, strict=True))
    return bool(one >= other)


def _total(value: Any) -> float:
    return float(sum(value)) if isinstance(value, (tuple, list)) else float(value)
