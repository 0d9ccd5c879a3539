"""Photographed staves: the contract of every corpus of files, and what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SPLITS
from tests.contracts.corpus import FilesContract
from tests.corpora import photographed
from tests.corpora.lines import line

COUNT = 16
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "photographed_staves"


class TestPhotographed(FilesContract):
    data = "photographed"
    picture = line(100).jpeg
    label = line(100).sounding.encode
    add = photographed.add

    @classmethod
    def make_root(cls, folder: Path) -> str:
        photographed.make(folder, COUNT)
        return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographed")
    photographed.make(folder, COUNT)
    return folder


def prepared(root: Path, folder: Path, **changes: Any) -> PreparedCorpus:
    return prepare(PrepareConfig(data="photographed", root=str(root), corpora=str(folder), **changes), quiet=True)


def test_everything_is_test_and_a_folder_is_a_work(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path)
    assert len(corpus.staves("test")) == corpus.manifest.staves == COUNT
    assert {staff.work for staff in corpus.staves("test")} == {f"piece {number}" for number in range(COUNT // 4)}
    assert corpus.manifest.rejects == {"no picture beside the label": 1}


def test_staves_that_stand_in_the_root_itself_are_a_work_of_its_name(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root / "piece 1", tmp_path)
    assert {staff.work for staff in corpus.staves("test")} == {"piece 1"}


def test_accidentals_are_read_as_they_are_said_to_be(root: Path, tmp_path: Path) -> None:
    sounding = {staff.semantic for staff in prepared(root, tmp_path).staves("test")}
    assert sounding == {line(number).printed for number in range(COUNT)}
    printed = {staff.semantic for staff in prepared(root, tmp_path / "2", accidentals="printed").staves("test")}
    assert printed == {line(number).sounding for number in range(COUNT)}


def test_split_by_work_no_piece_stands_on_both_sides(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path, split="work")
    works = [{staff.work for staff in corpus.staves(split)} for split in SPLITS]
    assert sum(map(len, works)) == COUNT // 4
    assert len(corpus.staves("test")) < COUNT


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is not on this machine")
def test_of_the_log_s_piece_six_staves_have_a_picture_and_a_label(tmp_path: Path) -> None:
    corpus = prepared(SAMPLE, tmp_path, staff="full")
    assert [staff.work for staff in corpus.staves("test")] == ["cello"] * 6
    assert corpus.manifest.rejects == {"no picture beside the label": 1, "no label beside the picture": 1}
