"""Arrow tables as Parquet, the same way wherever one is written."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file, compressed with Zstandard."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
