"""The files of a user's folder, and pieces made of them in an order that the seed decides."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from datasets.errors import CorpusError
from datasets.sources.base import Piece


def files_below(root: Path) -> Iterator[str]:
    """Every file below a folder as a path with slashes, at any depth, in one order on every machine.

    Hidden files and folders are left out, and with them the `._` files that macOS puts beside the true ones. Links
    to folders are followed, but no folder is listed twice.

    Raises:
        CorpusError: a folder may not be read.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(folder).relative_to(root).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        yield from (prefix + name for name in sorted(names) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise CorpusError(f"{error.filename}: {error.strerror}; a corpus without this folder would be another one")


def printable(path: str) -> str:
    """A path as a name that can be written: a file may be called by bytes that are no UTF-8."""
    return path.encode(errors="backslashreplace").decode()


def shuffled(pieces: Iterable[Piece], seed: int) -> Sequence[Piece]:
    """Pieces in an order by the seed, so that the first few are a sample of all."""
    listed = list(pieces)
    return [listed[index] for index in np.random.default_rng(seed).permutation(len(listed))]
