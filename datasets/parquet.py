"""Arrow tables as Parquet, the same way wherever one is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.files import replacing

GROUP_ROWS = 16_384
"""The rows that short tables are put together to, as a row group of a file."""


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file, compressed with Zstandard."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def write_parquet(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables of one schema, one after the other, to a file that takes the place of `path` once it is whole.

    No more of them are in memory than a row group has.

    Raises:
        OSError: as the system says (ENOSPC, EACCES, ...).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with replacing(path, temporary) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _grouped(tables):
            writer.write_table(group.replace_schema_metadata(schema.metadata))


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting)
