"""A study's folder as one entry of the training log, whether it was finished or not."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc

from datasets.addresses import joined, place_of
from omr_model.metrics import percent
from results.evidence import Decision, decisions_of
from results.gather import Tables, gather
from results.log_format import LINE_WIDTH
from results.log_records import ABORTED, FINISHED, LogStudy
from results.manual import read_manual
from results.ranking import RankedTrial, rank
from results.study import DEFAULT_LOG, StudyRecord, read_study
from results.verdict import rate_of_seeds
from results.verdict import verdict as verdict_on
from results.winner import winner_if_any

ROOT = DEFAULT_LOG.parent
SPENT = ("out of time", "out of epochs", "out of GPU time")  # its budget is, as was asked for
WITHOUT_A_WORD = "the process ended without a word"
HASH_DIGITS = 12
SER_DIGITS, HOUR_DIGITS = 4, 2


def study_entry(folder: Path, *, reason: str | None = None, tables: Tables | None = None) -> LogStudy:
    """What the log says of a study, out of its folder as it stands now.

    Args:
        folder: the study's.
        reason: how the search ended, if the caller knows: `finished`, or why it was aborted. None is what the
            folder tells: how its last session ended; of an old one, finished if all trials of its budget have ended.
        tables: of the study, if the caller has them.

    Raises:
        StudyError: no study, or a damaged one.
        LogError: something of it cannot be written (`results.log_records`).
    """
    study, tables = read_study(folder), tables or gather(folder)
    ranking = rank(tables.trials)
    decisions = decisions_of(study, tables)
    best = winner_if_any(ranking, decisions)
    created = datetime.fromisoformat(study.created).astimezone(UTC)
    ser, ser_low, ser_high = map(_rounded, _rates(best, decisions))
    text = _verdict(best, ranking, tables, decisions)
    return LogStudy(
        name=study.name,
        date=created.date(),
        state=_state(study, tables, reason),
        hours=_hours(created, tables),
        command=_command(study.provenance.command_line),
        code=str(study.provenance.code),
        space=study.space,
        corpus=_corpus(study),
        trials=_trials(study, tables),
        best={} if best is None else {path: value for path, value in best.params.items() if value is not None},
        ser=ser,
        ser_low=ser_low,
        ser_high=ser_high,
        manual=None if best is None else read_manual(folder).get(best.trial_id),
        folder=_where(folder),
        verdict=textwrap.fill(_one_line(text), LINE_WIDTH, break_long_words=False, break_on_hyphens=False),
    )


def _rates(best: RankedTrial | None, decisions: Sequence[Decision]) -> tuple[float | None, float | None, float | None]:
    """SER and interval; of one that was trained again the mean over the seeds that count, which has none of its own."""
    if best is None:
        return None, None, None
    seeds, ser = rate_of_seeds(best, decisions)
    return (ser, None, None) if seeds else (best.ser, best.ser_low, best.ser_high)


def _budget(study: StudyRecord, tables: Tables) -> int | None:
    """How many trials the study was to have in the end; None if nothing says so."""
    budget = tables.sessions[-1].budget if tables.sessions else study.config.get("budget", {})
    trials = budget.get("trials")
    return None if trials is None else int(trials)


def _state(study: StudyRecord, tables: Tables, reason: str | None) -> str:
    if reason is None:
        reason = _reason(study, tables)
    return FINISHED if reason == FINISHED else f"{ABORTED}{_one_line(reason) or WITHOUT_A_WORD}"


def _reason(study: StudyRecord, tables: Tables) -> str:
    """How the last session ended. Studies of old have none: there, what the trials that were cut off say of it."""
    if tables.sessions:
        outcome = tables.outcome or WITHOUT_A_WORD
        return FINISHED if outcome in SPENT else outcome
    rows = tables.trials.to_pylist()
    paused = [row["message"] for row in rows if row["state"] == "paused" and row["message"]]
    if paused:
        telling = str(min(paused, key=lambda message: ": " not in message)).rpartition(": ")[2]
        return FINISHED if telling in SPENT else telling
    ended = rows and all(row["state"] not in ("running", "paused") for row in rows)
    return FINISHED if ended and len(rows) >= (_budget(study, tables) or 0) else WITHOUT_A_WORD


def _trials(study: StudyRecord, tables: Tables) -> str:
    """As in `8: 1 completed, 7 pruned; and 4 repeats`, or `5 of 8: ...` where some were never begun."""
    own = tables.trials.filter(pc.field("repeats").is_null())
    states = Counter(own["state"].to_pylist())
    asked, repeats = _budget(study, tables), len(tables.trials) - len(own)
    of = f" of {asked}" if asked is not None and len(own) < asked else ""
    found = ", ".join(f"{count} {state}" for state, count in states.items())
    again = f"; and {repeats} repeat{'s' if repeats > 1 else ''}" if repeats else ""
    return f"{len(own)}{of}: {found}{again}" if found else f"0{of}"


def _hours(created: datetime, tables: Tables) -> float | None:
    """That a process drove the study; of an old one, from its start to the last thing that happened. None: nothing."""
    if tables.seconds:
        return round(tables.seconds / 3600, HOUR_DIGITS)
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


def _verdict(
    best: RankedTrial | None, ranking: Sequence[RankedTrial], tables: Tables, decisions: Sequence[Decision]
) -> str:
    if best is not None:
        return verdict_on(best, ranking, tables.samples, decisions)
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


def _where(folder: Path) -> str:
    """An address where the study is kept at one, and not that of this machine's copy."""
    if isinstance(place := place_of(folder.parent), str):
        return joined(place, folder.name)
    resolved = folder.resolve()
    return str(resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else resolved)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, SER_DIGITS)


def _one_line(text: str) -> str:
    return " ".join(text.split())
