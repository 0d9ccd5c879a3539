"""What every corpus must give; a test class inherits this and names its source.

`CorpusContract` is for any corpus. One that is made of the user's files inherits `FilesContract`, which spoils files
in every way that downloads are spoiled; its `make_root` writes a small corpus in the true layout, `add` one piece more.
"""

from __future__ import annotations

import functools
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datasets import conversion
from datasets.chunks import Chunk
from datasets.images import WHITE
from datasets.notation import format_semantic, parse
from datasets.prepare import REJECTS_NAME, prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.sources import SOURCES, SPLITS, Request
from datasets.staff import STAFF_SIZES, StaffSample
from datasets.vocabulary import vocabulary


class CorpusContract:
    """Inherit, and set `data` (and `staff`, `limit`, `options` where others suit better)."""

    data: str
    staff: str = "short"
    limit: int | None = 48
    options: ClassVar[dict[str, str]] = {}
    has_labels: bool = True

    @classmethod
    def make_root(cls, folder: Path) -> str:
        """Make the files that the corpus is prepared from; the root, or "" for a corpus that needs none."""
        del folder
        return ""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _several_chunks(cls) -> Iterator[None]:
        """So small a corpus in several chunks, that an interruption leaves some."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(conversion, "_PIECES_A_CHUNK", 2)
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory) -> PrepareConfig:
        folder = tmp_path_factory.mktemp("contract")
        fields: dict[str, Any] = {"data": cls.data, "staff": cls.staff, "limit": cls.limit, **cls.options}
        return PrepareConfig(**fields, root=cls.make_root(folder / "root"), corpora=str(folder / "corpora"))

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

    def test_the_source_lists_its_pieces_in_one_order_a_seed(self, config: PrepareConfig) -> None:
        request = Request(
            size=STAFF_SIZES[self.staff],
            seed=1,
            root=Path(config.root) if config.root else None,
            options=config.settings.options,
        )
        pieces = SOURCES[self.data].pieces(request)
        assert list(pieces) == list(SOURCES[self.data].pieces(request))
        assert len({piece.name for piece in pieces}) == len(pieces)

    def test_it_gives_the_staves_asked_for(self, prepared: PreparedCorpus, staves: list[StaffSample]) -> None:
        assert 0 < len(staves) == prepared.manifest.staves <= (self.limit or len(staves))
        assert len({staff.staff_id for staff in staves}) == len(staves)
        assert {staff.source for staff in staves} == set(prepared.manifest.sources)

    def test_images_have_the_size_and_ink(self, staves: list[StaffSample]) -> None:
        size = STAFF_SIZES[self.staff]
        for staff in staves:
            assert staff.image.shape == (size.height, size.width)
            assert staff.image.dtype == np.uint8
            if staff.semantic:
                assert staff.image.min() < WHITE // 2
                assert staff.image.max() > WHITE // 2

    def test_labels_are_the_encoding_and_fit(self, staves: list[StaffSample]) -> None:
        words = vocabulary("full")
        for staff in staves:
            symbols = parse(staff.semantic)
            assert format_semantic(symbols) == staff.semantic
            assert self.has_labels == bool(symbols)
            assert len(symbols) <= STAFF_SIZES[self.staff].max_symbols
            assert not words.missing(words.reduce(symbols))

    def test_no_work_stands_in_two_splits(self, prepared: PreparedCorpus) -> None:
        works = [{staff.work for staff in prepared.staves(split)} for split in SPLITS]
        assert sum(map(len, works)) == len(set().union(*works))
        for split, names in zip(SPLITS, works, strict=True):
            assert prepared.manifest.splits[split].works == len(names)

    def test_no_label_of_validation_stands_in_train(self, prepared: PreparedCorpus) -> None:
        train = {staff.semantic for staff in prepared.staves("train") if staff.semantic}
        leaked = sum(staff.semantic in train for staff in prepared.staves("validation"))
        assert leaked == prepared.manifest.leakage.labels == prepared.manifest.leakage.music == 0

    def test_every_reject_has_its_reason(self, prepared: PreparedCorpus) -> None:
        lines = (prepared.path / REJECTS_NAME).read_text(encoding="utf-8").splitlines()
        assert len(lines) == sum(prepared.manifest.rejects.values())
        assert all(re.fullmatch(r'\{"piece": ".+", "reason": ".+", "detail": ".*"\}', line) for line in lines)
        assert not any("the reader failed" in line for line in lines)

    def test_the_seed_decides_everything(self, config: PrepareConfig, prepared: PreparedCorpus, tmp_path: Path) -> None:
        again = prepare(replace(config, workers=1, corpora=str(tmp_path / "again")), quiet=True)
        other = prepare(replace(config, seed=1, workers=2, corpora=str(tmp_path / "other")), quiet=True)
        assert again.manifest.content_hash == prepared.manifest.content_hash  # made by another number of workers
        assert other.manifest.content_hash != prepared.manifest.content_hash

    def test_interrupted_it_goes_on_to_the_same_hash(
        self, config: PrepareConfig, prepared: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = Chunk.write
        monkeypatch.setattr(Chunk, "write", _interrupted(write, after=1))
        with pytest.raises(KeyboardInterrupt):
            prepare(replace(config, corpora=str(tmp_path / "resumed")), quiet=True)
        monkeypatch.setattr(Chunk, "write", write)
        resumed = prepare(replace(config, corpora=str(tmp_path / "resumed")), quiet=True)
        assert resumed.manifest.content_hash == prepared.manifest.content_hash
        assert resumed.manifest.rejects == prepared.manifest.rejects
        assert resumed.manifest.staves == prepared.manifest.staves


class FilesContract(CorpusContract):
    """A corpus of the user's files. Set `picture` and `label`, the bytes of a good piece, and write `make_root`, `add`.

    Attributes:
        outcomes: for every way to spoil a piece the reason of its reject, "accepted", or "not seen".
    """

    limit = None
    picture: ClassVar[Callable[[], bytes]]
    label: ClassVar[Callable[[], bytes]]
    outcomes: ClassVar[dict[str, str]] = {
        "good": "accepted",
        "with spaces, and commas": "accepted",
        "cut_short": "picture is damaged",
        "no_picture_at_all": "not a picture",
        "gigantic": "picture larger than 64 megapixels",
        "without_a_picture": "no picture beside the label",
        "without_a_label": "no label beside the picture",
        "empty": "empty label",
        "run_together": "label is not the semantic encoding",
        "utf_16": "label is not UTF-8",
        "._leftover": "not seen",
    }

    @classmethod
    def add(cls, root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
        """Add a piece of that name to the corpus in `root`; None is a file that is missing."""
        raise NotImplementedError

    @classmethod
    def run_together(cls) -> bytes:
        """A label with two tokens run together."""
        return b"clef-G2 keySignature-CM note-C4_quarternote-D4_quarter barline"

    @classmethod
    def spoil(cls, root: Path) -> None:
        """Add one piece for every outcome."""
        picture, label = cls.picture(), cls.label()
        for name in cls.outcomes:
            pictures = {
                "cut_short": picture[: len(picture) // 2],
                "no_picture_at_all": b"this is no picture",
                "gigantic": gigantic_png(),
                "without_a_picture": None,
                "._leftover": b"\0\x05\x16\x07",
            }
            labels = {
                "without_a_label": None,
                "empty": b" \n",
                "run_together": cls.run_together(),
                "utf_16": label.decode().encode("utf-16"),
                "._leftover": b"\0\x05\x16\x07",
            }
            cls.add(root, name, pictures.get(name, picture), labels.get(name, label))

    def test_spoiled_files_are_rejected_with_their_reason_and_harm_nothing_else(
        self, config: PrepareConfig, prepared: PreparedCorpus, tmp_path: Path
    ) -> None:
        root = Path(self.make_root(tmp_path / "root"))
        self.spoil(root)
        spoiled = prepare(replace(config, root=str(root), corpora=str(tmp_path / "corpora"), max_rejects=1), quiet=True)

        rejects = [json.loads(line) for line in (spoiled.path / REJECTS_NAME).read_text("utf-8").splitlines()]
        accepted = {staff.staff_id for split in SPLITS for staff in spoiled.staves(split)}
        found = {name: self._outcome(name, rejects, accepted) for name in self.outcomes}
        assert found == self.outcomes
        before = {staff.staff_id: staff.semantic for split in SPLITS for staff in prepared.staves(split)}
        after = {staff.staff_id: staff.semantic for split in SPLITS for staff in spoiled.staves(split)}
        assert before.items() <= after.items()

    def test_an_archive_gives_what_its_folder_gives(
        self, config: PrepareConfig, prepared: PreparedCorpus, tmp_path: Path
    ) -> None:
        archive = tmp_path / "as downloaded.tar.gz"
        with tarfile.open(archive, "w:gz") as tarred:
            tarred.add(config.root, arcname="some folder")
        unpacked = prepare(replace(config, root=str(archive), corpora=str(tmp_path / "corpora")), quiet=True)
        labels = [
            sorted(staff.semantic for split in SPLITS for staff in corpus.staves(split))
            for corpus in (prepared, unpacked)
        ]
        assert labels[0] == labels[1]
        assert {path.name for path in (tmp_path / "corpora").iterdir()} == {
            unpacked.path.name,
            f".{unpacked.path.name}.lock",
        }

    def test_an_empty_folder_is_an_error_that_says_what_was_looked_for(
        self, config: PrepareConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(conversion.CorpusError, match=f"data={self.data}: nothing found in root=.*; looked for "):
            prepare(replace(config, root=str(tmp_path / "empty"), corpora=str(tmp_path)), quiet=True)

    @staticmethod
    def _outcome(name: str, rejects: list[dict[str, str]], accepted: set[str]) -> str:
        reasons = {reject["reason"] for reject in rejects if _names(reject["piece"], name)}
        if reasons:
            return ", ".join(sorted(reasons))
        return "accepted" if any(_names(staff, name) for staff in accepted) else "not seen"


def _names(path: str, name: str) -> bool:
    """Whether a piece or a staff is, or is a part of, the one of that name."""
    return any(part == name or part.startswith((f"{name}.", f"{name}_")) for part in path.split("/"))


def _interrupted(write: Callable[..., Chunk], after: int) -> Callable[..., Chunk]:
    calls = 0

    def interrupted(*arguments: Any, **named: Any) -> Chunk:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return write(*arguments, **named)

    return interrupted


@functools.cache
def gigantic_png(side: int = 30_000) -> bytes:
    """A picture of side x side pixels, in a file of some 500 kB."""
    row = bytes(1 + (side + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_png_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, data, b"")))


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
