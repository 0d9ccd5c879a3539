"""`python -m results.gather study=NAME`: a study's folder to Parquet, at any moment.

    study.json, events.jsonl, manual.json, latest checkpoints  ->  reports/{trials,epochs,samples}.parquet

The search may be running, may have crashed, or may not have begun.
"""

from __future__ import annotations

import json
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
from results.journal import SessionStarted, read
from results.manual import read_manual
from results.replay import Replay, TrialHistory
from results.samples import SAMPLES_FILE
from results.schema import SAMPLES, STUDY_KEY
from results.statistics import NO_INTERVAL, Interval, ser_interval
from results.study import DEFAULT_STUDIES, EVENTS_FILE, REPORTS_FOLDER, StudyRecord, read_study, to_json
from results.tables import StandingEpochs, epochs_table, trials_table
from results.working_copy import opened_study

JOURNAL_KEY = "omr_journal"
"""In the metadata of the table of trials: how long the journal was that it is made of, and how the study stood."""
TRIALS_FILE = "trials.parquet"


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
    with opened_study(config.studies, config.study) as folder:
        tables = write_reports(folder)
    print(
        f"{folder / REPORTS_FOLDER}: {len(tables.trials)} trials, {len(tables.epochs)} epochs, "
        f"{len(tables.samples)} samples"
    )
    if tables.missing_samples:
        print(f"trials whose latest checkpoint is gone, and with it their samples: {tables.missing_samples}")


def write_reports(folder: Path, replay: Replay | None = None) -> Tables:
    """Gather a study and write its three Parquet files, each atomically.

    Args:
        replay: as for `gather`.

    Raises:
        StudyError: as `gather`.
    """
    tables = gather(folder, replay)
    reports = folder / REPORTS_FOLDER
    reports.mkdir(exist_ok=True)
    for name in ("trials", "epochs", "samples"):
        write_atomically(reports / f"{name}.parquet", to_parquet(getattr(tables, name)))
    return tables


def gather(folder: Path, replay: Replay | None = None) -> Tables:
    """The tables of the study in `folder`, as they stand now.

    Args:
        replay: of all that is in its journal, if the caller has it, as the process that drives the study; None reads
            the journal.

    Raises:
        StudyError: no study, or a damaged `study.json`, journal or `manual.json`.
    """
    study, size = read_study(folder), _journal_bytes(folder)  # the size before the events: it may grow meanwhile
    replay = replay or Replay(read(folder / EVENTS_FILE))
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
        trials=trials.replace_schema_metadata(metadata | {JOURNAL_KEY: _told(size, replay)}),
        epochs=epochs_table(standing, study.name).replace_schema_metadata(metadata),
        samples=pa.concat_tables([SAMPLES.empty_table(), *samples.values()]).replace_schema_metadata(metadata),
        missing_samples=len(saved) - len(samples),
        sessions=tuple(replay.sessions),
        seconds=replay.seconds,
        outcome=replay.outcome,
    )


@dataclass(frozen=True)
class Standing:
    """What can be said of a study quickly.

    Attributes:
        trials: its table of them; intervals may be missing.
        begun: whether anything has happened in it.
        outcome: as in `Tables`.
    """

    trials: pa.Table
    begun: bool
    outcome: str | None


def standing(folder: Path, study: StudyRecord) -> Standing:
    """How a study stands: out of its reports if nothing happened since they were written, else out of its journal.

    Raises:
        StudyError: the journal is damaged, if it was read.
    """
    reported = folder / REPORTS_FOLDER / TRIALS_FILE
    try:
        if reported.stat().st_mtime_ns >= (folder / EVENTS_FILE).stat().st_mtime_ns:
            trials = pq.read_table(reported)
            told = json.loads(trials.schema.metadata[JOURNAL_KEY.encode()])
            if told["bytes"] == _journal_bytes(folder):
                return Standing(trials, told["begun"], told["outcome"])
    except (OSError, pa.ArrowInvalid, ValueError, KeyError, TypeError):
        pass  # no reports, those of an older version, or damaged ones: the journal has it all
    replay = Replay(read(folder / EVENTS_FILE))
    trials = trials_table(StandingEpochs(replay), study.name, study.parameters, {})
    return Standing(trials, replay.begun, replay.outcome)


def _journal_bytes(folder: Path) -> int:
    journal = folder / EVENTS_FILE
    return journal.stat().st_size if journal.exists() else 0


def _told(size: int, replay: Replay) -> str:
    return json.dumps({"bytes": size, "begun": replay.begun, "outcome": replay.outcome})


def _latest_samples(folder: Path, study: str, trials: Sequence[TrialHistory]) -> dict[str, pa.Table]:
    """`SAMPLES` of each trial's latest checkpoint, or of a report where that cannot be read, by trial_id."""
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda trial: _read_samples(folder / trial.checkpoint / SAMPLES_FILE), trials))
    found = {trial.trial_id: part for trial, part in zip(trials, parts, strict=True) if part is not None}
    if len(found) < len(trials) and (reported := _read_samples(folder / REPORTS_FOLDER / SAMPLES_FILE)) is not None:
        rows = _by_trial(reported)
        for trial in trials:  # what a report has of this very epoch outlives the checkpoint
            if trial.trial_id not in found and trial.trial_id in rows:
                of_epoch = rows[trial.trial_id].filter(pc.field("epoch") == trial.epochs[-1])
                found |= {trial.trial_id: of_epoch} if len(of_epoch) else {}
    ordered = [trial.trial_id for trial in trials if trial.trial_id in found]
    return {trial_id: _conformed(found[trial_id], study, trial_id) for trial_id in ordered}


def _by_trial(reported: pa.Table) -> dict[str, pa.Table]:
    """A report's samples by trial: it has those of one after those of another."""
    runs = pc.run_end_encode(reported["trial_id"].combine_chunks())
    ends = runs.run_ends.to_pylist()
    starts = [0, *ends]
    trial_ids = runs.values.to_pylist()
    return {one: reported.slice(start, end - start) for one, start, end in zip(trial_ids, starts, ends, strict=False)}


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
