"""Unpacking what came from the internet: a zip or tar file, into a folder of its own and nowhere else.

An archive that names a place outside is refused as a whole. Links and devices in it are left out: no corpus needs
one. Sizes are limited by what is written, not by what the archive says of itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from datasets.errors import CorpusError
from datasets.files import write_atomically

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES = 100 << 30
MAX_FILE_BYTES = 1 << 30
MAX_FILES = 5_000_000
_MARK = ".unpacked.json"
_BLOCK = 1 << 20
_DRIVE = re.compile("[A-Za-z]:")
_NAME_TAKEN_OR_TOO_LONG = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class _Entry:
    """A file in an archive, not yet read."""

    name: str
    open: Callable[[], IO[bytes] | None]


class _Member(tarfile.TarInfo):
    """A member of a tar whose header must be one: `tarfile` itself takes damage, or a cut, for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def is_archive(path: Path) -> bool:
    """Whether a path has the name of an archive that `unpack` reads."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder, which is there as a whole or not at all; done before, it is kept.

    Raises:
        CorpusError: the archive is damaged, leads out of the folder, is larger than the limits, or has a name that
            cannot be a file's.
        OSError: the disk is full or may not be written.
    """
    if _is_unpacked(archive, folder):
        return
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (folder, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _unpack_all(archive, partial)
    finally:
        if not (partial / _MARK).exists():
            shutil.rmtree(partial, ignore_errors=True)
    partial.rename(folder)


def _unpack_all(archive: Path, folder: Path) -> None:
    written = 0
    with contextlib.closing(_entries(archive)) as entries:
        for number, entry in enumerate(entries, start=1):
            if number > MAX_FILES:
                raise CorpusError(f"{archive}: more than {MAX_FILES:,} files")
            target = folder / _inside(archive, entry.name)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                written += _write(archive, entry, target, MAX_BYTES - written)
            except OSError as error:
                if error.errno not in _NAME_TAKEN_OR_TOO_LONG:
                    raise
                raise CorpusError(f"{archive}: its entry '{entry.name}' cannot be a file ({error.strerror})") from None
    write_atomically(folder / _MARK, _mark(archive))


def _write(archive: Path, entry: _Entry, target: Path, room: int) -> int:
    """Write one file; its size in bytes."""
    written = 0
    with target.open("wb") as file:
        for block in _blocks(archive, entry):
            written += len(block)
            if written > min(room, MAX_FILE_BYTES):
                raise CorpusError(
                    f"{archive}: {entry.name} goes beyond the limits of {MAX_FILE_BYTES >> 30} GiB a file and "
                    f"{MAX_BYTES >> 30} GiB in all; if it is meant to, unpack it yourself and name the folder"
                )
            file.write(block)
    return written


def _inside(archive: Path, name: str) -> PurePosixPath:
    """A name in an archive as a path below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(str(path)) or "\0" in name:
        raise CorpusError(f"{archive}: its entry '{name}' leads out of the folder; nothing of it is unpacked")
    return path


def _entries(archive: Path) -> Generator[_Entry]:
    """The regular files of an archive, each to be read before the next is asked for."""
    with _must_be_whole(archive):
        yield from (_of_zip if archive.name.lower().endswith(".zip") else _of_tar)(archive)


def _of_zip(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                yield _Entry(info.filename, lambda info=info: zipped.open(info))  # type: ignore[misc]


def _of_tar(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive, tarinfo=_Member) as tarred:
        for member in tarred:
            if member.isfile():
                yield _Entry(member.name, lambda member=member: tarred.extractfile(member))  # type: ignore[misc]
        while tarred.fileobj.read(_BLOCK):
            pass  # up to the checksum of a gzip, which is compared where the file ends


def _blocks(archive: Path, entry: _Entry) -> Iterator[bytes]:
    """What a file in an archive holds."""
    with _must_be_whole(archive):
        if stream := entry.open():
            with stream:
                while block := stream.read(_BLOCK):
                    yield block


@contextlib.contextmanager
def _must_be_whole(archive: Path) -> Iterator[None]:
    """Turn whatever the reader of an archive stumbles over into a CorpusError, but not what the disk refuses."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a damaged offset lies outside
            raise
        detail = str(error).partition(":\n")[0]  # without the list of all compressions that it is not
        raise CorpusError(f"{archive}: not a whole archive ({detail}); download it again") from None


def _is_unpacked(archive: Path, folder: Path) -> bool:
    try:
        return (folder / _MARK).read_bytes() == _mark(archive)
    except OSError:
        return False


def _mark(archive: Path) -> bytes:
    """What tells an archive from another of its name."""
    facts = archive.stat()
    return json.dumps([str(archive.resolve()), facts.st_size, facts.st_mtime_ns]).encode()
