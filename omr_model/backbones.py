"""The networks under the encoder, by family: gray images to a map of features, out of timm's own classes.

Each leaves out its classifier and gives one cell for every `stride` x `stride` pixels of a picture whose sides are
multiples of that. timm's head stays in place with no classes: what it does to the map is dropout, at `drop_rate`.

A family is one function here, one line in `BUILDERS`, and its name and stride in `omr_model.config`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm.layers
import torch
from timm.models.convnext import ConvNeXt
from timm.models.inception_resnet_v2 import InceptionResnetV2
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from omr_model.config import BackboneConfig

LAYERS_OF_NORM: dict[str, tuple[Any, Any]] = {
    "group": (partial(timm.layers.GroupNormAct, num_groups=32), timm.layers.StdConv2dSame),
    "batch": (timm.layers.BatchNormAct2d, partial(timm.layers.create_conv2d, padding="same")),
}
INCEPTION_STAGES = (("mixed_5b", "repeat"), ("mixed_6a", "repeat_1"), ("mixed_7a", "repeat_2"))
"""timm's names of what begins a stage of InceptionResNetV2, and of its residual blocks."""
CONVNEXT_STAGES = 4


def build_backbone(config: BackboneConfig) -> nn.Module:
    """Images of shape [B, 1, H, W] to features of shape [B, C, H / stride, W / stride]."""
    return BUILDERS[config.family](config)


def resnet(config: BackboneConfig) -> nn.Module:
    """Pre-activation ResNetV2 (He et al., arXiv 1603.05027); 18.9 million parameters in the paper's model."""
    norm, convolution = LAYERS_OF_NORM[config.norm]
    backbone: nn.Module = ResNetV2(
        layers=list(config.layers),
        channels=config.channels,
        stem_chs=config.stem_channels,
        num_classes=0,
        global_pool="",
        in_chans=1,
        output_stride=config.stride,
        stem_type="same",
        preact=config.preact,
        basic=config.basic,
        bottle_ratio=config.bottle_ratio,
        norm_layer=norm,
        conv_layer=convolution,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )
    return backbone


def inception_resnet(config: BackboneConfig) -> nn.Module:
    """InceptionResNetV2 (Szegedy et al., arXiv 1602.07261) up to its last named stage, with padded convolutions.

    The published one leaves its stem and reductions unpadded, which loses the picture's edge and makes sizes that do
    not divide: a staff image of 64 rows would end as nothing. With all 10/20/9 blocks the paper's model has 58.8
    million parameters where ResNetV2 gives it 18.9 (training log, run 50: three times larger); with 5/10, 24.6.
    """
    # Built without memory: of its 54 million weights most may be left out.
    backbone: nn.Module = InceptionResnetV2(
        num_classes=0, global_pool="", in_chans=1, drop_rate=config.drop_rate, device="meta"
    )
    rates = iter(torch.linspace(0, config.drop_path_rate, sum(config.layers)).tolist())
    left_out = ["block8", "conv2d_7b"]
    for stage, (reduction, repeat) in enumerate(INCEPTION_STAGES):
        if stage < len(config.layers):
            blocks = list(backbone.get_submodule(repeat).children())[: config.layers[stage]]
            setattr(backbone, repeat, nn.Sequential(*(StochasticDepth(block, next(rates)) for block in blocks)))
        else:
            left_out += [reduction, repeat]
    for name in left_out:
        setattr(backbone, name, nn.Identity())
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and module.kernel_size in (3, (3, 3)):
            module.padding = 1 if isinstance(module, nn.MaxPool2d) else (1, 1)
    return _with_fresh_weights(backbone)


def convnext(config: BackboneConfig) -> nn.Module:
    """ConvNeXt (Liu et al., arXiv 2201.03545); the map leaves it through the layer norm of its head.

    The paper's model has 21.8 million parameters with the first three stages of ConvNeXt-T: 3/3/9 blocks of widths
    96/192/384.
    """
    missing = CONVNEXT_STAGES - len(config.layers)  # timm always builds four stages
    backbone: nn.Module = ConvNeXt(
        depths=(*config.layers, *[0] * missing),
        dims=(*config.channels, *[config.channels[-1]] * missing),
        num_classes=0,
        global_pool="",
        in_chans=1,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )
    stages = list(backbone.get_submodule("stages").children())
    backbone.stages = nn.Sequential(*stages[: len(config.layers)])
    return backbone


BUILDERS: dict[str, Callable[[BackboneConfig], nn.Module]] = {
    "resnetv2": resnet,
    "inception_resnet_v2": inception_resnet,
    "convnext": convnext,
}


class StochasticDepth(nn.Module):
    """Skips a residual block for some staves of a batch while training (Huang et al., arXiv 1603.09382).

    For blocks that have no stochastic depth inside: what a block adds is what comes out less what goes in.
    """

    def __init__(self, block: nn.Module, rate: float) -> None:
        super().__init__()
        self.block = block
        self.drop_path = timm.layers.DropPath(rate)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features to features of the same shape."""
        out_BCHW: Tensor = self.block(x_BCHW)
        if not self.training or self.drop_path.drop_prob == 0:
            return out_BCHW
        kept_BCHW: Tensor = x_BCHW + self.drop_path(out_BCHW - x_BCHW)
        return kept_BCHW


def _with_fresh_weights(network: nn.Module) -> nn.Module:
    """A network that was built without memory, with PyTorch's initial weights, which are also timm's for it."""
    network.to_empty(device=torch.get_default_device())
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
    return network
