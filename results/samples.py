"""The validation staves of one epoch as a Parquet file beside the checkpoint that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.notation import format_semantic
from results.schema import ERROR_CLASSES, SAMPLES

if TYPE_CHECKING:  # it imports torch, which readers of reports need not wait for
    from omr_model.evaluation import StaffResult

SAMPLES_FILE = "samples.parquet"
LOG_BENCHMARK = ("photographed", 71, 3)
"""Source, staves and works of what the runs of the training log were measured on (`datasets.sources.photographed`)."""
_STUDY_COLUMNS = ("study", "trial_id")  # known to the study alone; `results.gather` adds them


def write_samples(staves: Sequence[StaffResult], epoch: int, path: Path) -> None:
    """One row a staff, with the columns of the `samples` table that a trial knows."""
    columns = {
        "epoch": [epoch] * len(staves),
        "staff_id": [staff.staff_id for staff in staves],
        "work": [staff.work for staff in staves],
        "source": [staff.source for staff in staves],
        "distance": [staff.score.total.distance for staff in staves],
        "reference_length": [staff.score.total.length for staff in staves],
        "prediction": [format_semantic(staff.prediction) for staff in staves],
        "confidences": [staff.confidences for staff in staves],
        "reference": [format_semantic(staff.reference) for staff in staves],
    }
    for name in ERROR_CLASSES:
        columns[f"distance_{name}"] = [staff.score.by_class.get(name, 0) for staff in staves]  # type: ignore[call-overload]
    schema = pa.schema([field for field in SAMPLES if field.name not in _STUDY_COLUMNS])
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")


def works_of(samples: pa.Table) -> int:
    """How many works they are from."""
    return int(pc.count_distinct(samples["work"]).as_py())


def is_log_benchmark(samples: pa.Table) -> bool:
    """Whether a trial's samples are of the training log's own photographs: on others, `log_ser` is no figure of it."""
    sources = set(samples["source"].to_pylist())
    return (sources, len(samples), works_of(samples)) == ({LOG_BENCHMARK[0]}, *LOG_BENCHMARK[1:])
