"""Documents without music: the contract of every corpus of files, and what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datasets.images import encode_png
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES, SPLITS, Request
from datasets.sources.diw import DRAWN
from datasets.staff import STAFF_SIZES, StaffSample
from tests.contracts.corpus import CorpusContract, FilesContract
from tests.corpora import diw


class TestDocuments(FilesContract):
    data = "diw"
    has_labels = False
    picture = lambda: diw.page(100)  # noqa: E731
    label = bytes
    add = diw.add
    outcomes: ClassVar[dict[str, str]] = {
        name: FilesContract.outcomes[name]
        for name in ("good", "with spaces, and commas", "cut_short", "no_picture_at_all", "gigantic", "._leftover")
    }

    @classmethod
    def make_root(cls, folder: Path) -> str:
        diw.make(folder, 12)
        return str(folder)


class TestDrawnDocuments(CorpusContract):
    data = "diw"
    has_labels = False


def prepared(root: Path, folder: Path, **changes: Any) -> PreparedCorpus:
    return prepare(PrepareConfig(data="diw", root=str(root), corpora=str(folder), **changes), quiet=True)


def all_staves(corpus: PreparedCorpus) -> list[StaffSample]:
    return [staff for split in SPLITS for staff in corpus.staves(split)]


def test_a_page_gives_two_strips_and_its_mask_none(tmp_path: Path) -> None:
    diw.make(tmp_path / "root", 5)
    staves = all_staves(prepared(tmp_path / "root", tmp_path))
    pages = {f"DIW/5k/img/{number:05}.png.png" for number in range(5)}
    assert {staff.staff_id for staff in staves} == {f"{page}/{part}" for page in pages for part in (1, 2)}
    assert {staff.work for staff in staves} == pages


@pytest.mark.parametrize("staff", ["short", "grand"])
@pytest.mark.parametrize("shape", [(900, 600), (50, 2000), (1500, 80)])
def test_a_strip_fills_the_image_and_comes_out_of_its_half(tmp_path: Path, staff: str, shape: tuple[int, int]) -> None:
    page = np.full(shape, 40, np.uint8)
    page[shape[0] // 2 :] = 200
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").write_bytes(encode_png(page))
    upper, lower = sorted(
        all_staves(prepared(tmp_path / "root", tmp_path, staff=staff, max_rejects=1)), key=lambda staff: staff.staff_id
    )
    assert upper.image.shape == (STAFF_SIZES[staff].height, STAFF_SIZES[staff].width)
    assert upper.image.mean() <= lower.image.mean()


def test_drawn_strips_are_said_to_be_drawn() -> None:
    [remark] = SOURCES["diw"].remarks(Request(size=STAFF_SIZES["short"]))
    assert remark == "no root= with documents (in a mixture: a root= that holds diw): the strips are drawn"


def test_without_a_folder_as_many_are_drawn_as_a_mixture_needs() -> None:
    pieces = SOURCES["diw"].pieces(Request(size=STAFF_SIZES["short"]))
    assert len(pieces) == DRAWN
    splits = [piece.split for piece in pieces]
    assert all(splits.count(split) > 100 for split in SPLITS)
