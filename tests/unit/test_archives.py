"""Archives are unpacked whole, and only into their folder."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import archives
from datasets.archives import is_archive, unpack
from datasets.errors import CorpusError

Make = Callable[[Path, dict[str, bytes]], Path]


def make_zip(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "corpus.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def make_tar(folder: Path, files: dict[str, bytes], ending: str = ".tgz") -> Path:
    path = folder / f"corpus{ending}"
    with tarfile.open(path, {".tar": "w", ".tgz": "w:gz", ".tbz2": "w:bz2", ".txz": "w:xz"}[ending]) as tarred:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))
    return path


BOTH = pytest.mark.parametrize("make", [make_zip, make_tar])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@BOTH
def test_every_file_comes_out(make: Make, tmp_path: Path) -> None:
    files = {"a/1.jpg": b"one", "a/b/two, with spaces.semantic": b"two", "empty": b"", "Op. 10: no 3/a": b"3"}
    unpack(make(tmp_path, files), tmp_path / "out")
    assert contents(tmp_path / "out") == files


@BOTH
@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "a/../../outside", "..\\outside", "C:/outside"])
def test_an_entry_that_leads_out_refuses_the_whole_archive(make: Make, tmp_path: Path, name: str) -> None:
    archive = make(tmp_path, {"good": b"x", name: b"y"})
    with pytest.raises(CorpusError, match="leads out of the folder"):
        unpack(archive, tmp_path / "below" / "out")
    assert {path.name for path in tmp_path.rglob("*")} == {archive.name, "below"}


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "corpus.tar"
    with tarfile.open(archive, "w") as tarred:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tarred.addfile(info)
        tarred.addfile(tarfile.TarInfo("plain"), io.BytesIO())
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"plain": b""}


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "corpus.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("plain", b"x")
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"plain": b"x"}


@BOTH
@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_FILE_BYTES"])
def test_what_is_larger_than_the_limits_is_refused_while_it_is_written(
    make: Make, tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(tmp_path, {"bomb": bytes(5_000_000)})
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr(archives, limit, 1_000_000)
    with pytest.raises(CorpusError, match="bomb goes beyond the limits"):
        unpack(archive, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {archive.name}


@BOTH
def test_too_many_files_are_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    with pytest.raises(CorpusError, match="more than 2 files"):
        unpack(make(tmp_path, {"a": b"", "b": b"", "c": b""}), tmp_path / "out")


@BOTH
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_download_that_broke_off_is_said_to_be_no_whole_archive(make: Make, tmp_path: Path, share: float) -> None:
    archive = make(tmp_path, {f"{n}": os.urandom(20_000) for n in range(4)})
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(CorpusError, match="not a whole archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


PACKED = {ending: functools.partial(make_tar, ending=ending) for ending in (".tgz", ".tbz2", ".txz")} | {
    ".zip": make_zip
}


@given(ending=st.sampled_from([*PACKED]), position=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_whatever_bit_is_flipped_there_is_all_or_no_whole_archive(ending: str, position: float, bit: int) -> None:
    noise = np.random.default_rng(0)
    files = {f"{number}": noise.bytes(500) + bytes(500) for number in range(6)}
    with tempfile.TemporaryDirectory() as folder:
        archive, out = PACKED[ending](Path(folder), files), Path(folder, "out")
        data = bytearray(archive.read_bytes())
        data[int(position * len(data))] ^= 1 << bit
        archive.write_bytes(data)
        with contextlib.suppress(CorpusError):
            unpack(archive, out)
            assert sorted(contents(out).values()) == sorted(files.values())


@pytest.mark.parametrize("blocks", [2, 4])  # of 512 bytes; a member of this one has two, its header and its data
def test_a_tar_that_is_cut_between_two_files_is_not_whole(tmp_path: Path, blocks: int) -> None:
    archive = make_tar(tmp_path, {"a": b"1", "b": b"2"}, ".tar")
    archive.write_bytes(archive.read_bytes()[: blocks * 512])
    with pytest.raises(CorpusError, match="not a whole archive"):
        unpack(archive, tmp_path / "out")


def test_a_tar_with_a_damaged_header_is_not_whole(tmp_path: Path) -> None:
    archive = make_tar(tmp_path, {"a": b"1", "b": b"2"}, ".tar")
    data = bytearray(archive.read_bytes())
    data[2 * 512] ^= 1
    archive.write_bytes(data)
    with pytest.raises(CorpusError, match=r"not a whole archive \(bad checksum\)"):
        unpack(archive, tmp_path / "out")


@BOTH
@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c"), ("x" * 300,), (".",)])
def test_a_name_that_cannot_be_a_files_is_said(make: Make, tmp_path: Path, names: tuple[str, ...]) -> None:
    archive = make(tmp_path, dict.fromkeys(names, b"x"))
    with pytest.raises(CorpusError, match=r"its entry '.+' cannot be a file \("):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@BOTH
def test_a_full_disk_is_no_fault_of_the_archive(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(make(tmp_path, {"a": b"x"}), tmp_path / "out")


@BOTH
def test_an_archive_is_unpacked_once_until_it_changes(make: Make, tmp_path: Path) -> None:
    archive, out = make(tmp_path, {"a": b"one"}), tmp_path / "out"
    unpack(archive, out)
    (out / "a").write_bytes(b"kept")
    unpack(archive, out)
    assert contents(out) == {"a": b"kept"}
    make(tmp_path, {"a": b"another one"})
    unpack(archive, out)
    assert contents(out) == {"a": b"another one"}


def test_an_archive_is_known_by_its_name(tmp_path: Path) -> None:
    for name, expected in (("a.zip", True), ("a.TAR.GZ", True), ("a.jpg", False)):
        (tmp_path / name).touch()
        assert is_archive(tmp_path / name) == expected
    (tmp_path / "folder.zip").mkdir()
    assert not is_archive(tmp_path / "folder.zip")
