"""The preparation's memory: a corpus grows chunk by chunk in `<name>.partial/` and can go on after any death.

A chunk is a few hundred pieces: one shard a split, then a JSON record. A chunk without its record was not
finished and is made again; a chunk with it is never touched again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from datasets.files import write_atomically
from datasets.manifest import Leakage, ShardRecord, SplitCounts
from datasets.shards import read_shard, write_shard
from datasets.sources import SPLITS, Reject
from datasets.staff import StaffSample

_ATTRIBUTES = ("clef-", "keySignature-", "timeSignature-")


@dataclass
class Ledger:
    """What the corpus holds so far; decides whether a staff may join.

    The same music in two splits would let a model be tested on what it was trained on, however the tunes are
    called, so the split that has it first keeps it. "The same" looks at what follows clef, key and meter. Labels are
    kept as 8-byte digests: a corpus of 100,000 staves takes a few megabytes. A strip without music is nobody's.
    """

    staves: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    works: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    labels: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    music: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def total(self) -> int:
        return self.staves.total()

    def owner(self, semantic: str) -> str | None:
        """The split that has this music, if one has."""
        if not semantic:
            return None
        digest = _digest(music_of(semantic))
        return next((split for split, music in self.music.items() if digest in music), None)

    def add(self, split: str, source: str, work: str, semantic: str) -> None:
        self.staves[split] += 1
        self.sources[source] += 1
        self.works[split].add(work)
        if semantic:
            self.labels[split][_digest(semantic)] += 1
            self.music[split][_digest(music_of(semantic))] += 1

    def add_shard(self, folder: Path, shard: ShardRecord, works_begin: str = "") -> None:
        """Add all staves of a shard; `works_begin` stands before the names of their works."""
        for row in read_shard(folder / shard.file).select(["source", "work", "semantic"]).to_pylist():
            self.add(shard.split, row["source"], works_begin + row["work"], row["semantic"])

    def split_counts(self) -> dict[str, SplitCounts]:
        return {split: SplitCounts(staves=self.staves[split], works=len(self.works[split])) for split in SPLITS}

    def leakage(self) -> Leakage:
        """What stands in train and in validation or test, where a published split or a mixture lets it."""
        return Leakage(labels=_shared(self.labels), music=_shared(self.music))


def _shared(digests: dict[str, Counter[int]]) -> int:
    """How many validation and test staves have something that train has too."""
    scored = digests["validation"] + digests["test"]
    return sum(count for digest, count in scored.items() if digest in digests["train"])


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Chunk:
    """The record of a finished chunk.

    Attributes:
        pieces: how many it is made of.
        barren: how many of them gave no staff.
        content: hash over its rows, with their pixels.
    """

    number: int
    shards: tuple[ShardRecord, ...]
    rejects: tuple[Reject, ...]
    pieces: int
    barren: int
    content: str

    @classmethod
    def load(cls, folder: Path, number: int, ledger: Ledger) -> Chunk | None:
        """A finished chunk, entered into the ledger; None where it is not finished."""
        try:
            fields = json.loads(_record_path(folder, number).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        shards = tuple(ShardRecord(**shard) for shard in fields["shards"])
        for shard in shards:
            ledger.add_shard(folder, shard)
        rejects = tuple(Reject(*reject) for reject in fields["rejects"])
        return cls(number, shards, rejects, fields["pieces"], fields["barren"], fields["content"])

    @classmethod
    def write(
        cls,
        folder: Path,
        number: int,
        staves: dict[str, list[StaffSample]],
        rejects: Iterable[Reject],
        *,
        pieces: int,
        barren: int,
        seed: int,
    ) -> Chunk:
        """Write the shards of a chunk, by split, and at last its record.

        Raises:
            OSError: the disk is full or may not be written; nothing of the chunk stays behind.
        """
        paths = {split: folder / f"{split}-{number:04}.arrow" for split in staves}
        try:
            shards = tuple(write_shard(paths[split], rows, split, seed) for split, rows in staves.items())
            chunk = cls(number, shards, tuple(rejects), pieces, barren, _content(staves))
            record = {
                "shards": [dataclasses.asdict(shard) for shard in chunk.shards],
                "rejects": [dataclasses.astuple(reject) for reject in chunk.rejects],
                "pieces": pieces,
                "barren": barren,
                "content": chunk.content,
            }
            write_atomically(_record_path(folder, number), json.dumps(record).encode())
        except BaseException:
            for path in paths.values():
                path.unlink(missing_ok=True)
            raise
        return chunk


def music_of(semantic: str) -> str:
    """A label without the clef, key and meter at its start."""
    tokens = semantic.split()
    start = next((n for n, token in enumerate(tokens) if not token.startswith(_ATTRIBUTES)), len(tokens))
    return " ".join(tokens[start:])


def content_hash(chunks: Iterable[Chunk]) -> str:
    """The hash of a whole corpus."""
    return hashlib.sha256("".join(chunk.content for chunk in chunks).encode()).hexdigest()


def remove_records(folder: Path) -> None:
    """Remove the records of a corpus that is finished."""
    for path in folder.glob("chunk-*.json"):
        path.unlink()


def _content(staves: dict[str, list[StaffSample]]) -> str:
    digest = hashlib.sha256()
    for split, rows in staves.items():
        for staff in rows:
            words = [split, staff.staff_id, staff.source, staff.work, staff.semantic, *staff.image.shape]
            digest.update(json.dumps(words).encode())
            digest.update(staff.image.tobytes())
    return digest.hexdigest()


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:04}.json"
