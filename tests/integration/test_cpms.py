"""CPMS: the contract of every corpus of files, and what is its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SPLITS
from datasets.sources.cpms import work_of
from datasets.staff import StaffSample
from search.corpus import planned_corpus
from tests.contracts.corpus import FilesContract
from tests.corpora import cpms
from tests.corpora.lines import line

COUNT = 18
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "CPMS"


class TestCpms(FilesContract):
    data = "cpms"
    picture = line(100).jpeg
    label = line(100).printed.encode
    add = cpms.add

    @classmethod
    def make_root(cls, folder: Path) -> str:
        cpms.make(folder, COUNT)
        return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads") / "CPMS"
    cpms.make(folder, COUNT)
    return folder


def prepared(root: Path, folder: Path, **changes: Any) -> PreparedCorpus:
    return prepare(PrepareConfig(data="cpms", root=str(root), corpora=str(folder), **changes), quiet=True)


def all_staves(corpus: PreparedCorpus) -> dict[str, StaffSample]:
    return {staff.staff_id: staff for split in SPLITS for staff in corpus.staves(split)}


def test_labels_of_both_folders_come_out_with_printed_accidentals(root: Path, tmp_path: Path) -> None:
    staves = all_staves(prepared(root, tmp_path))
    assert len(staves) == COUNT
    labels = {staff.semantic for staff in staves.values()}
    assert labels == {line(number).printed for number in range(COUNT)}


def test_the_published_split_is_the_folders(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path)
    assert corpus.manifest.splits["test"].staves == COUNT // 3
    assert all("/test/" in staff.staff_id for staff in corpus.staves("test"))
    assert all("/training/" in staff.staff_id for staff in corpus.staves("train"))


def test_a_training_line_of_a_tested_work_is_rejected(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path)
    assert corpus.manifest.rejects == {"a training line of a work that the test folder has too": 1}
    assert not prepared(root, tmp_path / "by work", split="work").manifest.rejects


@pytest.mark.parametrize(
    ("stem", "work"),
    [
        ("semantic/training/1103002-3/1103002-3", "1103002"),
        ("semantic/training/91103002-4/91103002-4", "1103002"),
        ("semantic/test/17/17", "17"),
        ("training/9123456/9123456", "9123456"),
    ],
)
def test_both_photographs_of_a_line_are_of_one_work(stem: str, work: str) -> None:
    assert work_of(stem) == work


def test_the_folder_that_holds_the_lines_can_be_named_itself(root: Path, tmp_path: Path) -> None:
    inside = prepared(root / "semantic", tmp_path)
    around = prepared(root.parent, tmp_path / "around")
    assert len(all_staves(inside)) == len(all_staves(around)) == COUNT


def test_whole_pages_are_left_alone_and_said_so(root: Path, tmp_path: Path) -> None:
    [remark] = prepared(root, tmp_path).manifest.remarks
    assert remark == "left alone: 1 outside semantic/ (whole pages, whose lines have no label)"


def test_a_corpus_that_stands_there_twice_is_taken_once_and_said_so(root: Path, tmp_path: Path) -> None:
    for copy in ("CPMS", "CPMS (1)"):
        shutil.copytree(root, tmp_path / "root" / copy)
    once, twice = prepared(root, tmp_path / "once"), prepared(tmp_path / "root", tmp_path / "twice")
    assert twice.manifest.splits == once.manifest.splits
    assert f"left out: {COUNT + 1} lines that stand below {tmp_path / 'root'} twice" in twice.manifest.remarks


def test_a_plan_expects_as_many_staves_as_there_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):  # all of one work
        cpms.add(tmp_path / "root", f"1000000-{number}", line(0).jpeg(), line(0).printed.encode())
    for name, staves in (("FEW", 4), ("SAMPLE", 8), ("LARGE_SAMPLE", 8)):
        monkeypatch.setattr(f"search.corpus.{name}", staves)
    config = PrepareConfig(data="cpms", root=str(tmp_path / "root"), corpora=str(tmp_path))
    with planned_corpus(config) as planned:
        assert planned.whole
        assert (planned.whole.sampled, planned.whole.staves) == (8, 30)


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is not on this machine")
def test_all_of_the_sample_but_a_line_without_a_label_is_accepted(tmp_path: Path) -> None:
    corpus = prepared(SAMPLE, tmp_path, staff="full")
    assert corpus.manifest.staves == 200
    assert corpus.manifest.rejects == {"no label beside the picture": 1}
    assert corpus.manifest.leakage.labels == 0
