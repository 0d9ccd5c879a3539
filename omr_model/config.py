"""What a training is: three frozen dataclasses, checked when they are built.

`ModelConfig`, `LossConfig` and `TrainConfig` default to the paper (TrOMR, arXiv 2308.09370) and to the
training log's recipe where the paper is silent. `PRESETS` names the two ways to run: `paper` for a GPU, `tiny`
for two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets.command_line import check_choice, check_range, typed
from datasets.errors import ConfigError
from datasets.vocabulary import VOCABULARIES

BRANCHES = ("rhythm", "pitch", "lift", "note")
NORMS = ("group", "batch")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """timm's ResNetV2 under the encoder.

    Attributes:
        layers: blocks in each stage; the first stage has stride 4 (its stem), every further one doubles it.
        channels: width of each stage; as many as `layers`.
        stem_channels: width of the stem.
        basic: two 3 x 3 convolutions a block instead of a bottleneck.
        bottle_ratio: width inside a block as a share of its stage's.
        norm: `group` (32 groups, with weight-standardised convolutions, as the paper) or `batch`.
        drop_rate: dropout on the feature map that leaves the backbone.
        drop_path_rate: stochastic depth, rising linearly to this rate at the last block. The training log's
            "dropout" is this and `drop_rate` together.
    """

    layers: tuple[int, ...] = (2, 3, 7)
    channels: tuple[int, ...] = (256, 512, 1024)
    stem_channels: int = 64
    basic: bool = False
    bottle_ratio: float = 0.25
    norm: str = "group"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))  # a YAML list, made hashable
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.layers or len(self.layers) != len(self.channels):
            raise ConfigError(
                "`backbone.layers` and `backbone.channels` must name the same stages, "
                f"but got {list(self.layers)} and {list(self.channels)}"
            )
        check_range("backbone.bottle_ratio", self.bottle_ratio, 0.01, 1)
        check_choice("backbone.norm", self.norm, NORMS)
        groups = 32 if self.norm == "group" else 1
        for width in (self.stem_channels, *self.channels):
            if width % groups or width < 1:
                raise ConfigError(f"`backbone` widths must be multiples of {groups}, but got {width}")
        check_range("backbone.drop_rate", self.drop_rate, 0, 0.95)
        check_range("backbone.drop_path_rate", self.drop_path_rate, 0, 0.95)

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the feature map, in both directions."""
        return int(2 ** (len(self.layers) + 1))


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """timm's VisionTransformer over the backbone's feature map.

    Attributes:
        patch: rows and columns of the feature map that become one vector (1 x 1: the paper, where a cell is
            16 x 16 pixels).
        depth, heads: of the transformer.
        dropout: of its feed-forward part.
        attention_dropout: of its attention weights.
    """

    patch: tuple[int, int] = (1, 1)
    depth: int = 4
    heads: int = 8
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))
        check_range("encoder.depth", self.depth, 1)
        check_range("encoder.dropout", self.dropout, 0, 0.95)
        check_range("encoder.attention_dropout", self.attention_dropout, 0, 0.95)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """x-transformers' Decoder with cross-attention; `dropout` is that of its feed-forward part."""

    depth: int = 4
    heads: int = 8
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention_on_attention: bool = True  # as TrOMR's published configuration

    def __post_init__(self) -> None:
        check_range("decoder.depth", self.depth, 1)
        check_range("decoder.dropout", self.dropout, 0, 0.95)
        check_range("decoder.attention_dropout", self.attention_dropout, 0, 0.95)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """TrOMR: images of `height` x `width` pixels to at most `max_length` symbols of a named vocabulary."""

    height: int = 128
    width: int = 1280
    embedding: int = 256
    max_length: int = 256
    vocabulary: str = "full"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        tall, wide = (self.backbone.stride * cells for cells in self.encoder.patch)
        if self.height % tall or self.width % wide:
            raise ConfigError(
                f"`model.height` and `model.width` must be multiples of {tall} x {wide} (the backbone's stride "
                f"{self.backbone.stride} times `encoder.patch`), but got {self.height} x {self.width}"
            )
        for part, heads in (("encoder", self.encoder.heads), ("decoder", self.decoder.heads)):
            if heads < 1 or self.embedding % heads:
                raise ConfigError(f"`model.embedding` {self.embedding} is not divisible by {part}.heads {heads}")
        check_choice("model.vocabulary", self.vocabulary, tuple(VOCABULARIES))
        check_range("model.max_length", self.max_length, 2)


