"""The decoded pictures of a split, once a machine: a file of uint8 [N, H, W] that all processes map into memory.

Decoding a picture of the paper's size takes fifty times as long as copying it out of such a file, and every epoch of
every trial does it anew. The file lies in the corpus's folder and is named by the hashes of the shards that it was made
of, so it is never stale; it is made by whoever needs it first, whole or not at all, while the others wait.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets.files import locked, replacing
from datasets.shards import PreparedCorpus, Staves
from datasets.sources import SPLITS

Pictures = npt.NDArray[np.uint8]
SPARE = 2 * 2**30  # bytes that a disk keeps for other things

_log = logging.getLogger(__name__)


def pictures_of(staves: Staves) -> Pictures | None:
    """All pictures of a split, read-only [N, H, W], not in memory but mapped; None where there is no room for them.

    The first call on a machine takes as long as decoding the split once. That there is no room is logged once a process
    and folder.

    Raises:
        CorpusError, ImageError: a shard is missing or damaged.
    """
    path = staves.corpus.path / file_name(staves)
    shape = _shape(staves)
    if 0 in shape:
        return None
    try:
        if not _whole(path, shape):
            with locked(path.with_suffix(".lock"), lambda: _log.info("%s: waiting for its pictures", path.parent)):
                if not _whole(path, shape):  # nobody else has made it in the meantime
                    _make(path, staves, shape)
        return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    except OSError as error:
        _say_once(staves.corpus.path, error.strerror or str(error))
        return None


def file_name(staves: Staves) -> str:
    """Hidden beside the shards; another one for other shards, or for another size."""
    content = hashlib.sha256(repr(_shape(staves)).encode())
    for shard in staves.corpus.manifest.shards:
        if shard.split == staves.split:
            content.update(shard.sha256.encode())
    return f".pictures-{staves.split}-{content.hexdigest()[:16]}.uint8"


def delete_stale(corpus: PreparedCorpus) -> None:
    """Delete the pictures of what was in a corpus's folder before; who has mapped them keeps them until it ends."""
    current = {Path(file_name(corpus.staves(split))).stem for split in SPLITS}
    for path in corpus.path.glob(".pictures-*"):
        if path.stem not in current:
            path.unlink(missing_ok=True)


def _shape(staves: Staves) -> tuple[int, int, int]:
    manifest = staves.corpus.manifest
    return len(staves), manifest.height, manifest.width


def _whole(path: Path, shape: tuple[int, int, int]) -> bool:
    try:
        return path.stat().st_size == int(np.prod(shape, dtype=np.int64))
    except FileNotFoundError:
        return False


def _make(path: Path, staves: Staves, shape: tuple[int, int, int]) -> None:
    """Decode all pictures into a temporary file and rename it.

    Raises:
        OSError: there is no room, or the folder cannot be written; nothing is left behind.
    """
    size, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path.parent).free
    if free < size + SPARE:
        raise OSError(0, f"{size / 2**30:.1f} GiB would leave too little of the {free / 2**30:.1f} GiB that are free")
    temporary = path.with_suffix(".tmp")  # of nobody else: the lock is held; what a killed process left is written over
    with replacing(path, temporary) as file:
        for index in range(len(staves)):
            file.write(staves.image(index).tobytes())


@cache
def _say_once(folder: Path, why: str) -> None:
    _log.warning("%s: its pictures are decoded anew each time, for they cannot be kept (%s)", folder, why)
