"""`python -m tests.benchmarks.gather_growth`: how time and memory of gathering grow with a study.

Each size is gathered in a process of its own, which says how long it took by its own clock and how much memory it had
at the most, beyond what it had before. Beside it stands how long `json.loads` alone takes for the same journal: what a
reader would take that does nothing else. Times are of this machine as it was; ratios and growth are the result.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.command_line import main
from results.gather import write_reports
from results.journal import to_line
from results.samples import SAMPLES_FILE
from results.study import EVENTS_FILE
from tests.studies import FakeTrial, checkpoint_of, events_of, make_study, samples


@dataclass(frozen=True)
class GrowthConfig:
    """Attributes.

    sizes: numbers of trials, with commas between them.
    epochs: of each trial.
    staves: that each trial's checkpoint has read; 0 for no checkpoints.
    folder: a study to gather in this process and to say what it took; for the benchmark's own use.
    """

    sizes: str = "1000,3000,10000"
    epochs: int = 50
    staves: int = 0
    folder: str = ""


def measure(config: GrowthConfig) -> None:
    """Print a line a size; or gather the one folder."""
    if config.folder:
        gathered(Path(config.folder))
        return
    print("trials  journal MB  json.loads s  gathered s  times as quick  s per 1,000 trials  peak MB  kB per trial")
    for trials in map(int, config.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = made(Path(name), trials, config.epochs, config.staves)
            child = [sys.executable, "-m", __spec__.name, f"folder={folder}"]
            said = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
            size, alone = (folder / EVENTS_FILE).stat().st_size, parsed(folder)
        seconds, taken = said["seconds"], said["bytes"]
        print(
            f"{trials:6,}  {size / 1e6:10.0f}  {alone:12.2f}  {seconds:10.2f}  {alone / seconds:14.2f}  "
            f"{1000 * seconds / trials:18.3f}  {taken / 1e6:7.0f}  {taken / 1e3 / trials:12.1f}"
        )


def made(studies: Path, trials: int, epochs: int, staves: int = 0) -> Path:
    """A study of so many trials; its folder."""
    folder = make_study(studies, [])
    sers = tuple(1 / epoch for epoch in range(1, epochs + 1))
    with (folder / EVENTS_FILE).open("w", encoding="utf-8") as journal:
        for number in range(trials):
            trial = FakeTrial(number, sers)
            journal.writelines(to_line(event) for event in events_of(trial, checkpoints=staves > 0))
            if staves:
                checkpoint = folder / checkpoint_of(trial)
                checkpoint.mkdir(parents=True)
                pq.write_table(read_by(trial, staves), checkpoint / SAMPLES_FILE, compression="zstd")
    return folder


def read_by(trial: FakeTrial, staves: int) -> pa.Table:
    """So many staves of some twenty symbols, as a trial might have read them."""
    some = samples(len(trial.sers), trial.sers[-1], trial.number)
    rows = some.take(np.arange(staves) % len(some))
    names = pa.array([f"engraved-ryansMammothCollection-{staff:05d}" for staff in range(staves)])
    rows = rows.set_column(rows.column_names.index("staff_id"), "staff_id", names)
    for name in ("prediction", "reference"):
        longer = [f"{text} {text} {text}" for text in rows[name].to_pylist()]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(longer))
    return rows


def parsed(folder: Path) -> float:
    """Seconds that `json.loads` takes for the journal."""
    with (folder / EVENTS_FILE).open("rb") as lines:
        began = process_time()
        for line in lines:
            json.loads(line)
        return process_time() - began


def gathered(folder: Path) -> None:
    """Gather in this process, and print the seconds and the bytes that it took."""
    write_reports(made(folder / "warm", 1, 1))  # what is imported on the way is no part of it
    before, began = _peak(), process_time()
    write_reports(folder)
    print(json.dumps({"seconds": process_time() - began, "bytes": _peak() - before}))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(measure, GrowthConfig())
