"""A study's folder as one entry of the training log, whether it was finished or not."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from results.evidence import decisions_of
from results.gather import Tables, gather
from results.log_format import LINE_WIDTH
from results.log_records import ABORTED, FINISHED, LogStudy
from results.manual import read_manual
from results.ranking import RankedTrial, rank
from results.study import DEFAULT_LOG, StudyRecord, read_study
from results.verdict import percent
from results.verdict import verdict as verdict_on

ROOT = DEFAULT_LOG.parent
OUT_OF_TIME = "out of time"  # the hours of its budget are up, as was asked for
WITHOUT_A_WORD = "the process ended without a word"
HASH_DIGITS = 12
SER_DIGITS, HOUR_DIGITS = 4, 2


def study_entry(folder: Path, *, reason: str | None = None) -> LogStudy:
    """What the log says of a study, out of its folder as it stands now.

    Args:
        folder: the study's.
        reason: how the search ended, if the caller knows: `finished`, or why it was aborted. None is what the
            folder tells: finished if all trials of its budget have ended.

    Raises:
        StudyError: no study, or a damaged one.
        LogError: something of it cannot be written (`results.log_records`).
    """
    study, tables = read_study(folder), gather(folder)
    ranking = rank(tables.trials)
    best = ranking[0] if ranking and ranking[0].rank is not None else None
    created = datetime.fromisoformat(study.created).astimezone(UTC)
    rates = (None, None, None) if best is None else (best.ser, best.ser_low, best.ser_high)
    ser, ser_low, ser_high = map(_rounded, rates)
    text = _verdict(study, best, ranking, tables)
    return LogStudy(
        name=study.name,
        date=created.date(),
        state=_state(study, tables.trials, reason),
        hours=_hours(created, tables),
        command=_command(study.provenance.command_line),
        code=str(study.provenance.code),
        space=study.space,
        corpus=_corpus(study),
        trials=_trials(study, tables.trials),
        best={} if best is None else {path: value for path, value in best.params.items() if value is not None},
        ser=ser,
        ser_low=ser_low,
        ser_high=ser_high,
        manual=None if best is None else read_manual(folder).get(best.trial_id),
        folder=_relative(folder),
        verdict=textwrap.fill(_one_line(text), LINE_WIDTH, break_long_words=False, break_on_hyphens=False),
    )


def budget(study: StudyRecord) -> int | None:
    """How many trials the study was to have; None if its configuration does not say."""
    trials = study.config.get("budget", {}).get("trials")
    return None if trials is None else int(trials)


def _state(study: StudyRecord, trials: pa.Table, reason: str | None) -> str:
    if reason is None:
        reason = _reason(study, trials)
    return FINISHED if reason == FINISHED else f"{ABORTED}{_one_line(reason) or WITHOUT_A_WORD}"


def _reason(study: StudyRecord, trials: pa.Table) -> str:
    """Finished; or what the trials that were cut off say of it, as in `the search ended ...: interrupted`."""
    rows = trials.to_pylist()
    paused = [row["message"] for row in rows if row["state"] == "paused" and row["message"]]
    if paused:
        telling = str(min(paused, key=lambda message: ": " not in message)).rpartition(": ")[2]
        return FINISHED if telling == OUT_OF_TIME else telling
    ended = rows and all(row["state"] not in ("running", "paused") for row in rows)
    return FINISHED if ended and len(rows) >= (budget(study) or 0) else WITHOUT_A_WORD


def _trials(study: StudyRecord, trials: pa.Table) -> str:
    """As in `8: 1 completed, 7 pruned`, or `5 of 8: ...` where some were never begun."""
    states = Counter(trials["state"].to_pylist())
    asked = budget(study)
    of = f" of {asked}" if asked is not None and len(trials) < asked else ""
    found = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{len(trials)}{of}: {found}" if found else f"0{of}"


def _hours(created: datetime, tables: Tables) -> float | None:
    """From the study's start to the last thing that happened; None if nothing has."""
    moments = [tables.trials["ended"], tables.epochs["time"]]
    last = max((moment for column in moments if (moment := pc.max(column).as_py()) is not None), default=None)
    if last is None:
        return None
    hours = (last.replace(tzinfo=UTC) - created).total_seconds() / 3600
    return round(hours, HOUR_DIGITS) if hours >= 0 else None  # below: a clock that was set back


def _corpus(study: StudyRecord) -> str:
    scored_in = study.config.get("train", {}).get("scored_in")
    unit = f", compared in the {scored_in} vocabulary" if scored_in else ""
    return f"{study.corpus.name} {study.corpus.hash[:HASH_DIGITS]}{unit}"


def _verdict(study: StudyRecord, best: RankedTrial | None, ranking: Sequence[RankedTrial], tables: Tables) -> str:
    if best is not None:
        return verdict_on(best, ranking, tables.samples, decisions_of(study, tables.trials, tables.samples))
    reached = [row for row in tables.epochs.select(["trial_id", "epoch", "ser"]).to_pylist() if row["ser"] is not None]
    if not reached:
        return "No trial was trained to the end, and none has a symbol error rate."
    row = min(reached, key=lambda row: (row["ser"], row["epoch"]))
    number = next(trial.number for trial in ranking if trial.trial_id == row["trial_id"])
    return (
        f"No trial was trained to the end. The best symbol error rate on the way is {percent(row['ser'])}, of trial "
        f"{number} after epoch {row['epoch']}."
    )


def _command(command_line: str) -> str:
    """The command as a person would say it again: the interpreter by its name, wherever it lies."""
    try:
        program, *words = shlex.split(command_line)
    except ValueError:  # empty, or not quoted for a shell
        return _one_line(command_line)
    return _one_line(shlex.join([Path(program).name, *words]))


def _relative(folder: Path) -> str:
    resolved = folder.resolve()
    return str(resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else resolved)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, SER_DIGITS)


def _one_line(text: str) -> str:
    return " ".join(text.split())
