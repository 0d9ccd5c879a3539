"""Trainings small enough for a test: the same classes, a few thousand weights, a few staves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import save_file

from datasets.notation import Symbol, parse
from datasets.vocabulary import vocabulary
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
from omr_model.data import StaffDataset, collate
from omr_model.model import Batch, TrOMR

SMALL = ModelConfig(
    height=64,
    width=256,
    embedding=32,
    max_length=32,
    backbone=BackboneConfig(layers=(1, 1, 1), channels=(8, 8, 16), stem_channels=8, basic=True, norm="batch"),
    encoder=EncoderConfig(depth=1, heads=2),
    decoder=DecoderConfig(depth=1, heads=2, attention_on_attention=False),
)


OPTIMIZER_FIELDS = {field.name for field in dataclasses.fields(OptimizerConfig)}


def training(model: ModelConfig = SMALL, loss: LossConfig | None = None, **fields: object) -> TrainingConfig:
    """A training of two epochs of two steps, with some fields of the optimizer and the training changed."""
    given = {"learning_rate": 1e-3} | fields
    optimizer = {name: value for name, value in given.items() if name in OPTIMIZER_FIELDS}
    train = {
        "epochs": 2,
        "staves_per_epoch": 16,
        "batch_size": 8,
        "validation_staves": 4,
        "device": "cpu",
    } | {name: value for name, value in given.items() if name not in OPTIMIZER_FIELDS}
    return TrainingConfig(
        model=model, loss=loss or LossConfig(), optimizer=OptimizerConfig(**optimizer), train=TrainConfig(**train)
    )


def random_batch(config: ModelConfig = SMALL, staves: int = 3, symbols: int = 6, seed: int = 0) -> Batch:
    """Noise for images, and labels out of the vocabulary, of different lengths."""
    from omr_model.data import Sample

    labels = [
        "clef-G2 keySignature-DM note-F5_quarter note-GN4_half. tie barline",
        "clef-F4 rest-quarter note-C#3_eighth|note-Eb3_eighth",
        "clef-G2 timeSignature-3/4 note-A4_half",
    ]
    words = vocabulary(config.vocabulary)
    generator = torch.Generator().manual_seed(seed)
    shape = (staves, config.height, config.width)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()
    chosen = [words.reduce(parse(labels[index % len(labels)]))[:symbols] for index in range(staves)]
    return collate([Sample(image, words.encode(label)) for image, label in zip(images, chosen, strict=True)])


def printed_on(data: StaffDataset, position: int) -> list[Symbol]:
    """What is printed on a staff, in the words of the vocabulary."""
    return data.vocabulary.reduce(parse(data.staves.semantic(data.indices[position])))


def save_model(model: TrOMR, folder: Path) -> Path:
    """A checkpoint that nobody has trained."""
    from omr_model.checkpoint import Checkpoint, write_description
    from omr_model.decoding import DECODING
    from omr_model.layout import WEIGHTS

    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    config = training(model.config)
    write_description(Checkpoint(config, 0, None, model.vocabulary.version, "", DECODING), folder)
    return folder
