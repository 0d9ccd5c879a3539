"""Prepared corpora at an address: published once, brought to a machine once, and mapped into memory there.

A corpus is prepared on a machine's own disk, as ever, and then published: the shards first, `manifest.json` last, so
that what has a manifest is whole. A machine that needs it (a trial's node, another driver) brings it to its cache
under a lock, compares every shard with the manifest's hash, and only then gives it its name: trials that begin side by
side wait for one download. An interrupted download goes on with the shards that are there.

The parts of a mixture lie beside it at the address as they do on a disk, and come with it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datasets.addresses import is_address, joined, resolved, split, working_folder
from datasets.errors import CorpusError
from datasets.files import locked, move_aside, restore_folder, sha256_of, write_atomically
from datasets.manifest import FILE_NAME, Manifest, ShardRecord, again
from datasets.storage import TRANSFERS, Remote, retried

REJECTS_NAME, SHARD_ENDING = "rejects.jsonl", ".arrow"


def corpus_folder(place: str | Path) -> Path:
    """Where a corpus is on this machine: a path is it itself; of an address it is the copy in the cache, which may not
    be there."""
    if not is_address(place):
        return Path(place)
    above, name = split(str(place))
    return working_folder(above) / name


def bring(address: str) -> Path | None:
    """Bring a corpus to this machine, unless it is here already; its folder, or None if there is none at the address.

    Raises:
        CorpusError: what came does not have the hash that the manifest says.
        StorageError: the address cannot be read.
        OSError: the disk is full, say.
    """
    remote, folder = Remote.of(address), corpus_folder(address)
    text = retried(lambda: remote.read(FILE_NAME))
    if text is None:
        return None
    _bring_parts(address, text)
    if not _is_here(folder, text):
        with locked(folder.with_name(f".{folder.name}.bring"), on_wait=lambda: None):
            if not _is_here(folder, text):
                _download(remote, text, folder)
    return folder


def brought(address: str) -> Path:
    """The same, where there must be one.

    Raises:
        CorpusError: there is none; or as `bring`.
    """
    folder = bring(address)
    if folder is None:
        raise CorpusError(
            f"{address}: no prepared corpus here; `python -m datasets.prepare data=... staff=... "
            f"corpora={split(address)[0]}` makes one"
        )
    return folder


def publish(folder: Path, address: str) -> None:
    """Write a prepared corpus to an address, unless it is there as it is here; of a mixture the manifest alone.

    No shard stays of another corpus that was there.

    Raises:
        StorageError: the address cannot be written.
    """
    remote, text = Remote.of(address), (folder / FILE_NAME).read_bytes()
    there = retried(lambda: remote.read(FILE_NAME))
    if there == text:
        return
    if there is not None:  # or its shards would be compared with hashes of others
        retried(lambda: remote.delete(FILE_NAME))
    names = [shard.file for shard in _own_shards(Manifest.read(folder))]
    names += [REJECTS_NAME] if (folder / REJECTS_NAME).exists() else []
    if names:
        with ThreadPoolExecutor(min(TRANSFERS, len(names))) as pool:
            list(pool.map(lambda name: retried(lambda: remote.upload(folder / name, name)), names))
    _delete_shards_but(names, remote)
    retried(lambda: remote.write(FILE_NAME, text))


def _delete_shards_but(names: Collection[str], remote: Remote) -> None:
    """Delete what is left of a corpus that was there before and had more shards."""
    for name in retried(lambda: remote.files(recursive=False)):
        if name.endswith(SHARD_ENDING) and name not in names:
            retried(functools.partial(remote.delete, name))


def _bring_parts(address: str, text: bytes) -> None:
    try:
        parts = [part["folder"] for part in json.loads(text).get("parts", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorpusError(f"{address}: its {FILE_NAME} is not readable; {again(corpus_folder(address))}") from None
    for part in parts:
        brought(resolved(joined(address, part)))


def _download(remote: Remote, text: bytes, folder: Path) -> None:
    restore_folder(folder)
    partial = folder.with_name(f".{folder.name}.brought")
    partial.mkdir(parents=True, exist_ok=True)
    write_atomically(partial / FILE_NAME, text)
    shards = list(_own_shards(Manifest.read(partial)))
    if shards:
        with ThreadPoolExecutor(min(TRANSFERS, len(shards))) as pool:
            list(pool.map(lambda shard: _download_shard(remote, shard, partial), shards))
    retried(lambda: remote.download(REJECTS_NAME, partial / REJECTS_NAME))
    for path in partial.iterdir():
        if path.name not in {FILE_NAME, REJECTS_NAME, *(shard.file for shard in shards)}:
            path.unlink()  # of a corpus that was replaced while an earlier download was under way
    move_aside(folder)
    partial.rename(folder)
    restore_folder(folder)


def _download_shard(remote: Remote, shard: ShardRecord, folder: Path) -> None:
    path = folder / shard.file
    if path.exists() and sha256_of(path) == shard.sha256:
        return
    if not retried(lambda: remote.download(shard.file, path)) or sha256_of(path) != shard.sha256:
        path.unlink(missing_ok=True)
        raise CorpusError(
            f"{remote.address}: {shard.file} is missing or not what {FILE_NAME} says; try again if the corpus is being "
            f"published anew, else {again(folder)}"
        )


def _own_shards(manifest: Manifest) -> Iterator[ShardRecord]:
    """Those in the corpus's folder; a mixture has none."""
    return iter(() if manifest.parts else manifest.shards)


def _is_here(folder: Path, text: bytes) -> bool:
    path = folder / FILE_NAME
    return path.exists() and path.read_bytes() == text
