"""What trials read of the validation staves: a Parquet file beside each checkpoint, and the trials of a study together.

A thousand staves are a megabyte in memory, so those of a study are read a trial at a time, when they are asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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


Reader: TypeAlias = Callable[[Sequence[str]], "pa.Table | None"]
"""Reads the columns of these names that there are; None where they cannot be read any more."""


@dataclass(frozen=True)
class Kept:
    """What one trial read, where it is kept.

    Attributes:
        epoch: after which it was read.
        rows: how many staves.
        read: reads it.
    """

    epoch: int
    rows: int
    read: Reader


class Samples:
    """The samples of a study (`results.schema.SAMPLES`), by trial; each is read when it is asked for, and not kept.

    Args:
        study: its name.
        kept: where those of each trial are, by trial_id and in the order of the trials.
    """

    def __init__(self, study: str, kept: Mapping[str, Kept]) -> None:
        self._study, self._kept = study, kept

    def __len__(self) -> int:
        """Staves of all trials."""
        return sum(kept.rows for kept in self._kept.values())

    @property
    def epochs(self) -> dict[str, int]:
        """After which epoch each trial read what is here."""
        return {trial_id: kept.epoch for trial_id, kept in self._kept.items()}

    def of(self, trial_id: str, epoch: int | None = None, columns: Sequence[str] = SAMPLES.names) -> pa.Table:
        """What a trial read, a row a staff; no rows where that is not known.

        Args:
            epoch: after which it must have been read; any, if None.
            columns: of `SAMPLES`; null where an older file lacks one.
        """
        kept = self._kept.get(trial_id)
        part = None if kept is None or epoch not in (None, kept.epoch) else kept.read(columns)
        rows = 0 if part is None else len(part)
        given = {} if part is None else {name: part[name] for name in part.column_names}
        given |= {"study": pa.repeat(self._study, rows), "trial_id": pa.repeat(trial_id, rows)}
        schema = pa.schema([SAMPLES.field(name) for name in columns])
        return pa.table(
            [given[field.name] if field.name in given else pa.nulls(rows, field.type) for field in schema],
            schema=schema,
        )

    def parts(self) -> Iterator[pa.Table]:
        """What each trial read, one after the other."""
        return map(self.of, self._kept)

    def table(self) -> pa.Table:
        """All of it at once, in memory."""
        return pa.concat_tables([SAMPLES.empty_table(), *self.parts()])


class LoadedSamples(Samples):
    """Those of a table in memory, which stay as they are whatever becomes of the study's folder.

    Args:
        table: with those of each trial, after one epoch.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        runs = table.group_by(["trial_id", "epoch"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
        super().__init__("", {run["trial_id"]: Kept(run["epoch"], run["count_all"], table.select) for run in runs})

    def of(self, trial_id: str, epoch: int | None = None, columns: Sequence[str] = SAMPLES.names) -> pa.Table:
        """As in `Samples`; columns that the table lacks are left out."""
        wanted = (pc.field("trial_id") == trial_id) & (pc.field("epoch") == (epoch or self.epochs.get(trial_id, 0)))
        return self._table.filter(wanted).select([name for name in columns if name in self._table.column_names])

    def table(self) -> pa.Table:
        """All of it."""
        return self._table


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table | None:
    """Those of the columns that a file of samples has; None if it cannot be read."""
    try:
        file = pq.ParquetFile(path)
        return file.read([name for name in columns if name in file.schema_arrow.names])
    except (OSError, pa.ArrowInvalid):  # the engine removed it, maybe this very moment; or the disk was full
        return None


class ReportedSamples:
    """The report of an earlier moment, which outlives the checkpoints that it was made of.

    Args:
        path: of the report; opened when something is asked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = Lock()
        self._latest: tuple[tuple[object, ...], pa.Table] | None = None

    def read(self, trial_id: str, epoch: int, columns: Sequence[str]) -> pa.Table | None:
        """What it has of a trial after this very epoch; None if nothing, or if it cannot be read."""
        try:
            with self._one_at_a_time:
                runs = [run for run in self._runs.get(trial_id, ()) if run.epoch == epoch]
                parts = [self._group(run.group, columns).slice(run.begin, run.rows) for run in runs]
        except (OSError, pa.ArrowInvalid):
            return None
        return pa.concat_tables(parts) if parts else None

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self._path)

    @cached_property
    def _runs(self) -> dict[str, list[_Run]]:
        """Where the rows of each trial are: those of one come after those of another."""
        runs: dict[str, list[_Run]] = defaultdict(list)
        for group in range(self._file.num_row_groups):
            table = self._group(group, ("trial_id", "epoch"))
            encoded = pc.run_end_encode(table["trial_id"].combine_chunks())
            ends = encoded.run_ends.to_pylist()
            for trial_id, (begin, end) in zip(encoded.values.to_pylist(), pairwise([0, *ends]), strict=True):
                runs[trial_id].append(_Run(group, begin, end - begin, table["epoch"][begin].as_py()))
        return runs

    def _group(self, group: int, columns: Sequence[str]) -> pa.Table:
        asked = (group, *columns)
        if self._latest is None or self._latest[0] != asked:  # several trials of one row group are asked for in turn
            names = [name for name in columns if name in self._file.schema_arrow.names]
            self._latest = asked, self._file.read_row_group(group, names)
        return self._latest[1]


class _Run(NamedTuple):
    """Rows of a trial within a row group."""

    group: int
    begin: int
    rows: int
    epoch: int


def works_of(samples: pa.Table) -> int:
    """How many works they are from."""
    return int(pc.count_distinct(samples["work"]).as_py())


def is_log_benchmark(samples: pa.Table) -> bool:
    """Whether a trial's samples are of the training log's own photographs: on others, `log_ser` is no figure of it."""
    sources = set(samples["source"].to_pylist())
    return (sources, len(samples), works_of(samples)) == ({LOG_BENCHMARK[0]}, *LOG_BENCHMARK[1:])
