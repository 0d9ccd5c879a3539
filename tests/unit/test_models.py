"""Every preset keeps the model's contract, and knobs of the configuration reach the layers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from datasets.errors import ConfigError
from omr_model.config import BackboneConfig, ModelConfig, TrainingConfig, replace_fields
from omr_model.model import TrOMR
from omr_model.presets import PRESETS
from tests.contracts.model import ModelContract
from tests.models import SMALL, random_batch


class TestSmall(ModelContract):
    config = SMALL


class TestTiny(ModelContract):
    config = PRESETS["tiny"].model


class TestPaper(ModelContract):
    """The paper's blocks (group norm, bottlenecks, attention on attention), as far as a CPU can take them."""

    config = dataclasses.replace(PRESETS["paper"].model, height=32, width=64, max_length=32)


class TestLine(ModelContract):
    config = PRESETS["line"].model


class TestGrand(ModelContract):
    """Two staves one above the other: more rows of cells than a single one has."""

    config = dataclasses.replace(PRESETS["grand"].model, height=64, width=32, max_length=32)


def test_the_line_and_the_grand_preset_are_the_others_networks_on_larger_pictures() -> None:
    pictures = {"line": ("tiny", 64, 640, 64), "grand": ("paper", 256, 1280, 256)}
    for name, (like, *picture) in pictures.items():
        config = PRESETS[name].model
        assert [config.height, config.width, config.max_length] == picture
        size = {field: getattr(config, field) for field in ("height", "width", "max_length")}
        assert dataclasses.replace(PRESETS[like].model, **size) == config


def test_the_paper_preset_is_the_papers_model() -> None:
    config = PRESETS["paper"].model
    assert (config.height, config.width, config.max_length) == (128, 1280, 256)
    assert config.backbone.layers == (2, 3, 7)
    assert (config.embedding, config.encoder.depth, config.decoder.depth) == (256, 4, 4)
    assert (config.encoder.heads, config.decoder.heads) == (8, 8)
    assert config.backbone.stride == 16


def test_the_tiny_preset_has_about_a_million_weights() -> None:
    assert 0.5e6 < TrOMR(PRESETS["tiny"].model).parameter_count < 1.5e6


DROPOUTS = [
    "model.backbone.drop_rate",
    "model.backbone.drop_path_rate",
    "model.encoder.dropout",
    "model.encoder.attention_dropout",
    "model.decoder.dropout",
    "model.decoder.attention_dropout",
]


@pytest.mark.parametrize("target", DROPOUTS)
def test_each_dropout_makes_training_passes_differ(target: str) -> None:
    def two_passes(rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        config = replace_fields(TrainingConfig(model=SMALL), {target: rate}).model
        torch.manual_seed(0)
        model = TrOMR(config).train()
        for module in model.modules():  # whose statistics would make the passes differ by themselves
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
        for weight in model.parameters():  # the last convolution of a block begins at zero: nothing to drop yet
            weight.data += 0.1 * torch.randn_like(weight)
        batch = random_batch(staves=16)  # enough that stochastic depth drops a block for some
        return model(batch).rhythm, model(batch).rhythm

    torch.testing.assert_close(*two_passes(0.0))
    first, second = two_passes(0.5)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.height": 60}, "must be multiples of 16 x 16"),
        ({"model.embedding": 33}, "not divisible by encoder.heads"),
        ({"model.backbone.drop_rate": 1.5}, "`backbone.drop_rate` must be between 0 and 0.95, but got 1.5"),
        ({"model.backbone.norm": "layer"}, "backbone.norm 'layer'"),
        ({"model.encoder.depth": 0}, "`encoder.depth` must be at least 1"),
        ({"loss.focal_branches": ["lyrics"]}, "loss.focal_branches 'lyrics'"),
        ({"train.precision": "int8"}, "train.precision 'int8'"),
        ({"train.device": "tpu"}, "train.device=tpu"),
        ({"model.nosuch": 1}, "model.nosuch: no such field"),
    ],
)
def test_bad_values_are_refused_by_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        replace_fields(TrainingConfig(model=SMALL), fields)


def test_a_backbone_must_name_as_many_widths_as_stages() -> None:
    with pytest.raises(ConfigError, match="must name the same stages"):
        BackboneConfig(layers=(1, 1), channels=(32,))


def test_group_norm_wants_widths_of_whole_groups() -> None:
    with pytest.raises(ConfigError, match="multiples of 32"):
        ModelConfig(backbone=BackboneConfig(layers=(1,), channels=(40,)))
