"""GrandStaff: the contract of every corpus of files, and what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datasets.images import WHITE
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SPLITS
from datasets.staff import StaffSample
from tests.contracts.corpus import FilesContract
from tests.corpora import grandstaff
from tests.corpora.grandstaff import excerpt

COUNT = 12
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "grandstaff_musicxml"


class TestGrandStaff(FilesContract):
    data = "grandstaff"
    picture = excerpt(100).jpeg
    add = grandstaff.add
    outcomes: ClassVar[dict[str, str]] = FilesContract.outcomes | {
        "without_a_picture": "accepted",  # engraved anew
        "without_a_label": "no score beside the picture",
        "empty": "empty score",
        "run_together": "a score without exactly two staves",
        "utf_16": "accepted",
    }

    @staticmethod
    def label() -> bytes:
        return excerpt(100).kern

    @classmethod
    def run_together(cls) -> bytes:
        """One spine instead of two."""
        return b"**kern\n*clefG2\n*M2/4\n4c\n4d\n=\n*-\n"

    @classmethod
    def make_root(cls, folder: Path) -> str:
        grandstaff.make(folder, COUNT)
        return str(folder)


class TestGrandStaffAsGrandStaves(TestGrandStaff):
    staff = "grand"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grandstaff")
    grandstaff.make(folder, COUNT)
    return folder


def prepared(root: Path, folder: Path, **changes: Any) -> PreparedCorpus:
    return prepare(PrepareConfig(data="grandstaff", root=str(root), corpora=str(folder), **changes), quiet=True)


def all_staves(corpus: PreparedCorpus) -> dict[str, StaffSample]:
    return {staff.staff_id: staff for split in SPLITS for staff in corpus.staves(split)}


def test_each_excerpt_gives_the_labels_of_its_two_staves(root: Path, tmp_path: Path) -> None:
    staves = all_staves(prepared(root, tmp_path))
    assert len(staves) == 2 * COUNT
    for number in range(COUNT):
        name = f"composer/preludes/prelude{number // 2}/{('original', 'min3_up')[number % 2]}_m-0-2"
        assert staves[f"{name}/upper"].semantic == excerpt(number).upper
        assert staves[f"{name}/lower"].semantic == excerpt(number).lower
        assert staves[f"{name}/lower"].work == f"composer/preludes/prelude{number // 2}"


def test_a_grand_staff_is_the_upper_staff_and_then_the_lower_one(root: Path, tmp_path: Path) -> None:
    staves = all_staves(prepared(root, tmp_path, staff="grand"))
    labels = {f"{excerpt(number).upper} {excerpt(number).lower}" for number in range(COUNT)}
    assert {staff.semantic for staff in staves.values()} == labels


def test_clean_and_distorted_pictures_can_be_had(root: Path, tmp_path: Path) -> None:
    clean = all_staves(prepared(root, tmp_path / "clean", images="clean"))
    both = all_staves(prepared(root, tmp_path / "both", images="both"))
    assert len(both) == 2 * len(clean)
    for name, staff in clean.items():
        published, distorted = both[f"{name}/clean"].image, both[f"{name}/distorted"].image
        assert np.array_equal(published, staff.image)
        assert np.mean(distorted == WHITE) < np.mean(published == WHITE)  # paper is gray


@pytest.mark.parametrize("staff", ["short", "grand"])
def test_what_has_no_picture_is_engraved_anew_and_said_so(root: Path, tmp_path: Path, staff: str) -> None:
    without = tmp_path / "root" / "composer" / "preludes" / "prelude0"
    grandstaff.add_to(without, "original_m-0-2", excerpt(0).kern, None)
    corpus = prepared(tmp_path / "root", tmp_path / "corpora", staff=staff, images="both")
    assert set(corpus.manifest.remarks) == {
        "engraved anew: 1 of 1 excerpts have no .jpg",
        "engraved anew: 1 of 1 excerpts have no _distorted.jpg",
    }
    staves = all_staves(corpus)
    assert len(staves) == (2 if staff == "grand" else 4)
    assert all(name in all_staves(prepared(root, tmp_path, staff=staff, images="both")) for name in staves)


def test_the_published_split_tests_on_the_originals_and_is_said_to_leak(root: Path, tmp_path: Path) -> None:
    corpus = prepared(root, tmp_path, split="published")
    assert any("the published split leaks" in remark for remark in corpus.manifest.remarks)
    assert all("/original_m" in staff.staff_id for staff in corpus.staves("test"))
    assert corpus.manifest.splits["test"].staves == COUNT
    assert not any("/original_m" in staff.staff_id for staff in corpus.staves("train"))


def test_a_score_is_read_from_the_first_file_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "composer" / "preludes" / "prelude0"
    grandstaff.add_to(folder, "original_m-0-2", b"no kern", excerpt(1).jpeg())
    extended = excerpt(1).kern.replace(b"**kern", b"**ekern_1.0").replace(b"4A", "4\u00b7A".encode())
    (folder / "original_m-0-2.bekrn").write_bytes(extended)
    staves = all_staves(prepared(tmp_path / "root", tmp_path / "corpora"))
    assert {staff.semantic for staff in staves.values()} == {excerpt(1).upper, excerpt(1).lower}


def test_one_staff_is_kept_where_the_other_one_cannot_be_said(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "composer" / "preludes" / "prelude0"
    kern = excerpt(1).kern.replace(b"4c\n4r", b"4r\n4r")  # a rest starts together with the upper voice's note
    assert kern != excerpt(1).kern
    grandstaff.add_to(folder, "original_m-0-2", kern, None)
    corpus = prepared(tmp_path / "root", tmp_path / "corpora")
    assert [name.rpartition("/")[2] for name in all_staves(corpus)] == ["lower"]
    assert corpus.manifest.rejects == {"a rest beneath a note": 1}


def test_a_picture_of_one_staff_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "composer" / "preludes" / "prelude0"
    picture = excerpt(1).picture()
    _, half = np.array_split(picture, 2)
    half[:8] = WHITE
    grandstaff.add_to(folder, "original_m-0-2", excerpt(1).kern, grandstaff.jpeg(half))
    corpus = prepared(root_and_good(tmp_path / "root"), tmp_path / "corpora")
    assert corpus.manifest.rejects == {"no two staves are found in the picture": 2}


def root_and_good(root: Path) -> Path:
    """The root with a good excerpt more: a corpus without any staff is an error."""
    grandstaff.add(root, "good", excerpt(2).jpeg(), excerpt(2).kern)
    return root


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is not on this machine")
def test_most_staves_of_the_sample_are_accepted_and_the_others_have_a_musicians_reason(tmp_path: Path) -> None:
    corpus = prepared(SAMPLE, tmp_path, staff="full", images="clean", limit=60)
    reasons = {"a rest beneath a note", "different rests at once", "wider than the image", "higher than the image"}
    assert corpus.manifest.rejects.keys() <= reasons
    assert sum(corpus.manifest.rejects.values()) < 60
