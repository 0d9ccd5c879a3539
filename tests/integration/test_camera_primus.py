"""Camera-PrIMuS: the contract of every corpus of files, and what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import CorpusError
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SPLITS
from datasets.staff import StaffSample
from tests.contracts.corpus import FilesContract
from tests.corpora import camera_primus
from tests.corpora.lines import line

COUNT = 18
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "primus_example"


class TestCameraPrimus(FilesContract):
    data = "camera_primus"
    picture = line(100).jpeg
    label = line(100).sounding.encode
    add = camera_primus.add

    @classmethod
    def make_root(cls, folder: Path) -> str:
        camera_primus.make(folder, COUNT)
        return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camera primus")
    camera_primus.make(folder, COUNT)
    return folder


def prepared(root: Path, folder: Path, **changes: Any) -> PreparedCorpus:
    return prepare(PrepareConfig(data="camera_primus", root=str(root), corpora=str(folder), **changes), quiet=True)


def all_staves(corpus: PreparedCorpus) -> dict[str, StaffSample]:
    return {staff.staff_id: staff for split in SPLITS for staff in corpus.staves(split)}


def test_labels_come_out_with_printed_accidentals(root: Path, tmp_path: Path) -> None:
    staves = all_staves(prepared(root, tmp_path))
    assert {staff.semantic for staff in staves.values()} == {line(number).printed for number in range(COUNT)}


@pytest.mark.parametrize(("images", "endings"), [("clean", {".png"}), ("both", {".png", "_distorted.jpg"})])
def test_clean_and_distorted_pictures_can_be_had(root: Path, tmp_path: Path, images: str, endings: set[str]) -> None:
    staves = all_staves(prepared(root, tmp_path, images=images))
    assert len(staves) == COUNT * len(endings)
    assert {name[name.rindex("_1") + 2 :] for name in staves} == endings
    assert all(len(np.unique(staff.image)) > 2 for staff in staves.values())


def test_both_pictures_of_an_incipit_and_all_incipits_of_a_source_are_one_work(root: Path, tmp_path: Path) -> None:
    staves = all_staves(prepared(root, tmp_path, images="both"))
    assert {staff.work for staff in staves.values()} == {f"{51_650 + number:09}" for number in range(COUNT // 2)}


def test_one_incipit_without_a_distorted_picture_is_rejected(tmp_path: Path) -> None:
    camera_primus.make(tmp_path / "root", 6)
    next((tmp_path / "root").rglob("*_distorted.jpg")).unlink()
    corpus = prepared(tmp_path / "root", tmp_path)
    assert corpus.manifest.rejects == {"no distorted picture": 1}
    assert not corpus.manifest.remarks


def test_plain_primus_gives_its_clean_pictures_and_says_so(tmp_path: Path) -> None:
    camera_primus.make(tmp_path / "root", 6, distorted=False)
    corpus = prepared(tmp_path / "root", tmp_path)
    assert corpus.manifest.staves == 6
    [remark] = corpus.manifest.remarks
    assert "there is not one _distorted.jpg" in remark


def test_of_two_editions_below_one_folder_the_one_with_distorted_pictures_is_taken(tmp_path: Path) -> None:
    camera_primus.make(tmp_path / "root" / "a plain one", 6, distorted=False)
    camera_primus.make(tmp_path / "root" / "camera", 6)
    corpus = prepared(tmp_path / "root", tmp_path)
    assert (corpus.manifest.staves, corpus.manifest.rejects) == (6, {})
    assert corpus.manifest.remarks == (f"left out: 6 incipits that stand below {tmp_path / 'root'} twice",)


def test_a_label_that_its_mei_contradicts_is_rejected(tmp_path: Path) -> None:
    camera_primus.make(tmp_path / "root", 6)
    file = next((tmp_path / "root").rglob("*.semantic"))
    file.write_text(file.read_text().replace("timeSignature-2/4", "timeSignature-3/4"))
    corpus = prepared(tmp_path / "root", tmp_path)
    assert corpus.manifest.rejects == {"semantic and MEI differ": 1}
    assert prepared(tmp_path / "root", tmp_path / "ignored", mei="ignore").manifest.staves == 6


def test_the_published_split_follows_the_lists(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path, split="published")
    assert corpus.manifest.splits["test"].staves == COUNT // 3
    assert corpus.manifest.rejects == {"in neither published list": 1}
    assert corpus.manifest.staves == COUNT - 1
    works = [{staff.work for staff in corpus.staves(split)} for split in ("train", "validation")]
    assert not works[0] & works[1]


def test_the_published_split_says_how_many_sources_stand_on_both_sides(tmp_path: Path) -> None:
    camera_primus.make(tmp_path / "root", 10)  # three of ten are tested, two of a source
    corpus = prepared(tmp_path / "root", tmp_path, split="published")
    assert corpus.manifest.remarks == ("the published split has incipits of 1 RISM sources on both sides",)


def test_without_the_lists_there_is_no_published_split(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"split=published: no train.txt below .*leave split=published out"):
        prepared(root / "Corpus", tmp_path, split="published")


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is not on this machine")
def test_label_mei_and_image_of_the_true_incipit_agree(tmp_path: Path) -> None:
    corpus = prepared(SAMPLE, tmp_path, staff="full")
    [staff] = all_staves(corpus).values()
    assert staff.semantic.startswith("clef-C1 keySignature-EbM timeSignature-2/4 multirest-23 barline rest-quarter")
    assert "note-B4_quarter. note-G4_eighth barline note-E5_quarter." in staff.semantic
