"""Every family of backbones gives a map of its stride, keeps the model's contract, and drops what it is told to."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from timm.layers import DropPath
from timm.models.inception_resnet_v2 import InceptionResnetV2
from torch import Tensor, nn

from datasets.errors import ConfigError
from omr_model.backbones import BUILDERS, StochasticDepth, build_backbone
from omr_model.config import FAMILIES, BackboneConfig, TrainingConfig, replace_fields
from omr_model.presets import PRESETS
from tests.contracts.model import ModelContract
from tests.models import SMALL

INCEPTION = BackboneConfig(family="inception_resnet_v2", layers=(1, 1), channels=())
CONVNEXT = BackboneConfig(family="convnext", layers=(1, 1, 1), channels=(8, 8, 16))
BACKBONES = {"resnetv2": SMALL.backbone, "inception_resnet_v2": INCEPTION, "convnext": CONVNEXT}


class TestInception(ModelContract):
    config = dataclasses.replace(SMALL, backbone=INCEPTION)


class TestConvNeXt(ModelContract):
    config = dataclasses.replace(SMALL, backbone=CONVNEXT)


def stages(family: str, count: int, **fields: float) -> BackboneConfig:
    """A small network with two blocks in each stage."""
    channels = () if family == "inception_resnet_v2" else (8, 8, 16)[:count]
    return dataclasses.replace(BACKBONES[family], layers=(2,) * count, channels=channels, **fields)


def training_backbone(config: BackboneConfig) -> nn.Module:
    """A network in training whose residual blocks all add something: timm begins some of them at nothing."""
    torch.manual_seed(0)
    backbone = build_backbone(config).train()
    for weight in backbone.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return backbone


def gray(height: int, width: int, staves: int = 1) -> Tensor:
    """Noise, the same at every call."""
    return torch.randn(staves, 1, height, width, generator=torch.Generator().manual_seed(1))


def test_every_family_is_known_to_the_configuration_and_can_be_built() -> None:
    assert set(BUILDERS) == set(FAMILIES) == set(BACKBONES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [2, 3])
def test_a_cell_of_the_map_is_stride_by_stride_pixels(family: str, count: int) -> None:
    config = stages(family, count)
    backbone = build_backbone(config).eval()
    sizes = [(64, 256), (128, 1280), (3 * config.stride, 5 * config.stride)]
    with torch.no_grad():
        maps = [tuple(backbone(torch.zeros(1, 1, height, width)).shape[-2:]) for height, width in sizes]
    assert maps == [(height // config.stride, width // config.stride) for height, width in sizes]


def test_a_resnet_of_five_stages_still_halves_the_picture_at_every_one() -> None:
    config = BackboneConfig(layers=(1,) * 5, channels=(8,) * 5, stem_channels=8, basic=True, norm="batch")
    with torch.no_grad():
        assert build_backbone(config).eval()(torch.zeros(1, 1, 64, 128)).shape[-2:] == (1, 2)


def test_inception_with_all_blocks_is_the_published_network_up_to_them() -> None:
    backbone = build_backbone(dataclasses.replace(INCEPTION, layers=(10, 20, 9)))
    published = InceptionResnetV2(num_classes=0, in_chans=1, device="meta")
    expected = {
        name: weight.shape
        for name, weight in published.named_parameters()
        if not name.startswith(("block8", "conv2d_7b"))
    }
    assert {name.replace(".block.", "."): weight.shape for name, weight in backbone.named_parameters()} == expected


def test_inception_begins_with_pytorchs_weights() -> None:
    """It is built without memory first: what is left uninitialised is anything, also NaN."""
    torch.manual_seed(0)
    backbone = build_backbone(dataclasses.replace(INCEPTION, layers=(1,)))
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert convolutions
    assert norms
    for module in convolutions:
        bound = module.weight[0].numel() ** -0.5
        assert module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
        assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    assert all(tensor.device.type == "cpu" for tensor in backbone.state_dict().values())


@pytest.mark.parametrize("family", FAMILIES)
def test_drop_rate_falls_on_the_map_exactly_once(family: str) -> None:
    backbone = training_backbone(dataclasses.replace(BACKBONES[family], drop_rate=0.5))
    image = gray(64, 64, staves=4)
    dropped = backbone(image)
    layers = [module for module in backbone.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    assert [layer.p for layer in layers] == [0.5]
    layers[0].p = 0.0  # as a dropout schedule does
    whole = backbone(image)
    kept = dropped[whole != 0] != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(dropped[whole != 0][kept], 2 * whole[whole != 0][kept])


@pytest.mark.parametrize("family", FAMILIES)
def test_stochastic_depth_rises_to_its_rate_and_makes_training_passes_differ(family: str) -> None:
    backbone = training_backbone(stages(family, 2, drop_path_rate=0.6))
    layers = [module for module in backbone.modules() if isinstance(module, DropPath) and module.drop_prob > 0]
    assert [layer.drop_prob for layer in layers] == pytest.approx([0.2, 0.4, 0.6])
    image = gray(32, 64, staves=8)
    first, second = backbone(image), backbone(image)
    assert not torch.allclose(first, second)
    first.square().mean().backward()  # no rectifier overwrites what the gradient needs
    gradients = [weight.grad for weight in backbone.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    for layer in layers:
        layer.drop_prob = 0.0
    torch.testing.assert_close(backbone(image), backbone(image))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_rate_changes_the_weights_or_what_a_trained_network_sees(family: str) -> None:
    image = gray(32, 64, staves=2)
    maps, states = [], []
    for rate in (0.0, 0.5):
        torch.manual_seed(0)
        backbone = build_backbone(stages(family, 2, drop_rate=rate, drop_path_rate=rate)).eval()
        with torch.no_grad():
            maps.append(backbone(image))
        states.append(backbone.state_dict())
    assert list(states[0]) == list(states[1])
    assert torch.equal(*maps)


def test_stochastic_depth_keeps_all_or_nothing_of_what_a_block_adds() -> None:
    class AddOne(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    torch.manual_seed(0)
    block, x = StochasticDepth(AddOne(), rate=0.5), gray(2, 2, staves=64)
    added = (block.train()(x) - x).flatten(1)
    assert torch.equal(added.round(), added[:, :1].round().expand_as(added))  # a staff as a whole
    assert set(added.round().flatten().tolist()) == {0.0, 2.0}  # twice, so that the mean stays
    assert torch.equal(block.eval()(x), x + 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "inception_resnet_v2", "layers": [1, 1]}, r"`backbone\.channels` must be \[\], but got"),
        ({"family": "inception_resnet_v2", "layers": [11, 1], "channels": []}, "at most 10/20/9 blocks"),
        ({"family": "inception_resnet_v2", "layers": [1, 1, 1, 1], "channels": []}, "at most 10/20/9 blocks"),
        # 32 pixels a cell times 4 rows a patch: more than a staff of 64 rows has.
        ({"family": "inception_resnet_v2", "layers": [10, 20, 9], "channels": []}, "must be multiples of 128 x 32"),
        ({"family": "convnext", "layers": [1, 1]}, "must name the same stages"),
        ({"family": "densenet"}, r"unknown backbone\.family 'densenet'; choose resnetv2"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    tiny = TrainingConfig(model=PRESETS["tiny"].model)
    with pytest.raises(ConfigError, match=message):
        replace_fields(tiny, {f"model.backbone.{name}": value for name, value in fields.items()})
