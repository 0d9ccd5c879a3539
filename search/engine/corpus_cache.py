"""What a process keeps from one trial to the next: the corpus, whose shards need not be read to be hashed each time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from datasets.addresses import is_address
from datasets.corpus_storage import brought
from datasets.errors import CorpusError
from datasets.manifest import Manifest
from datasets.shards import PreparedCorpus

Stamps: TypeAlias = tuple[tuple[str, int, int], ...]


def kept_corpus(place: Path | str, content_hash: str | None = None) -> PreparedCorpus:
    """The corpus in a folder, or at an address, from where it is brought to this machine once; compared with its
    hashes once a process, or again where one of its files is another.

    Args:
        content_hash: that it must have: a corpus may be prepared anew while a search runs, and trials of two corpora
            would not compare.

    Raises:
        CorpusError: it is missing, incomplete, damaged, or another one.
    """
    path = brought(str(place)) if is_address(place) else Path(place)
    corpus = _verified(path, _stamps(path))
    found = corpus.manifest.content_hash
    if content_hash not in (None, found):
        raise CorpusError(
            f"{path.name} is another corpus than the study's: {content_hash[:12]} when the search began, "
            f"{found[:12]} now; it was prepared anew"
        )
    return corpus


@lru_cache(maxsize=1)
def _verified(path: Path, stamps: Stamps) -> PreparedCorpus:
    return PreparedCorpus.open(path)


def _stamps(path: Path) -> Stamps:
    """Size and time of every file; none where one is missing, which opening says better."""
    manifest = Manifest.read(path)
    stamps = []
    for name in (shard.file for shard in manifest.shards):
        try:
            found = (path / name).stat()
        except OSError:
            return ()
        stamps.append((name, found.st_size, found.st_mtime_ns))
    return ((manifest.content_hash, 0, 0), *stamps)
