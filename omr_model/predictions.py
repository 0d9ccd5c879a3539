"""What was read of a folder of pictures as a table: as Parquet, and for a terminal the staves to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datasets.notation import format_semantic
from datasets.parquet import to_parquet
from omr_model.reading import Reading

READINGS_FILE = "readings.parquet"
CUT_OFF = "cut off at the longest sequence"
MOST_SHOWN = 20

PREDICTIONS = pa.schema(
    [
        ("file", pa.string()),
        ("symbols", pa.int64()),
        ("confidence", pa.float64()),
        ("end", pa.float64()),
        ("least_sure", pa.string()),
        ("least_confidence", pa.float64()),
        ("remarks", pa.string()),
        ("prediction", pa.string()),
        ("confidences", pa.list_(pa.float32())),
    ]
)
"""A row a picture. `confidence` is that of the staff, the geometric mean over its symbols and its `end`, which is null
where the model wrote none and was cut off; `confidences` are those of the symbols of `prediction`, a chord's joiners
included. `least_sure` is the symbol with the lowest, null where nothing was read. `remarks` say so where it was cut
off, and what had to be mended to make a score of it."""


@dataclass(frozen=True)
class Prediction:
    """One picture as it was read; `mended` are the remarks of its transcript."""

    file: str
    reading: Reading
    mended: tuple[str, ...]

    @property
    def remarks(self) -> str:
        """What to know of it."""
        return "; ".join([*([CUT_OFF] if self.reading.end is None else []), *self.mended])

    @property
    def least_sure(self) -> int | None:
        """Index of the symbol that the model is least sure of; None where there is none."""
        sure = self.reading.confidences
        return min(range(len(sure)), key=sure.__getitem__) if sure else None


def readings_file(predictions: Sequence[Prediction]) -> bytes:
    """`PREDICTIONS`, in the order given, as the bytes of a file."""
    rows = [
        {
            "file": one.file,
            "symbols": len(one.reading.symbols),
            "confidence": one.reading.confidence,
            "end": one.reading.end,
            "least_sure": None if one.least_sure is None else str(one.reading.symbols[one.least_sure]),
            "least_confidence": None if one.least_sure is None else one.reading.confidences[one.least_sure],
            "remarks": one.remarks,
            "prediction": format_semantic(one.reading.symbols),
            "confidences": one.reading.confidences,
        }
        for one in predictions
    ]
    return to_parquet(pa.Table.from_pylist(rows, PREDICTIONS))


def print_predictions(predictions: Sequence[Prediction], stream: TextIO) -> None:
    """The staves that the model is least sure of, at most `MOST_SHOWN`, the least sure one first."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("symbols", justify="right")
    table.add_column("confidence", justify="right")
    table.add_column("least sure of", overflow="fold")
    table.add_column("remarks", style="dim")
    for one in sorted(predictions, key=lambda each: each.reading.confidence)[:MOST_SHOWN]:
        reading, index = one.reading, one.least_sure
        doubts = [] if index is None else [(reading.confidences[index], str(reading.symbols[index]))]
        doubts += [] if reading.end is None else [(reading.end, "the end")]
        doubt = f"{min(doubts)[1]} ({min(doubts)[0]:.2f})" if doubts else ""
        cells = (one.file, str(len(reading.symbols)), f"{reading.confidence:.2f}", doubt, one.remarks)
        table.add_row(*map(Text, cells))
    screen = Console(file=stream)
    screen.print(table)
    if (more := len(predictions) - MOST_SHOWN) > 0:
        screen.print(f"  and {more:,} that it is surer of, all of them in {READINGS_FILE}", style="dim")
