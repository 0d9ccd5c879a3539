"""The prepared format: what is written is read back, and damage is named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import CorpusError
from datasets.images import WHITE
from datasets.manifest import FILE_NAME, Manifest
from datasets.shards import PreparedCorpus, read_shard, write_shard
from datasets.staff import StaffSample


@pytest.fixture
def copy(corpus: PreparedCorpus, tmp_path: Path) -> Path:
    """A copy of a small corpus, to be damaged."""
    return Path(shutil.copytree(corpus.path, tmp_path / "copy"))


def some_staff(name: str, width: int = 20) -> StaffSample:
    image = np.random.default_rng(width).integers(0, 255, (10, width), dtype=np.uint8)
    return StaffSample(staff_id=name, work="w", source="s", image=image, semantic="clef-G2")


def test_a_shard_is_read_back(tmp_path: Path) -> None:
    record = write_shard(tmp_path / "a.arrow", [some_staff("w/1"), some_staff("w/2", 30)], "train", seed=0)
    table = read_shard(tmp_path / "a.arrow")
    assert record.rows == table.num_rows == 2
    assert record.bytes == (tmp_path / "a.arrow").stat().st_size
    assert table["staff_id"].to_pylist() == ["w/1", "w/2"]
    assert table["width"].to_pylist() == [20, 30]
    assert len(set(table["distortion_seed"].to_pylist())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]


def test_staves_are_a_sequence(corpus: PreparedCorpus) -> None:
    staves = corpus.staves("train")
    assert len(staves) == corpus.manifest.splits["train"].staves
    assert [staff.staff_id for staff in staves] == [staves.staff_id(index) for index in range(len(staves))]
    assert staves[-1].semantic == staves.semantic(len(staves) - 1)
    assert [staff.work for staff in staves[2:5]] == [staves.work(index) for index in (2, 3, 4)]
    assert (staves[0].image == staves.image(0)).all()
    with pytest.raises(IndexError, match="got index 1000000"):
        staves.image(1_000_000)


def test_images_are_padded_with_white(tmp_path: Path, corpus: PreparedCorpus) -> None:
    shard = write_shard(tmp_path / "train-0000.arrow", [some_staff("w/1")], "train", seed=0)
    fields = json.loads((corpus.path / FILE_NAME).read_text())
    fields["shards"] = [vars(shard)]
    (tmp_path / FILE_NAME).write_text(json.dumps(fields))
    image = PreparedCorpus.open(tmp_path).staves("train").image(0)
    assert image.shape == (64, 256)
    assert (image[:10, :20] == some_staff("w/1").image).all()
    assert (image[10:] == WHITE).all()
    assert (image[:, 20:] == WHITE).all()


def test_a_pickled_corpus_is_its_path(corpus: PreparedCorpus) -> None:
    staves = corpus.staves("validation")
    assert staves.image(0) is not None  # the shards are open, and still not pickled
    data = pickle.dumps(staves)
    assert len(data) < 500
    again = pickle.loads(data)
    assert [staff.semantic for staff in again] == [staff.semantic for staff in staves]


def test_the_manifest_is_read_back(corpus: PreparedCorpus, tmp_path: Path) -> None:
    corpus.manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == corpus.manifest


def test_an_unknown_split_is_named(corpus: PreparedCorpus) -> None:
    with pytest.raises(CorpusError, match="no split is called valid; there are train, validation, test"):
        corpus.staves("valid")


def test_no_corpus_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no prepared corpus here; `python -m datasets\.prepare"):
        PreparedCorpus.open(tmp_path)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "train-0001.arrow").unlink()
    with pytest.raises(CorpusError, match=r"train-0001\.arrow: missing; .* overwrite=true"):
        PreparedCorpus.open(copy)


def test_a_shard_cut_short_is_named(copy: Path) -> None:
    path = copy / "train-0001.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"train-0001\.arrow: \d+ bytes long instead of \d+"):
        PreparedCorpus.open(copy)


def test_a_changed_byte_is_found(copy: Path) -> None:
    path = copy / "train-0001.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="its hash differs"):
        PreparedCorpus.open(copy)


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(b"not arrow")
    with pytest.raises(CorpusError, match=r"a\.arrow: missing or not readable"):
        read_shard(tmp_path / "a.arrow")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable"),
        ('{"format": 99}', "has format 99, this version reads format 2"),
        ('{"format": 1}', "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(copy: Path, text: str, message: str) -> None:
    (copy / FILE_NAME).write_text(text)
    with pytest.raises(CorpusError, match=message):
        PreparedCorpus.open(copy)
