"""Prepared staves to batches: read and tokenised as they are, or drawn as the training mix wants them.

The order depends on the seed and on how many samples were drawn before, and on nothing else (`omr_model.mix`): a
training that goes on from a checkpoint draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from datasets.pictures.camera import draw_shot
from datasets.pictures.distortion import photograph
from datasets.pictures.negatives import negative
from datasets.pictures.shot import Shot
from datasets.pixels import Pictures, pictures_of
from datasets.seeds import seed_from
from datasets.shards import PreparedCorpus, Staves
from datasets.staff import STAFF_SIZES
from datasets.vocabulary import Tokens, Vocabulary
from datasets.vocabulary import vocabulary as vocabulary_of
from omr_model.distortion import Shots
from omr_model.fits import check_counts, read_labels
from omr_model.mix import NEGATIVE, Draw, MixPlan
from omr_model.mix_config import MixConfig
from omr_model.model import Batch

VALIDATION_SEED = 20240411  # fixed: every trial of every study is scored on the same staves


@dataclass(frozen=True)
class Sample:
    """One staff: gray levels uint8 [H, W], its tokens, and the camera effects that are left to the device."""

    image: np.ndarray
    tokens: Tokens
    shot: Shot | None = None


class StaffDataset(Dataset[Sample]):
    """Images decoded or copied when they are asked for, labels tokenised once at the start.

    Args:
        pictures: all of the split's, decoded (`datasets.pixels`); None decodes each when it is asked for.

    Raises:
        VocabularyError: symbols that the vocabulary lacks, all of them named.
    """

    def __init__(
        self,
        staves: Staves,
        vocabulary: Vocabulary,
        indices: Sequence[int] | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self.staves = staves
        self.vocabulary = vocabulary
        self.indices = range(len(staves)) if indices is None else indices
        self.pictures = pictures
        if indices is None:
            content = staves.corpus.manifest.content_hash
            self.tokens = _tokens_of_split(staves.corpus.path, content, staves.split, vocabulary.name)
        else:
            self.tokens = [vocabulary.encode(label) for label in read_labels(vocabulary, staves, indices)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        index = self.indices[position]
        image = self.staves.image(index) if self.pictures is None else np.array(self.pictures[index])
        return Sample(image, self.tokens[position])

    def __getstate__(self) -> dict[str, Any]:
        """Without the pictures, of which a process that is spawned would get a copy; it maps them anew."""
        return vars(self) | {"pictures": self.pictures is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, pictures=pictures_of(state["staves"]) if state["pictures"] else None)


@lru_cache(maxsize=4)
def _tokens_of_split(corpus: Path, content_hash: str, split: str, name: str) -> list[Tokens]:  # noqa: ARG001
    """All labels of a split, read once a process: of many staves that takes seconds, and trials come one by one.

    Args:
        content_hash: of the corpus, so that one that is prepared anew in the same folder is read anew.
    """
    words = vocabulary_of(name)
    staves = PreparedCorpus.open(corpus, verify=False).staves(split)
    return [words.encode(label) for label in read_labels(words, staves, range(len(staves)))]


def validation_choice(staves: int, at_most: int | None) -> list[int]:
    """The staves that are scored: all, or a choice that is the same for every trial."""
    if at_most is None or at_most >= staves:
        return list(range(staves))
    chosen = np.random.default_rng(VALIDATION_SEED).choice(staves, at_most, replace=False)
    return sorted(int(index) for index in chosen)


def check_lengths(data: StaffDataset, max_length: int) -> None:
    """Raise CorpusError if there is no staff with music, or one with more symbols than the model can write."""
    counts = [_symbols(tokens) for tokens in data.tokens]
    check_counts(counts, data.staves, data.indices, max_length)


class TrainingStaves(Dataset[Sample]):
    """What the trainer learns from: a sample for every `Draw` of the mix, distorted by the draw's own seed."""

    def __init__(self, data: StaffDataset, mix: MixConfig) -> None:
        self.data = data
        self.mix = mix
        self._staves = STAFF_SIZES[data.staves.corpus.manifest.settings.staff].staves
        self._empty = data.vocabulary.encode([])

    def __len__(self) -> int:
        """How many staves there are to draw."""
        return len(self.data)

    def __getitem__(self, draw: Draw) -> Sample:
        sample = self._negative(draw) if draw.position == NEGATIVE else self.data[draw.position]
        tokens = beginning(sample.tokens, seed_from(draw.seed, "cut")) if draw.cut else sample.tokens
        if self.mix.distortion == 0:
            return Sample(sample.image, tokens)
        seed = seed_from(draw.seed, "distortion")
        shot = draw_shot(sample.image, self.mix.distortion, seed, self.mix.effects, self._staves)
        if self.mix.distort_on == "device":
            return Sample(sample.image, tokens, shot)
        return Sample(photograph(sample.image, shot), tokens)

    def _negative(self, draw: Draw) -> Sample:
        size = self.data.staves.corpus.manifest
        return Sample(negative(size.height, size.width, seed_from(draw.seed, "negative")), self._empty)


def beginning(tokens: Tokens, seed: int) -> Tokens:
    """BOS and the first symbols, at least one and not all of them; a label of one symbol stays whole.

    There is no EOS: the loss is to count what is there, and not to say that the staff ends here.
    """
    symbols = _symbols(tokens)
    if symbols < 2:
        return tokens
    end = 1 + int(np.random.default_rng(seed).integers(1, symbols))
    return Tokens(*(branch[:end] for branch in (tokens.rhythm, tokens.pitch, tokens.lift, tokens.note)))


def _symbols(tokens: Tokens) -> int:
    return len(tokens.rhythm) - 2  # less BOS and EOS


class EpochOrder(Sampler[list[Draw]]):
    """Which samples an epoch draws: an endless plan, cut into epochs of full batches.

    Args:
        plan: what is drawn.
        per_epoch: samples an epoch, rounded down to whole steps, but at least one step; None is as many as there
            are staves, whatever the mix, so that trainings on different mixes take as long.
        batch_size: samples a batch.
        accumulation: batches a step.
    """

    def __init__(self, plan: MixPlan, per_epoch: int | None, batch_size: int, accumulation: int) -> None:
        self.plan = plan
        self.batch_size = batch_size
        self.batches = accumulation * max(1, (per_epoch or plan.staves) // (batch_size * accumulation))
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches of the epoch that `epoch` names."""
        count = self.batches * self.batch_size
        draws = self.plan.draws(self.epoch * count, count)
        for _ in range(self.batches):
            yield list(itertools.islice(draws, self.batch_size))


def collate(samples: Sequence[Sample], multiple: int = 1, at_most: int | None = None) -> Batch:
    """Stack staves; sequences are padded to the longest of the batch.

    Args:
        multiple: pad on until what the decoder sees, which is all but the last symbol, is a multiple of so many.
        at_most: but never to more symbols than this.
    """
    tokens = [sample.tokens for sample in samples]
    longest = max(len(one.rhythm) for one in tokens)
    longest = max(longest, min(1 - (1 - longest) // multiple * multiple, at_most or longest + multiple))
    branches = {}
    for branch in ("rhythm", "pitch", "lift", "note"):
        padded = np.zeros((len(tokens), longest), dtype=np.int64)
        for row, one in zip(padded, tokens, strict=True):
            ids = getattr(one, branch)
            row[: len(ids)] = ids
        branches[branch] = torch.from_numpy(padded)
    image = torch.from_numpy(np.stack([sample.image for sample in samples]))
    shots = [sample.shot for sample in samples if sample.shot is not None]
    return Batch(image=image[:, None], shots=Shots.stacked(shots) if shots else None, **branches)
