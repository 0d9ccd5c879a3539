"""Files at addresses: what `pyarrow.fs` reads and writes, with its errors made ours, and tried again.

- `pyarrow.fs` is there already, Tune takes its file systems, and fsspec's packages would be more.
- An object store has no folders, no appending and no locks, so nothing here needs any. An object is written whole.
- Errors of storage become `StorageError`, and are tried again (`retried`) unless they say that nothing will help.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs as pafs

from datasets.addresses import joined, place_of
from datasets.errors import ConfigError, StorageError
from datasets.files import DISK_ERRORS

TRIES, FIRST_PAUSE, LONGEST_PAUSE = 5, 0.5, 8.0  # seconds
TRANSFERS = 16  # at a time: a small object takes its round trip, and hardly any bandwidth
IN_ONE_WRITE = 8 * 2**20
TICK = 2_000_000_000  # nanoseconds: within them two versions of an object may have the same time
READ_ONCE = ("AWS_", "GOOGLE_", "AZURE_")  # beginnings of variables that a file system is made of
NO_RIGHT = frozenset({errno.EACCES, errno.EPERM})
HOPELESS = re.compile(
    r"AWS Error (?:ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_SIGNATURE|SIGNATURE_|UNRECOGNIZED_CLIENT)"
    r"|Status\((?:PERMISSION_DENIED|UNAUTHENTICATED)|Azure Error: \[Auth|^Bucket '[^']*' not found"
)
"""What a store says where no repetition helps; the names of objects, which its messages have in them, say nothing."""
_Made = TypeVar("_Made")


def remote_of(folder: Path) -> Remote | None:
    """Where a folder within a working folder (a study, a corpus) is kept; None if it is one of its own.

    Raises:
        ConfigError: as `Remote.of`.
    """
    place = place_of(folder.parent)
    return Remote.of(joined(place, folder.name)) if isinstance(place, str) else None


@dataclass(frozen=True)
class Entry:
    """A file at an address: its size in bytes, and when it was written, in nanoseconds since 1970 by the store."""

    size: int
    mtime: int


@dataclass(frozen=True)
class Remote:
    """A folder at an address. Names are relative to it, with `/`. Whatever fails raises `StorageError`.

    Attributes:
        address: as a person wrote it.
        filesystem: of pyarrow's.
        root: the folder on that file system.
    """

    address: str
    filesystem: Any
    root: str

    @classmethod
    def of(cls, address: str) -> Remote:
        """The folder at an address. Of a bucket of AWS's it is asked where it is, once a process.

        Raises:
            ConfigError: no address that pyarrow reads.
            StorageError: the bucket cannot be reached.
        """
        place, mark, options = address.partition("?")
        scheme, _, path = place.partition("://")
        top, _, below = path.strip("/").partition("/")
        try:
            if not top:
                raise ValueError("it names no bucket and no folder")
            if scheme == "file":
                filesystem, root = pafs.FileSystem.from_uri(address)
                return cls(address, filesystem, root.rstrip("/"))
            variables = tuple((name, value) for name, value in os.environ.items() if name.startswith(READ_ONCE))
            filesystem, root = retried(lambda: _filesystem(f"{scheme}://{top}{mark}{options}", variables))
        except (ValueError, NotImplementedError) as error:  # pyarrow's ArrowInvalid is a ValueError
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"{address}: no address that can be read ({reason}); there are folders, and addresses such as "
                "s3://bucket/studies, gs://bucket/studies, file:///mnt/studies"
            ) from None
        return cls(address, filesystem, "/".join(filter(None, [root.rstrip("/"), below])))

    def at(self, *names: str) -> Remote:
        """A folder in it."""
        return replace(self, address=joined(self.address, *names), root="/".join([self.root, *names]))

    def path(self, name: str) -> str:
        """On the file system."""
        return f"{self.root}/{name}"

    def files(self, recursive: bool = True) -> dict[str, Entry]:
        """Everything in it by name; nothing where there is no such folder."""
        return {info.path[len(self.root) + 1 :]: _entry(info) for info in self._infos(recursive) if info.is_file}

    def folders(self) -> list[str]:
        """The names of the folders in it."""
        return sorted(info.base_name for info in self._infos(False) if info.type == pafs.FileType.Directory)

    def entry(self, name: str) -> Entry | None:
        """One file, if it is there."""
        with self._told():
            info = self.filesystem.get_file_info(self.path(name))
        return _entry(info) if info.is_file else None

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it is not there."""
        with self._told():
            try:
                with self.filesystem.open_input_stream(self.path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole. Where names can be changed at no cost, a reader never sees half of one; an object store
        shows an object once it is complete."""
        with self._told():
            target = self.path(name)
            if not self._renames:
                with self.filesystem.open_output_stream(target) as stream:
                    stream.write(data)
                return
            self.filesystem.create_dir(target.rpartition("/")[0])
            temporary = self._temporary(target)
            with self.filesystem.open_output_stream(temporary) as stream:
                stream.write(data)
            self.filesystem.move(temporary, target)

    def upload(self, path: Path, name: str) -> None:
        """Write a local file.

        Raises:
            FileNotFoundError: it is gone.
        """
        if path.stat().st_size <= IN_ONE_WRITE:
            self.write(name, path.read_bytes())
            return
        with self._told():
            target = self.path(name)
            if self._renames:
                self.filesystem.create_dir(target.rpartition("/")[0])
            temporary = self._temporary(target) if self._renames else target
            pafs.copy_files(str(path), temporary, pafs.LocalFileSystem(), self.filesystem)
            if self._renames:
                self.filesystem.move(temporary, target)

    def download(self, name: str, path: Path) -> bool:
        """Make a local file of one that is there, whole; whether it is there.

        The file gets the object's time, but for one of the last moment, which a later version may have, too: who
        compares times finds a difference then, and reads it again.

        Raises:
            OSError: the disk is full, say.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            asked, entry = time.time_ns(), self.entry(name)
            if entry is None:
                return False
            with self._told(but=DISK_ERRORS):
                try:
                    pafs.copy_files(self.path(name), str(temporary), self.filesystem, pafs.LocalFileSystem())
                except FileNotFoundError:
                    return False
            if asked - entry.mtime > TICK:
                os.utime(temporary, ns=(entry.mtime, entry.mtime))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone is gone."""
        with self._told():
            try:
                self.filesystem.delete_file(self.path(name))
            except FileNotFoundError:
                return

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all that is in it; one that is gone is gone."""
        with self._told():
            try:
                self.filesystem.delete_dir(self.path(name))
            except FileNotFoundError:
                return

    @property
    def _renames(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @staticmethod
    def _temporary(target: str) -> str:
        folder, _, name = target.rpartition("/")
        return f"{folder}/.{name}.{uuid.uuid4().hex[:12]}.tmp"

    def _infos(self, recursive: bool) -> list[Any]:
        with self._told():
            selector = pafs.FileSelector(self.root, recursive=recursive, allow_not_found=True)
            return list(self.filesystem.get_file_info(selector))

    @contextmanager
    def _told(self, but: Collection[int] = ()) -> Iterator[None]:
        """What fails is a `StorageError`; not so a file that is not there, nor errors with these numbers."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in but:
                raise
            raise _storage_error(self.address, error) from None


def retried(action: Callable[[], _Made], tries: int = TRIES, sleep: Callable[[float], None] = time.sleep) -> _Made:
    """What an action gives; where storage fails, it is done again after a pause, each twice as long as the last.

    Raises:
        StorageError: it failed so many times, or in a way that no repetition mends.
    """
    for attempt in range(1, tries + 1):
        try:
            return action()
        except StorageError as error:
            if error.hopeless or attempt == tries:
                raise
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
            sleep(pause * random.uniform(0.5, 1.0))  # many machines that lost the same store do not come back at once
    raise AssertionError("tries=0")


def fetched(remote: Remote, names: Sequence[str], folder: Path) -> None:
    """Download some files into a folder, many at a time; what is not there is left out.

    Raises:
        StorageError, OSError: as `Remote.download`.
    """
    if not names:
        return
    with ThreadPoolExecutor(min(TRANSFERS, len(names))) as pool:
        list(pool.map(lambda name: retried(lambda: remote.download(name, folder / name)), names))


@functools.lru_cache(maxsize=32)
def _filesystem(bucket: str, variables: tuple[tuple[str, str], ...]) -> tuple[Any, str]:
    """Pyarrow's file system for a bucket, and what the bucket is called on it; another one for other variables."""
    del variables  # they are what tells one call from another
    try:
        found: tuple[Any, str] = pafs.FileSystem.from_uri(bucket)
    except OSError as error:
        raise _storage_error(bucket, error) from None
    return found


def _storage_error(address: str, error: OSError) -> StorageError:
    reason = " ".join(str(error).split())
    hopeless = error.errno in NO_RIGHT or HOPELESS.search(reason) is not None
    return StorageError(f"{address.partition('?')[0]}: {reason}", hopeless)


def _entry(info: Any) -> Entry:
    return Entry(int(info.size), int(info.mtime_ns or 0))
