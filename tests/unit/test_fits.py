"""What a corpus and a model must have in common."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import CorpusError, VocabularyError
from datasets.manifest import Manifest
from datasets.shards import PreparedCorpus, write_shard
from datasets.staff import StaffSample
from omr_model.config import ModelConfig
from omr_model.fits import check_fits, check_labels

ROOT = Path(__file__).resolve().parents[2]
LABELS = (
    "clef-G2 note-C4_quarter barline",
    "clef-G2 timeSignature-17/32 note-C4_quarter note-D4_quarter barline",
    "clef-G2 multirest-999 timeSignature-17/32",
)


def corpus_of(folder: Path, labels: tuple[str, ...], model: Manifest) -> PreparedCorpus:
    """A corpus with one staff for each label, all of them for training."""
    staves = [
        StaffSample(staff_id=f"s{n}", work="w", source="test", image=np.zeros((4, 4), np.uint8), semantic=label)
        for n, label in enumerate(labels)
    ]
    shards = (write_shard(folder / "train-0000.arrow", staves, "train", seed=0),) if staves else ()
    return PreparedCorpus(folder, dataclasses.replace(model, shards=shards))


def test_staves_of_another_size_are_refused(corpus: PreparedCorpus) -> None:
    check_fits(ModelConfig(height=64, width=256), corpus)
    with pytest.raises(CorpusError, match="64 x 256 pixels, but the model reads 128 x 1280"):
        check_fits(ModelConfig(), corpus)


def test_the_embedded_corpus_can_be_written(corpus: PreparedCorpus) -> None:
    for split in ("train", "validation"):
        for words in ("full", "reduced"):
            check_labels(ModelConfig(max_length=32, vocabulary=words), corpus.staves(split))


def test_all_symbols_that_are_lacking_are_named(corpus: PreparedCorpus, tmp_path: Path) -> None:
    made = corpus_of(tmp_path, LABELS, corpus.manifest)
    with pytest.raises(VocabularyError) as caught:
        check_labels(ModelConfig(), made.staves("train"))
    assert "(train)" in str(caught.value)
    assert "timeSignature-17/32 (2 x)" in str(caught.value)
    assert "multirest-999 (1 x)" in str(caught.value)


def test_a_label_that_is_too_long_is_refused_after_its_reduction(corpus: PreparedCorpus, tmp_path: Path) -> None:
    labels = (LABELS[0], "clef-G2 gracenote-C4_eighth gracenote-D4_eighth note-C4_quarter barline")
    staves = corpus_of(tmp_path, labels, corpus.manifest).staves("train")
    check_labels(ModelConfig(max_length=7), staves)
    check_labels(ModelConfig(max_length=5, vocabulary="reduced"), staves)  # which has no grace notes
    with pytest.raises(CorpusError, match="staff s1 has 5 symbols, but the model writes at most 4"):
        check_labels(ModelConfig(max_length=6), staves)


def test_a_split_without_staves_is_refused(corpus: PreparedCorpus, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no train staves"):
        check_labels(ModelConfig(), corpus_of(tmp_path, (), corpus.manifest).staves("train"))


def test_asking_does_not_take_torch() -> None:
    code = "import sys, omr_model.fits, omr_model.mix; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=False).returncode == 0
