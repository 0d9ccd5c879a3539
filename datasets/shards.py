"""The prepared format: Arrow IPC files, mapped into memory, one row a staff, and a manifest beside them.

<corpora>/<data>-<staff>/
    manifest.json           counts, content hash, versions, settings, one record a shard
    rejects.jsonl           every piece that did not become a staff, with its reason
    train-0000.arrow ...    shards; also validation-*.arrow and test-*.arrow

A mixture (`datasets.mixture`) has only the manifest, which names the shards of its parts.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from datasets.addresses import is_address
from datasets.corpus_storage import brought
from datasets.errors import CorpusError
from datasets.files import sha256_of, write_atomically
from datasets.images import Gray, decode_png, encode_png, pad
from datasets.manifest import Manifest, ShardRecord, again
from datasets.seeds import seed_from
from datasets.staff import StaffSample

SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),  # PNG, 8-bit gray
        pa.field("width", pa.int32(), nullable=False),  # of the PNG, before padding
        pa.field("height", pa.int32(), nullable=False),
        pa.field("semantic", pa.string(), nullable=False),  # with printed accidentals
        pa.field("source", pa.string(), nullable=False),
        pa.field("work", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("distortion_seed", pa.int64(), nullable=False),
        pa.field("staff_id", pa.string(), nullable=False),
    ]
)


def write_shard(path: Path, staves: Sequence[StaffSample], split: str, seed: int) -> ShardRecord:
    """Write staves of one split as an Arrow file.

    Raises:
        OSError: as the system says; no part of the file stays behind.
    """
    columns: dict[str, list[Any]] = {
        "image": [encode_png(staff.image) for staff in staves],
        "width": [staff.image.shape[1] for staff in staves],
        "height": [staff.image.shape[0] for staff in staves],
        "semantic": [staff.semantic for staff in staves],
        "source": [staff.source for staff in staves],
        "work": [staff.work for staff in staves],
        "split": [split] * len(staves),
        "distortion_seed": [seed_from(seed, f"distortion:{staff.staff_id}") for staff in staves],
        "staff_id": [staff.staff_id for staff in staves],
    }
    # Into memory first: Python's own write reports a full disk with its errno.
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_file(buffer, SCHEMA) as writer:
        writer.write_table(pa.table(columns, schema=SCHEMA))
    data = buffer.getvalue().to_pybytes()
    write_atomically(path, data)
    return ShardRecord(file=path.name, split=split, rows=len(staves), bytes=len(data), sha256=sha256_of(path))


def read_shard(path: Path) -> pa.Table:
    """A shard, mapped into memory.

    Raises:
        CorpusError: it is missing, or not an Arrow file of this schema.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid):
        raise CorpusError(_damaged(path, "missing or not readable")) from None
    if table.schema != SCHEMA:
        raise CorpusError(_damaged(path, "not of this version's columns"))
    return table


class PreparedCorpus:
    """A prepared corpus on the disk. Pickled by its path, so workers open it anew at next to no cost."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str, verify: bool = True) -> PreparedCorpus:
        """Open the corpus in a folder, or at an address: that one is brought to this machine first, once.

        Args:
            verify: compare every shard with its hash (a tenth of a second for 50 MB).

        Raises:
            CorpusError: it is missing, incomplete or damaged; or a part of a mixture was prepared anew.
            StorageError: the address cannot be read.
        """
        path = brought(str(path)) if is_address(path) else Path(path)
        corpus = cls(path, Manifest.read(path))
        if verify:
            _verify_parts(path, corpus.manifest)
            for shard in corpus.manifest.shards:
                _verify(path / shard.file, shard)
        return corpus

    def staves(self, split: str) -> Staves:
        """The staves of a split.

        Raises:
            CorpusError: there is no such split.
        """
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits)
            raise CorpusError(f"{self.path}: no split is called {split}; there are {known}")
        return Staves(self, split)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path,)

    def __repr__(self) -> str:
        return f"PreparedCorpus({str(self.path)!r})"


class Staves(Sequence[StaffSample]):
    """The staves of one split; every access decodes anew, nothing is kept."""

    def __init__(self, corpus: PreparedCorpus, split: str) -> None:
        self.corpus = corpus
        self.split = split
        self._shards = [shard for shard in corpus.manifest.shards if shard.split == split]
        self._ends = list(itertools.accumulate(shard.rows for shard in self._shards))
        self._parts = {part.folder: f"{part.name}/" for part in corpus.manifest.parts}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> StaffSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[StaffSample]: ...

    def __getitem__(self, index: int | slice) -> StaffSample | list[StaffSample]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return StaffSample(
            staff_id=self.staff_id(index),
            work=self.work(index),
            source=self.source(index),
            image=self.image(index),
            semantic=self.semantic(index),
        )

    def image(self, index: int) -> Gray:
        """uint8 [height, width] of the corpus, padded with white on the right and below."""
        png = self._value("image", index).as_buffer()
        manifest = self.corpus.manifest
        return pad(decode_png(png), manifest.height, manifest.width)

    def semantic(self, index: int) -> str:
        """The label, with printed accidentals."""
        return str(self._value("semantic", index))

    def source(self, index: int) -> str:
        return str(self._value("source", index))

    def sources(self) -> list[str]:
        """The source of every staff."""
        return [source for table in self._tables for source in table.column("source").to_pylist()]

    def without_music(self) -> list[int]:
        """The staves that are none: strips with an empty label."""
        labels = itertools.chain.from_iterable(table.column("semantic").to_pylist() for table in self._tables)
        return [index for index, label in enumerate(labels) if not label]

    def work(self, index: int) -> str:
        """The piece it comes from."""
        return self._part(index) + str(self._value("work", index))

    def staff_id(self, index: int) -> str:
        return self._part(index) + str(self._value("staff_id", index))

    def distortion_seed(self, index: int) -> int:
        return int(self._value("distortion_seed", index).as_py())

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [read_shard(self.corpus.path / shard.file) for shard in self._shards]

    def _part(self, index: int) -> str:
        """What the names of a staff begin with: in a mixture its corpus's name."""
        if not self._parts:
            return ""
        shard, _ = self._place(index)
        return self._parts[self._shards[shard].file.rpartition("/")[0]]

    def _value(self, column: str, index: int) -> Any:
        shard, row = self._place(index)
        return self._tables[shard].column(column)[row]

    def _place(self, index: int) -> tuple[int, int]:
        """The shard that has a staff, and its row there."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.split} has {len(self)} staves, but got index {index}")
        index %= len(self)
        shard = bisect.bisect_right(self._ends, index)
        return shard, index - (self._ends[shard] - self._shards[shard].rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return Staves, (self.corpus, self.split)


def _reopen(path: Path) -> PreparedCorpus:
    return PreparedCorpus.open(path, verify=False)


def _verify_parts(path: Path, mixture: Manifest) -> None:
    for part in mixture.parts:
        if Manifest.read(path / part.folder).content_hash != part.content_hash:
            settings = mixture.settings
            raise CorpusError(
                f"{path}: its part {part.name} was prepared anew since; `python -m datasets.prepare "
                f"data={settings.data} staff={settings.staff}` makes the mixture anew, in a moment"
            )


def _verify(path: Path, shard: ShardRecord) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise CorpusError(_damaged(path, "missing")) from None
    if size != shard.bytes:
        raise CorpusError(_damaged(path, f"{size} bytes long instead of {shard.bytes}"))
    if sha256_of(path) != shard.sha256:
        raise CorpusError(_damaged(path, "changed since it was written (its hash differs)"))


def _damaged(path: Path, what: str) -> str:
    return f"{path}: {what}; {again(path.parent)}"