@dataclass(frozen=True, kw_only=True)
class TokenWeights:
    """Weights of symbol classes in the cross entropy; 1 leaves a class alone.

    Attributes:
        accidental: on the lift branch, every printed accidental (training log, run 74 of 04-23: 10).
        natural: on the lift branch, a further factor for naturals.
        rest: on the rhythm branch.
        barline: on the rhythm branch.
    """

    accidental: float = 1.0
    natural: float = 1.0
    rest: float = 1.0
    barline: float = 1.0

    def __post_init__(self) -> None:
        for name in ("accidental", "natural", "rest", "barline"):
            check_range(f"token_weights.{name}", getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """alpha x (rhythm + pitch + lift + note) + beta x consistency.

    Attributes:
        alpha: weight of the four cross entropies (0.1: training log, from run 3 on).
        beta: weight of the consistency term (0.9: training log, from run 3 on).
        focal_gamma: focusing exponent of the focal loss (Lin et al., arXiv 1708.02002); 0 is off.
        focal_alpha: its constant factor.
        focal_branches: the branches it is used on (training log, run 70: the lift alone).
        token_weights: weights by symbol class.
    """

    alpha: float = 0.1
    beta: float = 0.9
    focal_gamma: float = 0.0
    focal_alpha: float = 0.25
    focal_branches: tuple[str, ...] = ("lift",)
    token_weights: TokenWeights = field(default_factory=TokenWeights)

    def __post_init__(self) -> None:
        object.__setattr__(self, "focal_branches", tuple(self.focal_branches))
        check_range("loss.alpha", self.alpha, 0)
        check_range("loss.beta", self.beta, 0)
        check_range("loss.focal_gamma", self.focal_gamma, 0)
        check_range("loss.focal_alpha", self.focal_alpha, 0, 1)
        for branch in self.focal_branches:
            check_choice("loss.focal_branches", branch, BRANCHES)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found.

    Attributes:
        epochs: how many epochs a whole training has; the learning rate's schedule ends with the last.
        staves_per_epoch: staves between two validations; None is the whole training split. Passes over the
            split go on across epochs, so every staff is seen before one is seen again.
        batch_size: staves a step (16: the paper).
        learning_rate: AdamW's peak rate (1e-4: training log, from run 3 on; the paper's Adam had 1e-3).
        weight_decay: decoupled decay (0.01: training log), on matrices; norms, biases and embeddings go free.
        betas: AdamW's moment decays.
        warmup: share of all steps over which the rate rises linearly; a half cosine to zero follows.
        gradient_clip: largest norm of the gradient.
        precision: fp32, or autocast to bf16, or to fp16 with loss scaling.
        compile: torch.compile.
        workers: loader processes; 0 decodes images in the training process, quick enough for short staves.
        validation_staves: at most so many validation staves, the same for every seed; None is all of them.
        seed: initial weights, order of staves, dropout.
        device: `cuda`, `cpu`, or `auto`.
    """

    epochs: int = 25
    staves_per_epoch: int | None = None
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.05
    gradient_clip: float = 1.0
    precision: str = "fp32"
    compile: bool = False
    workers: int = 0
    validation_staves: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        check_range("train.epochs", self.epochs, 1)
        check_range("train.staves_per_epoch", self.staves_per_epoch or 1, 1)
        check_range("train.validation_staves", self.validation_staves or 1, 1)
        check_range("train.batch_size", self.batch_size, 1)
        check_range("train.learning_rate", self.learning_rate, 0, 1)
        check_range("train.weight_decay", self.weight_decay, 0, 10)
        check_range("train.warmup", self.warmup, 0, 1)
        check_range("train.gradient_clip", self.gradient_clip, 1e-6)
        check_range("train.workers", self.workers, 0)
        check_choice("train.precision", self.precision, PRECISIONS)
        if not (self.device in ("auto", "cpu") or self.device.startswith("cuda")):
            raise ConfigError(f"train.device={self.device}: there are auto, cpu, cuda and cuda:N")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All that decides a training's numbers, as one tree; a search moves leaves of it."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def replace_fields(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """The same tree with some leaves changed, named by their path: `{"model.decoder.dropout": 0.1}`.

    Raises:
        ConfigError: a path that leads nowhere, or a value that the field does not allow.
    """
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return typed(config, tree)


PRESETS = {
    # The paper's model, for a GPU.
    "paper": TrainingConfig(train=TrainConfig(precision="bf16", compile=True, workers=8)),
    # The same code with a million parameters, for two CPU cores and short staves. What makes it quick there:
    # batch norm, basic blocks, and a patch as high as the picture, so that the transformer sees 16 columns and
    # not 64 cells. What makes it learn in minutes: more weight on the cross entropies. With the log's 0.1 / 0.9
    # the consistency term holds the pitches back for the first 15,000 staves.
    "tiny": TrainingConfig(
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
        train=TrainConfig(epochs=9, staves_per_epoch=2_400, batch_size=16, learning_rate=1e-3, validation_staves=300),
    ),
}
STAFF_OF_PRESET = {"paper": "full", "tiny": "short"}
