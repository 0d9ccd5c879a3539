"""`python -m results.gather study=NAME`: a study's folder to Parquet, at any moment.

    study.json, events.jsonl, manual/, latest checkpoints  ->  reports/{trials,epochs,samples}.parquet

The search may be running, may have crashed, or may not have begun.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.command_line import main
from datasets.parquet import write_parquet
from results.journal import SessionStarted, read
from results.manual import read_manual
from results.replay import Replay, TrialHistory
from results.samples import SAMPLES_FILE, Kept, ReportedSamples, Samples, read_columns
from results.schema import SAMPLES, STUDY_KEY
from results.statistics import NO_INTERVAL, Interval, ser_interval
from results.study import DEFAULT_STUDIES, EVENTS_FILE, REPORTS_FOLDER, StudyRecord, read_study, to_json
from results.tables import StandingEpochs, epochs_table, trials_table
from results.working_copy import opened_study

JOURNAL_KEY = "omr_journal"
"""In the metadata of the table of trials: how long the journal was that it is made of, and how the study stood."""
TRIALS_FILE = "trials.parquet"
COUNTED = ("epoch", "work", "distance", "reference_length")  # of what a trial read, what its interval follows from


@dataclass(frozen=True)
class Tables:
    """The tables of a study (`results.schema`); its samples, which may be large, are read when they are asked for.

    `missing_samples` counts the trials whose latest checkpoint is named but cannot be read (removed to save space, or
    lost), and whose samples are in no earlier report. `sessions` are the processes that drove the study, and `seconds`
    for how long in all; `outcome` is how the latest of them ended, None if it was killed or goes on.
    """

    trials: pa.Table
    epochs: pa.Table
    samples: Samples
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
    for name, table in (("trials", tables.trials), ("epochs", tables.epochs)):
        write_parquet(reports / f"{name}.parquet", [table], table.schema)
    samples = SAMPLES.with_metadata({STUDY_KEY: tables.trials.schema.metadata[STUDY_KEY.encode()]})
    write_parquet(reports / SAMPLES_FILE, tables.samples.parts(), samples)
    return tables


def gather(folder: Path, replay: Replay | None = None) -> Tables:
    """The tables of the study in `folder`, as they stand now.

    Args:
        replay: of all that is in its journal, if the caller has it, as the process that drives the study; None reads
            the journal.

    Raises:
        StudyError: no study, or a damaged `study.json`, journal or rating.
    """
    study, size = read_study(folder), _journal_bytes(folder)  # the size before the events: it may grow meanwhile
    replay = replay or Replay(read(folder / EVENTS_FILE))
    saved = [trial for trial in replay.trials() if trial.checkpoint is not None]
    samples, intervals = _latest_samples(folder, study.name, saved)
    standing = StandingEpochs(replay)
    trials = trials_table(standing, study.name, study.parameters, intervals, read_manual(folder))
    metadata = {STUDY_KEY: to_json(study)}
    return Tables(
        trials=trials.replace_schema_metadata(metadata | {JOURNAL_KEY: _told(size, replay)}),
        epochs=epochs_table(standing, study.name).replace_schema_metadata(metadata),
        samples=samples,
        missing_samples=len(saved) - len(intervals),
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


def _latest_samples(folder: Path, study: str, trials: Sequence[TrialHistory]) -> tuple[Samples, dict[str, Interval]]:
    """What each trial read at its latest checkpoint, or a report has of that epoch where this cannot be read; and the
    intervals of the SERs, as far as what was read is of the trial's last epoch."""
    report = ReportedSamples(folder / REPORTS_FOLDER / SAMPLES_FILE)

    def kept(trial: TrialHistory) -> tuple[Kept, Interval] | None:
        def read(columns: Sequence[str]) -> pa.Table | None:
            beside = read_columns(folder / str(trial.checkpoint) / SAMPLES_FILE, columns)
            return report.read(trial.trial_id, trial.epochs[-1], columns) if beside is None else beside

        part = read(COUNTED)
        if part is None or not len(part):
            return None
        epoch = part["epoch"][0].as_py()
        distance, length = part["distance"].to_numpy(), part["reference_length"].to_numpy()
        of_the_end = epoch == trial.epochs[-1]
        interval = ser_interval(distance, length, part["work"].to_pylist()) if of_the_end else NO_INTERVAL
        return Kept(epoch, len(part), read), interval

    with ThreadPoolExecutor() as pool:
        found = zip(trials, pool.map(kept, trials), strict=True)
        known = {trial.trial_id: one for trial, one in found if one is not None}
    intervals = {trial_id: interval for trial_id, (_, interval) in known.items()}
    return Samples(study, {trial_id: part for trial_id, (part, _) in known.items()}), intervals


if __name__ == "__main__":
    main(gather_reports, GatherConfig())
