"""Whole trainings by name: `paper` and `grand` for a GPU, `tiny` and `line` for CPU cores; and what `fast` means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omr_model.config import (
    BackboneConfig,
    DecoderConfig,
    EncoderConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    TrainingConfig,
)

_PAPER = TrainingConfig(train=TrainConfig(precision="mixed", compile=True, workers=8))

# The same code with a million parameters, for two CPU cores and short staves. What makes it quick there: batch norm,
# basic blocks, and a patch as high as the picture, so that the transformer sees 16 columns and not 64 cells. What
# makes it learn in minutes: more weight on the cross entropies. With the log's 0.1 / 0.9 the consistency term holds
# the pitches back for the first 15,000 staves.
_TINY = TrainingConfig(
    model=ModelConfig(
        height=64,
        width=256,
        embedding=128,
        max_length=32,
        backbone=BackboneConfig(
            layers=(1, 1, 1),
            channels=(32, 64, 128),
            stem_channels=32,
            basic=True,
            bottle_ratio=0.5,
            norm="batch",
        ),
        encoder=EncoderConfig(patch=(4, 1), depth=1, heads=4),
        decoder=DecoderConfig(depth=2, heads=4, attention_on_attention=False),
    ),
    loss=LossConfig(alpha=0.5, beta=0.1),
    optimizer=OptimizerConfig(learning_rate=1e-3),
    train=TrainConfig(epochs=9, staves_per_epoch=2_400, batch_size=16, validation_staves=300, precision="mixed"),
)

PRESETS = {
    "paper": _PAPER,
    "grand": replace(_PAPER, model=replace(_PAPER.model, height=256)),  # the two staves of a piano
    "tiny": _TINY,
    "line": replace(_TINY, model=replace(_TINY.model, width=640, max_length=64)),  # a line of a real page
}
STAFF_OF_PRESET = {"paper": "full", "grand": "grand", "tiny": "short", "line": "line"}

FAST: dict[str, Any] = {"train.precision": "mixed", "train.compile": True, "optimizer.fused": "torch"}
"""What `fast=true` means: the training log's "fast" option with today's means."""
PLAIN: dict[str, Any] = {"train.precision": "fp32", "train.compile": False, "optimizer.fused": "none"}
"""What `fast=false` means."""
