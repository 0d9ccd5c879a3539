"""Archives are unpacked whole, and only into their folder."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

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


def make_tar(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "corpus.tgz"
    with tarfile.open(path, "w:gz") as tarred:
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
    files = {"a/1.jpg": b"one", "a/b/two, with spaces.semantic": b"two", "empty": b""}
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
