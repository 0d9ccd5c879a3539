"""Whether a prepared corpus and a model fit together: `check_fits` for the pictures, `check_labels` for the labels.

Without torch, which takes seconds to import: a search asks before it starts anything.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from datasets.errors import ConfigError, CorpusError
from datasets.notation import Symbol, parse
from datasets.shards import PreparedCorpus, Staves
from datasets.vocabulary import Vocabulary, vocabulary
from omr_model.config import ModelConfig, OptimizerConfig


def check_fits(model: ModelConfig, corpus: PreparedCorpus) -> None:
    """Raise CorpusError if the staves are of another size than the model's picture."""
    manifest = corpus.manifest
    if (manifest.height, manifest.width) != (model.height, model.width):
        raise CorpusError(
            f"{corpus.path} holds staves of {manifest.height} x {manifest.width} pixels, but the model reads "
            f"{model.height} x {model.width}; choose another staff size or model preset"
        )


def check_installed(config: OptimizerConfig) -> None:
    """Raise ConfigError if NVIDIA Apex is asked for and not there: it is on no package index."""
    if config.fused == "apex" and importlib.util.find_spec("apex") is None:
        raise ConfigError(
            "optimizer.fused=apex: NVIDIA Apex is not installed; optimizer.fused=torch is PyTorch's own fused AdamW"
        )


def check_labels(model: ModelConfig, staves: Staves) -> None:
    """Make sure that the model can write every label of a split.

    Raises:
        VocabularyError: symbols that its vocabulary lacks, all of them named.
        CorpusError: there is no staff with music, or one with more symbols than it can write.
    """
    indices = range(len(staves))
    labels = read_labels(vocabulary(model.vocabulary), staves, indices)
    check_counts([len(label) for label in labels], staves, indices, model.max_length)


def read_labels(words: Vocabulary, staves: Staves, indices: Sequence[int]) -> list[list[Symbol]]:
    """What is printed on some staves, in the words of the vocabulary.

    Raises:
        VocabularyError: symbols that the vocabulary lacks, all of them named.
    """
    labels = [words.reduce(parse(staves.semantic(index))) for index in indices]
    if words.missing({symbol for label in labels for symbol in label}):  # seldom, so only now they are counted
        where = f"{staves.corpus.path} ({staves.split})"
        words.check((staves.semantic(index) for index in indices), where)
    return labels


def check_counts(counts: Sequence[int], staves: Staves, indices: Sequence[int], max_length: int) -> None:
    """Raise CorpusError if there is no staff with music, or one with more symbols than a model of `max_length` writes.

    Args:
        counts: of the symbols in the labels of the staves at `indices`.
    """
    if not counts:
        raise CorpusError(f"{staves.corpus.path} has no {staves.split} staves; prepare more of them")
    if not any(counts):
        raise CorpusError(
            f"the {staves.split} staves of {staves.corpus.path} have no music; mix the corpus with one that has, as in "
            "data=engraved+diw"
        )
    longest = max(range(len(counts)), key=counts.__getitem__)
    if counts[longest] > max_length - 2:
        raise CorpusError(
            f"staff {staves.staff_id(indices[longest])} has {counts[longest]} symbols, but the model writes at "
            f"most {max_length - 2} (`model.max_length` {max_length}, less start and end)"
        )
