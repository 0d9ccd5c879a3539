"""The mapped pictures of a split: equal to the decoded ones, made once, never stale, and done without if need be."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from datasets import pixels
from datasets.pixels import delete_stale, file_name, pictures_of
from datasets.shards import PreparedCorpus, Staves
from omr_model.trainer import Trainer
from search import measure
from tests.models import training


@pytest.fixture
def own(corpus: PreparedCorpus, tmp_path: Path) -> PreparedCorpus:
    """A copy that a test may write beside."""
    shutil.copytree(corpus.path, tmp_path / "corpus", ignore=shutil.ignore_patterns(".*"))
    return PreparedCorpus.open(tmp_path / "corpus")


def hidden(corpus: PreparedCorpus) -> list[str]:
    return sorted(path.name for path in corpus.path.glob(".pictures-*") if path.suffix != ".lock")


def test_they_are_the_decoded_pictures_and_are_made_once(own: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    staves = own.staves("train")
    pictures = pictures_of(staves)
    assert pictures is not None
    np.testing.assert_array_equal(pictures, np.stack([staves.image(index) for index in range(len(staves))]))
    assert not pictures.flags.writeable
    monkeypatch.setattr(pixels, "_make", lambda *_: pytest.fail("made again"))
    assert pictures_of(PreparedCorpus.open(own.path).staves("train")) is not None
    assert hidden(own) == [file_name(staves)]


def test_every_split_and_every_content_has_its_own(own: PreparedCorpus) -> None:
    train, validation = own.staves("train"), own.staves("validation")
    names = {file_name(train), file_name(validation)}
    changed = PreparedCorpus.open(own.path)
    first, *others = changed.manifest.shards
    object.__setattr__(changed.manifest, "shards", [type(first)(**{**vars(first), "sha256": "0" * 64}), *others])
    names.add(file_name(changed.staves(first.split)))
    assert len(names) == 3


def test_a_file_that_is_not_whole_is_made_again(own: PreparedCorpus) -> None:
    staves = own.staves("validation")
    (own.path / file_name(staves)).write_bytes(b"torn")
    pictures = pictures_of(staves)
    assert pictures is not None
    np.testing.assert_array_equal(pictures[0], staves.image(0))


def test_without_room_they_are_decoded_and_it_is_said_once(
    own: PreparedCorpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pixels, "SPARE", 2**80)
    with caplog.at_level(logging.WARNING):
        assert pictures_of(own.staves("train")) is None
        assert pictures_of(own.staves("train")) is None
    assert [record.message.count("they cannot be kept") for record in caplog.records] == [1]
    assert hidden(own) == []


def test_a_folder_that_cannot_be_written_is_no_error(own: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pixels, "_make", refuse)
    assert pictures_of(own.staves("train")) is None


def _sum_of(folder: Path) -> int:
    pictures = pictures_of(PreparedCorpus.open(folder).staves("train"))
    assert pictures is not None
    return int(pictures.sum(dtype=np.int64))


def test_processes_that_come_together_share_one_file(own: PreparedCorpus) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        sums = pool.map(_sum_of, [own.path] * 3)
    assert len(set(sums)) == 1
    assert len(hidden(own)) == 1


def test_no_picture_is_decoded_in_an_epoch_nor_while_it_is_measured(
    own: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(training(images="mapped", epochs=3), own)
    monkeypatch.setattr(Staves, "image", lambda *_: pytest.fail("decoded anew"))
    trainer.evaluate()
    measure._short_epochs(trainer)


def test_pictures_of_what_was_there_before_are_deleted(own: PreparedCorpus) -> None:
    kept = pictures_of(own.staves("train"))
    stem = file_name(own.staves("train")).partition(".uint8")[0]
    for name in (".pictures-train-0123.uint8", ".pictures-train-0123.lock", ".pictures-validation-4567.tmp"):
        (own.path / name).write_bytes(b"old")
    delete_stale(own)
    assert kept is not None
    assert sorted(path.name for path in own.path.glob(".pictures-*")) == [f"{stem}.lock", f"{stem}.uint8"]
