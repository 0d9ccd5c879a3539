"""Prepared staves to batches.

The order of staves depends on the seed and on how many staves were drawn before, and on nothing else: a
training that goes on from a checkpoint draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from datasets.errors import CorpusError
from datasets.notation import Symbol, parse
from datasets.shards import PreparedCorpus, Staves
from datasets.vocabulary import Tokens, Vocabulary
from omr_model.config import ModelConfig
from omr_model.model import Batch

VALIDATION_SEED = 20240411  # fixed: every trial of every study is scored on the same staves


@dataclass(frozen=True)
class Sample:
    """One staff: gray levels uint8 [H, W], and its tokens."""

    image: np.ndarray
    tokens: Tokens


class StaffDataset(Dataset[Sample]):
    """Images decoded when they are asked for, labels tokenised once at the start.

    Raises:
        VocabularyError: a label with a symbol that the vocabulary does not have.
    """

    def __init__(self, staves: Staves, vocabulary: Vocabulary, indices: Sequence[int] | None = None) -> None:
        self.staves = staves
        self.vocabulary = vocabulary
        self.indices = range(len(staves)) if indices is None else indices
        self.tokens = [vocabulary.encode(self.reference(position)) for position in range(len(self.indices))]

    def reference(self, position: int) -> list[Symbol]:
        """What is printed on a staff, in the words of the vocabulary."""
        return self.vocabulary.reduce(parse(self.staves.semantic(self.indices[position])))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        return Sample(self.staves.image(self.indices[position]), self.tokens[position])


def validation_choice(staves: int, at_most: int | None) -> list[int]:
    """The staves that are scored: all, or a choice that is the same for every trial."""
    if at_most is None or at_most >= staves:
        return list(range(staves))
    chosen = np.random.default_rng(VALIDATION_SEED).choice(staves, at_most, replace=False)
    return sorted(int(index) for index in chosen)


def check_fits(model: ModelConfig, corpus: PreparedCorpus) -> None:
    """Raise CorpusError if the staves are of another size than the model's picture."""
    manifest = corpus.manifest
    if (manifest.height, manifest.width) != (model.height, model.width):
        raise CorpusError(
            f"{corpus.path} holds staves of {manifest.height} x {manifest.width} pixels, but the model reads "
            f"{model.height} x {model.width}; choose another staff size or model preset"
        )


def check_lengths(data: StaffDataset, max_length: int) -> None:
    """Raise CorpusError if there is no staff, or one with more symbols than the model can write."""
    if not len(data):
        raise CorpusError(f"{data.staves.corpus.path} has no {data.staves.split} staves; prepare more of them")
    longest = max(range(len(data)), key=lambda position: len(data.tokens[position].rhythm))
    symbols = len(data.tokens[longest].rhythm) - 2  # less start and end
    if symbols > max_length - 2:
        raise CorpusError(
            f"staff {data.staves.staff_id(data.indices[longest])} has {symbols} symbols, but the model writes at "
            f"most {max_length - 2} (`model.max_length` {max_length}, less start and end)"
        )


class EpochOrder(Sampler[list[int]]):
    """Which staves an epoch draws: permutations of the split, one after another, cut into epochs.

    Args:
        staves: in the split.
        per_epoch: staves an epoch, rounded down to whole batches, but at least one batch; None is the split.
        batch_size: staves a batch; every batch is full.
        seed: of the permutations.
    """

    def __init__(self, staves: int, per_epoch: int | None, batch_size: int, seed: int) -> None:
        self.staves = staves
        self.batch_size = batch_size
        self.batches = max(1, (per_epoch or staves) // batch_size)
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the epoch that `epoch` names."""
        count = self.batches * self.batch_size
        first, offset = divmod(self.epoch * count, self.staves)
        passes = range(first, first + 1 + (offset + count) // self.staves)
        order = np.concatenate([np.random.default_rng((self.seed, one)).permutation(self.staves) for one in passes])
        yield from order[offset : offset + count].reshape(self.batches, self.batch_size).tolist()


def collate(samples: Sequence[Sample], length: int | None = None) -> Batch:
    """Stack staves; sequences are padded to the longest of the batch, or to `length` for fixed shapes."""
    tokens = [sample.tokens for sample in samples]
    longest = length or max(len(one.rhythm) for one in tokens)
    branches = {}
    for branch in ("rhythm", "pitch", "lift", "note"):
        padded = np.zeros((len(tokens), longest), dtype=np.int64)
        for row, one in zip(padded, tokens, strict=True):
            ids = getattr(one, branch)
            row[: len(ids)] = ids
        branches[branch] = torch.from_numpy(padded)
    image = torch.from_numpy(np.stack([sample.image for sample in samples]))
    return Batch(image=image[:, None], **branches)
