"""What a training is: four frozen dataclasses, checked when they are built.

`ModelConfig`, `LossConfig`, `OptimizerConfig` and `TrainConfig` default to the paper (TrOMR, arXiv 2308.09370)
and to the training log's recipe where the paper is silent; `omr_model.presets` names whole trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from datasets.command_line import check_choice, check_range, typed
from datasets.errors import ConfigError
from datasets.vocabulary import SYMBOL_BRANCHES, VOCABULARIES
from omr_model.mix_config import MixConfig

GRAY_MEAN, GRAY_STD = 0.7931, 0.1738
"""Of the paper's training images, whose gray levels are scaled to 0..1 (TrOMR's published preprocessing)."""
BRANCHES = (*SYMBOL_BRANCHES, "note")
NORMS = ("group", "batch")
FAMILIES = {"resnetv2": 1, "inception_resnet_v2": 2, "convnext": 1}
"""Backbones by name, and how often each halves the picture beside once a stage."""
INCEPTION_BLOCKS = (10, 20, 9)
PRECISIONS = ("fp32", "bf16", "fp16", "mixed")
IMAGES = ("auto", "mapped", "decoded")
SCHEDULES = ("cosine", "linear", "constant")
FUSED = ("torch", "apex", "none")
DROPOUT_SCHEDULES = ("standard", "early", "late", "none")
DROPOUT_KINDS = ("both", "dropout", "drop_path")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A timm network under the encoder.

    Attributes:
        family: `resnetv2` (the paper), `inception_resnet_v2` (training log, run 50), or `convnext`.
        layers: blocks in each stage. ResNetV2 and ConvNeXt begin with stride 4 (their stem), InceptionResNetV2
            with stride 8; every further stage doubles it. InceptionResNetV2 as published is 10/20/9.
        channels: width of each stage; as many as `layers`, but none for InceptionResNetV2, whose widths are fixed.
        stem_channels: width of ResNetV2's stem.
        basic: ResNetV2 with two 3 x 3 convolutions per block instead of a bottleneck.
        preact: ResNetV2's norms before the convolutions; after them, in bottlenecks alone: TrOMR's published weights.
        bottle_ratio: width inside a block of ResNetV2 as a share of its stage's.
        norm: ResNetV2's: `group` (32 groups, with weight-standardised convolutions, as the paper) or `batch`. The
            others have the norm they were published with.
        drop_rate: dropout on the feature map that leaves the backbone.
        drop_path_rate: stochastic depth, rising linearly to this rate at the last block. The training log's
            "dropout" is this and `drop_rate` together.
    """

    family: str = "resnetv2"
    layers: tuple[int, ...] = (2, 3, 7)
    channels: tuple[int, ...] = (256, 512, 1024)
    stem_channels: int = 64
    basic: bool = False
    preact: bool = True
    bottle_ratio: float = 0.25
    norm: str = "group"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))  # a YAML list, made hashable
        object.__setattr__(self, "channels", tuple(self.channels))
        check_choice("backbone.family", self.family, tuple(FAMILIES))
        check_choice("backbone.norm", self.norm, NORMS)
        check_range("backbone.bottle_ratio", self.bottle_ratio, 0.01, 1)
        check_range("backbone.drop_rate", self.drop_rate, 0, 0.95)
        check_range("backbone.drop_path_rate", self.drop_path_rate, 0, 0.95)
        if self.basic and not self.preact:
            raise ConfigError("`backbone.preact` must be true where `backbone.basic` is")
        if not self.layers or min(self.layers) < 1:
            raise ConfigError(f"`backbone.layers` must name at least one block per stage, but got {list(self.layers)}")
        if self.family == "inception_resnet_v2":
            self._check_inception()
        else:
            self._check_widths()

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the feature map, in both directions."""
        return int(2 ** (len(self.layers) + FAMILIES[self.family]))

    def _check_inception(self) -> None:
        if self.channels:
            raise ConfigError(
                f"inception_resnet_v2 has fixed widths: `backbone.channels` must be [], but got {list(self.channels)}"
            )
        too_many = any(asked > there for asked, there in zip(self.layers, INCEPTION_BLOCKS, strict=False))
        if too_many or len(self.layers) > len(INCEPTION_BLOCKS):
            raise ConfigError(
                f"inception_resnet_v2 has at most {'/'.join(map(str, INCEPTION_BLOCKS))} blocks, but "
                f"`backbone.layers` asks for {list(self.layers)}"
            )

    def _check_widths(self) -> None:
        if len(self.layers) != len(self.channels):
            raise ConfigError(
                "`backbone.layers` and `backbone.channels` must name the same stages, "
                f"but got {list(self.layers)} and {list(self.channels)}"
            )
        if self.family == "convnext" and len(self.layers) > 4:
            raise ConfigError(f"convnext has at most 4 stages, but `backbone.layers` names {len(self.layers)}")
        grouped = self.norm == "group" and self.family == "resnetv2"
        groups, inside = (32, [width * self.bottle_ratio for width in self.channels]) if grouped else (1, [])
        for width in (self.stem_channels, *self.channels, *inside):
            if width % groups or width < 1:
                raise ConfigError(f"`backbone` widths must be multiples of {groups}, but got {width:g}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """timm's VisionTransformer over the backbone's feature map.

    Attributes:
        patch: rows and columns of the feature map that become one vector (1 x 1: the paper, where a cell is
            16 x 16 pixels).
        class_token: one more vector, before those of the cells, as in TrOMR's published weights.
        depth, heads: blocks, and heads of their attention.
        dropout, attention_dropout: of its feed-forward part, and of its attention weights.
    """

    patch: tuple[int, int] = (1, 1)
    class_token: bool = False
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
    """x-transformers' Decoder with cross-attention.

    Attributes:
        depth, heads: blocks, and heads of their attention.
        head_width: width of queries, keys and values; None is the embedding's share (TrOMR's published weights: 64).
        norm_bias: layer norms with a bias (x-transformers gave its up later than TrOMR's published weights).
        dropout, attention_dropout: of its feed-forward part, and of its attention weights.
        attention_on_attention: gate the result of attention, as TrOMR's published configuration does.
    """

    depth: int = 4
    heads: int = 8
    head_width: int | None = None
    norm_bias: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention_on_attention: bool = True

    def __post_init__(self) -> None:
        check_range("decoder.depth", self.depth, 1)
        check_range("decoder.head_width", 1 if self.head_width is None else self.head_width, 1)
        check_range("decoder.dropout", self.dropout, 0, 0.95)
        check_range("decoder.attention_dropout", self.attention_dropout, 0, 0.95)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """TrOMR: images of `height` x `width` pixels to at most `max_length` symbols of a named vocabulary.

    Attributes:
        height, width: pixels of an image.
        embedding: width of encoder and decoder.
        max_length: longest sequence, in symbols.
        vocabulary: `full` (260 rhythms) or `reduced` (70).
    """

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
        rest, barline: on the rhythm branch.
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
        gamma: scale of the consistency term: it is so many times the mean L1 distance (10: TrOMR's published
            code). Only beta x gamma counts.
        label_smoothing: share of every target that is spread over the other entries (Szegedy et al., arXiv
            1512.00567); not where the focal loss is on.
        focal_gamma, focal_alpha: exponent (0 is off) and factor of the focal loss (Lin et al., arXiv 1708.02002).
        focal_branches: the branches it is used on (training log, run 70: the lift alone).
    """

    alpha: float = 0.1
    beta: float = 0.9
    gamma: float = 10.0
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    focal_alpha: float = 0.25
    focal_branches: tuple[str, ...] = ("lift",)
    token_weights: TokenWeights = field(default_factory=TokenWeights)

    def __post_init__(self) -> None:
        object.__setattr__(self, "focal_branches", tuple(self.focal_branches))
        check_range("loss.alpha", self.alpha, 0)
        check_range("loss.beta", self.beta, 0)
        check_range("loss.gamma", self.gamma, 0)
        check_range("loss.label_smoothing", self.label_smoothing, 0, 0.9)
        check_range("loss.focal_gamma", self.focal_gamma, 0)
        check_range("loss.focal_alpha", self.focal_alpha, 0, 1)
        for branch in self.focal_branches:
            check_choice("loss.focal_branches", branch, BRANCHES)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its learning rate.

    Attributes:
        learning_rate: the peak (1e-4: training log, from run 3 on; the paper's Adam had 1e-3).
        schedule: what follows the warm-up: half a `cosine` to zero, a `linear` fall to zero, or `constant`.
        warmup: share of all steps over which the rate rises linearly.
        weight_decay: decoupled decay (0.01: training log) on matrices and kernels.
        decay_norms, decay_biases, decay_embeddings: let it fall on these too.
        beta1, beta2: decay of the moments.
        gradient_clip: largest norm of the gradient.
        fused: PyTorch's fused kernel (`torch`), NVIDIA Apex's FusedAdam (`apex`, the training log's "fast"
            option; Apex must be installed), or `none`.
    """

    learning_rate: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.01
    decay_norms: bool = False
    decay_biases: bool = False
    decay_embeddings: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    gradient_clip: float = 1.0
    fused: str = "torch"

    def __post_init__(self) -> None:
        check_range("optimizer.learning_rate", self.learning_rate, 0, 1)
        check_choice("optimizer.schedule", self.schedule, SCHEDULES)
        check_range("optimizer.warmup", self.warmup, 0, 1)
        check_range("optimizer.weight_decay", self.weight_decay, 0, 10)
        check_range("optimizer.beta1", self.beta1, 0, 0.9999)
        check_range("optimizer.beta2", self.beta2, 0, 0.99999)
        check_range("optimizer.gradient_clip", self.gradient_clip, 1e-6)
        check_choice("optimizer.fused", self.fused, FUSED)


@dataclass(frozen=True, kw_only=True)
class DropoutScheduleConfig:
    """When dropout is on (Liu et al., Dropout Reduces Underfitting, arXiv 2303.01500).

    Attributes:
        schedule: `standard` all the time; `early`, falling linearly to zero at the cutoff; `late`, zero until
            the cutoff; `none`, never. The rates themselves are the model's.
        kind: what is scheduled: `dropout`, stochastic depth (`drop_path`), or `both`; the other one is standard.
        cutoff: as a share of all steps.
    """

    schedule: str = "standard"
    kind: str = "both"
    cutoff: float = 0.5

    def __post_init__(self) -> None:
        check_choice("dropout.schedule", self.schedule, DROPOUT_SCHEDULES)
        check_choice("dropout.kind", self.kind, DROPOUT_KINDS)
        check_range("dropout.cutoff", self.cutoff, 0.01, 1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How much is trained, on what, and how it is run.

    Attributes:
        epochs: how many epochs a whole training has; the learning rate's schedule ends with the last.
        staves_per_epoch: staves between two validations; None is the whole training split. Passes over the
            split go on across epochs, so every staff is seen before one is seen again.
        batch_size: staves per batch (16: the paper).
        accumulation: batches whose gradients are added up for one step of the optimiser.
        scored_in: the vocabulary that predictions and labels are written in before they are compared; empty is
            the model's own. A search over vocabularies sets it, so that all trials have one reference.
        precision: fp32, or autocast to bf16, or to fp16 with loss scaling; `mixed` is bf16 where the GPU has it,
            fp16 on an older one; on a CPU it is bf16 where that has instructions for it, else fp32.
        compile: torch.compile, on a GPU, of each kind of block once (`omr_model.compiled`).
        workers: loader processes; 0 loads images in the training process, quick enough for short staves.
        images: `decoded` each time, or `mapped`: decoded once per machine into a file next to the corpus, which all
            trials share (one byte per pixel); without room for it they are decoded. `auto` is mapped where a GPU waits.
        validation_staves: at most so many validation staves, the same for every seed; None is all of them.
        seed: initial weights, order of staves, dropout.
        device: `cuda`, `cpu`, or `auto`.
    """

    epochs: int = 25
    staves_per_epoch: int | None = None
    batch_size: int = 16
    accumulation: int = 1
    dropout: DropoutScheduleConfig = field(default_factory=DropoutScheduleConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    scored_in: str = ""
    precision: str = "fp32"
    compile: bool = False
    workers: int = 0
    images: str = "auto"
    validation_staves: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_range("train.epochs", self.epochs, 1)
        check_range("train.staves_per_epoch", self.staves_per_epoch or 1, 1)
        check_range("train.validation_staves", self.validation_staves or 1, 1)
        check_range("train.batch_size", self.batch_size, 1)
        check_range("train.accumulation", self.accumulation, 1)
        check_range("train.workers", self.workers, 0)
        check_choice("train.precision", self.precision, PRECISIONS)
        check_choice("train.images", self.images, IMAGES)
        check_choice("train.scored_in", self.scored_in, ("", *VOCABULARIES))
        if not (self.device in ("auto", "cpu") or self.device.startswith("cuda")):
            raise ConfigError(f"train.device={self.device}: there are auto, cpu, cuda and cuda:N")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All that decides a training's numbers, as one tree; a search moves leaves of it."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if (self.train.scored_in, self.model.vocabulary) == ("full", "reduced"):
            raise ConfigError("train.scored_in=full: a model of vocabulary reduced cannot write all that would count")


def replace_fields(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """The same tree with some leaves changed, named by their path: `{"model.decoder.dropout": 0.1}`.

    A list may be given as its text: `{"model.backbone.layers": "[2, 3, 7]"}`.

    Raises:
        ConfigError: a path that leads nowhere, or a value that the field does not allow.
    """
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        is_list = isinstance(value, str) and value.startswith("[")
        node[leaf] = OmegaConf.to_container(OmegaConf.create(value)) if is_list else value
    return typed(config, tree)
