"""What every corpus must give; a test class inherits this and names its source."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from datasets.images import WHITE
from datasets.notation import format_semantic, parse
from datasets.prepare import REJECTS_NAME, PrepareConfig, prepare
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES, SPLITS
from datasets.staff import STAFF_SIZES, StaffSample


class CorpusContract:
    """Inherit, and set `data` (and `staff`, `limit` where others suit better)."""

    data: str
    staff: str = "short"
    limit: int = 48

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory) -> PrepareConfig:
        folder = tmp_path_factory.mktemp("contract")
        return PrepareConfig(data=cls.data, staff=cls.staff, limit=cls.limit, corpora=str(folder))

    @pytest.fixture(scope="class")
    @classmethod
    def prepared(cls, config: PrepareConfig) -> PreparedCorpus:
        return prepare(config, quiet=True)

    @pytest.fixture(scope="class")
    @classmethod
    def staves(cls, prepared: PreparedCorpus) -> list[StaffSample]:
        return [staff for split in SPLITS for staff in prepared.staves(split)]

    def test_the_source_is_found_by_its_name(self) -> None:
        assert SOURCES[self.data].name == self.data

    def test_the_source_lists_its_pieces_in_one_order_a_seed(self) -> None:
        source = SOURCES[self.data]
        pieces = source.pieces(seed=1)
        assert [piece.work for piece in pieces] == [piece.work for piece in source.pieces(seed=1)]
        assert len({piece.work for piece in pieces}) == len(pieces)

    def test_it_gives_the_staves_asked_for(self, prepared: PreparedCorpus, staves: list[StaffSample]) -> None:
        assert len(staves) == prepared.manifest.staves <= self.limit
        assert len({staff.staff_id for staff in staves}) == len(staves)
        assert {staff.source for staff in staves} == set(prepared.manifest.sources)

    def test_images_have_the_size_and_ink(self, staves: list[StaffSample]) -> None:
        size = STAFF_SIZES[self.staff]
        for staff in staves:
            assert staff.image.shape == (size.height, size.width)
            assert staff.image.dtype == np.uint8
            assert staff.image.min() < WHITE // 2
            assert staff.image.max() == WHITE

    def test_labels_are_the_encoding_and_fit(self, staves: list[StaffSample]) -> None:
        for staff in staves:
            symbols = parse(staff.semantic)
            assert format_semantic(symbols) == staff.semantic
            assert 0 < len(symbols) <= STAFF_SIZES[self.staff].max_symbols

    def test_no_work_stands_in_two_splits(self, prepared: PreparedCorpus) -> None:
        works = [{staff.work for staff in prepared.staves(split)} for split in SPLITS]
        assert sum(map(len, works)) == len(set().union(*works))
        for split, names in zip(SPLITS, works, strict=True):
            assert prepared.manifest.splits[split].works == len(names)

    def test_no_label_of_validation_stands_in_train(self, prepared: PreparedCorpus) -> None:
        train = {staff.semantic for staff in prepared.staves("train")}
        leaked = sum(staff.semantic in train for staff in prepared.staves("validation"))
        assert leaked == prepared.manifest.leakage.labels == prepared.manifest.leakage.music == 0

    def test_every_reject_has_its_reason(self, prepared: PreparedCorpus) -> None:
        lines = (prepared.path / REJECTS_NAME).read_text(encoding="utf-8").splitlines()
        assert len(lines) == sum(prepared.manifest.rejects.values())
        assert all(re.fullmatch(r'\{"piece": ".+", "reason": ".+"\}', line) for line in lines)

    def test_the_seed_decides_everything(self, prepared: PreparedCorpus, tmp_path: Path) -> None:
        hashes = [
            prepare(
                PrepareConfig(
                    data=self.data,
                    staff=self.staff,
                    limit=self.limit,
                    seed=seed,
                    workers=workers,
                    corpora=str(tmp_path / f"{seed}"),
                ),
                quiet=True,
            ).manifest.content_hash
            for seed, workers in ((0, 1), (1, 2))
        ]
        assert hashes[0] == prepared.manifest.content_hash  # made by another number of workers
        assert hashes[1] != prepared.manifest.content_hash
