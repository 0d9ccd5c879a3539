"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What keeps any file from being written, and not just one of some name."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside `path`, flush to the disk, rename; nothing is left behind on an error.

    Raises:
        OSError: as the system says (ENOSPC, EACCES, ...).
    """
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # its own may be as long as names can be
    temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
    with replacing(path, temporary) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, temporary: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end of the block, once it is on the disk; after an error it
    is gone, and what was there stays."""
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_text(path: Path) -> str:
    """A file's name as text that can be printed and stored; what is no UTF-8 in it becomes U+FFFD."""
    return os.fsencode(path.name).decode(errors="replace")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `target` when the block ends, or vanishes if it raises.

    Where a crash falls between the two renames, what was there before lies in `.NAME.old`: `restore_folder`
    puts it back.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(target)
    partial, old = _beside(target, "partial"), _beside(target, "old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _flush(file)
        move_aside(target)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def move_aside(target: Path) -> None:
    """Make room for a folder that takes the place of this one, if it is there."""
    if target.exists():
        target.rename(_beside(target, "old"))


def restore_folder(target: Path) -> None:
    """Put back what was moved aside and not replaced; what was replaced is removed."""
    old = _beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{role}")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file at `path`; where another process holds it, call `on_wait` once and wait for it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
