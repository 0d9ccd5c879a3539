"""`python -m results.gather study=NAME`: a study's folder to Parquet, at any moment.

    study.json, events.jsonl, manual.json, latest checkpoints  ->  reports/{trials,epochs,samples}.parquet

The search may be running, may have crashed, or may not have begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.command_line import main
from datasets.files import write_atomically
from datasets.parquet import to_parquet
from results.journal import SessionEnded, SessionStarted, read
from results.manual import read_manual
from results.replay import Replay, TrialHistory
from results.samples import SAMPLES_FILE
from results.schema import SAMPLES, STUDY_KEY
from results.statistics import NO_INTERVAL, Interval, ser_interval
from results.study import DEFAULT_STUDIES, EVENTS_FILE, REPORTS_FOLDER, find_study, read_study, to_json
from results.tables import StandingEpochs, epochs_table, trials_table


@dataclass(frozen=True)
class Tables:
    """The three tables of a study (`results.schema`).

    `missing_samples` counts the trials whose latest checkpoint is named but cannot be read (removed to save space, or
    lost), and whose samples are in no earlier report. `sessions` are the processes that drove the study, and `seconds`
    for how long in all; `outcome` is how the latest of them ended, None if it was killed or goes on.
    """

    trials: pa.Table
    epochs: pa.Table
    samples: pa.Table
    missing_samples: int
    sessions: tuple[SessionStarted, ...] = ()
    seconds: float = 0.0
    outcome: str | None = None


@dataclass(frozen=True)
class GatherConfig:
    """Attributes.

    study: name of the study.
    studies: folder of the studies.
    """

    study: str = ""
    studies: str = DEFAULT_STUDIES


def gather_reports(config: GatherConfig) -> None:
    """Write a study's tables as Parquet, at any moment and as often as you like.

    python -m results.gather study=dropout-1
    """
    folder = find_study(Path(config.studies), config.study)
    tables = write_reports(folder)
    print(
        f"{folder / REPORTS_FOLDER}: {len(tables.trials)} trials, {len(tables.epochs)} epochs, "
        f"{len(tables.samples)} samples"
    )
    if tables.missing_samples:
        print(f"trials whose latest checkpoint is gone, and with it their samples: {tables.missing_samples}")


def write_reports(folder: Path) -> Tables:
    """Gather a study and write its three Parquet files, each atomically.

    Raises:
        StudyError: as `gather`.
    """
    tables = gather(folder)
    reports = folder / REPORTS_FOLDER
    reports.mkdir(exist_ok=True)
    for name in ("trials", "epochs", "samples"):
        write_atomically(reports / f"{name}.parquet", to_parquet(getattr(tables, name)))
    return tables


def gather(folder: Path) -> Tables:
    """The tables of the study in `folder`, as they stand now.

    Raises:
        StudyError: no study, or a damaged `study.json`, journal or `manual.json`.
    """
    study = read_study(folder)
    replay, outcome = Replay(), None
    for event in read(folder / EVENTS_FILE):
        replay.add(event)
        if isinstance(event, (SessionStarted, SessionEnded)):
            outcome = event.outcome if isinstance(event, SessionEnded) else None
    saved = [trial for trial in replay.trials() if trial.checkpoint is not None]
    samples = _latest_samples(folder, study.name, saved)
    intervals = {
        trial.trial_id: _interval(samples[trial.trial_id], trial.epochs[-1])
        for trial in saved
        if trial.trial_id in samples
    }
    standing = StandingEpochs(replay)
    trials = trials_table(standing, study.name, study.parameters, intervals, read_manual(folder))
    metadata = {STUDY_KEY: to_json(study)}
    return Tables(
        trials=trials.replace_schema_metadata(metadata),
        epochs=epochs_table(standing, study.name).replace_schema_metadata(metadata),
        samples=pa.concat_tables([SAMPLES.empty_table(), *samples.values()]).replace_schema_metadata(metadata),
        missing_samples=len(saved) - len(samples),
        sessions=tuple(replay.sessions),
        seconds=replay.seconds,
        outcome=outcome,
    )


def _latest_samples(folder: Path, study: str, trials: Sequence[TrialHistory]) -> dict[str, pa.Table]:
    """`SAMPLES` of each trial's latest checkpoint, or of a report where that cannot be read, by trial_id."""
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda trial: _read_samples(folder / trial.checkpoint / SAMPLES_FILE), trials))
    found = {trial.trial_id: part for trial, part in zip(trials, parts, strict=True) if part is not None}
    if len(found) < len(trials) and (reported := _read_samples(folder / REPORTS_FOLDER / SAMPLES_FILE)) is not None:
        for trial in trials:  # what a report has of this very epoch outlives the checkpoint
            of_epoch = (pc.field("trial_id") == trial.trial_id) & (pc.field("epoch") == trial.epochs[-1])
            if trial.trial_id not in found and len(rows := reported.filter(of_epoch)):
                found[trial.trial_id] = rows
    ordered = [trial.trial_id for trial in trials if trial.trial_id in found]
    return {trial_id: _conformed(found[trial_id], study, trial_id) for trial_id in ordered}


def _read_samples(path: Path) -> pa.Table | None:
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid):  # the engine removed it, maybe this very moment; or the disk was full
        return None


def _conformed(part: pa.Table, study: str, trial_id: str) -> pa.Table:
    """A checkpoint's samples with the columns of `SAMPLES`; null where it lacks one."""
    given = {name: part[name] for name in part.column_names}
    given |= {"study": pa.repeat(study, len(part)), "trial_id": pa.repeat(trial_id, len(part))}
    columns = [given[field.name] if field.name in given else pa.nulls(len(part), field.type) for field in SAMPLES]
    return pa.table(columns, schema=SAMPLES)


def _interval(samples: pa.Table, epoch: int) -> Interval:
    """The interval of a trial's SER at `epoch`; NaN if its samples are of another one."""
    if not samples.num_rows or samples["epoch"][0].as_py() != epoch:
        return NO_INTERVAL
    return ser_interval(
        samples["distance"].to_numpy(), samples["reference_length"].to_numpy(), samples["work"].to_pylist()
    )


if __name__ == "__main__":
    main(gather_reports, GatherConfig())
