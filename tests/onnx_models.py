"""Untrained models for onnxruntime that read something else on every picture; an export of one takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from datasets.vocabulary import EOS
from omr_model.config import BackboneConfig, DecoderConfig, EncoderConfig, ModelConfig
from omr_model.model import TrOMR
from omr_model.onnx_model import export_onnx
from tests.contracts.model import restless
from tests.models import SMALL, save_model

AS_PUBLISHED = replace(  # in all that TrOMR's published weights have, but for their number
    SMALL,
    backbone=BackboneConfig(layers=(1, 1), channels=(128, 128), stem_channels=32, preact=False),
    encoder=EncoderConfig(depth=1, heads=2, class_token=True),
    decoder=DecoderConfig(depth=2, heads=2, head_width=24, norm_bias=True),
)


def save_with_onnx(config: ModelConfig, folder: Path) -> TrOMR:
    """A model and its checkpoint, with `onnx/` beside the weights, as an export has it."""
    torch.manual_seed(0)
    model = TrOMR(config)
    restless(model, config)
    with torch.no_grad():
        for layer in model.decoder.attention.layers[1::3]:  # pictures matter more, so that staves differ
            for weight in layer[1].to_out.parameters():
                weight *= 4
        model.decoder.heads["rhythm"].bias[EOS] += 4  # and some end before the longest sequence
    export_onnx(model, save_model(model, folder) / "onnx")
    return model
