"""Looking after studies from another terminal: `list`, `status=NAME`, `stop=NAME`."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console as Screen
from rich.table import Table

from datasets.errors import OmrError, StudyError
from datasets.files import write_atomically
from datasets.storage import remote_of, retried
from omr_model.metrics import percent
from results.gather import standing
from results.journal import read
from results.replay import Replay, TrialHistory
from results.study import DEFAULT_STUDIES, EVENTS_FILE, find_study, read_study
from results.working_copy import STOP_FILE, bring_studies
from search.disk import GIGABYTE, bytes_under
from search.driver import Driver
from search.lines import counted
from search.lock import driver
from search.resume import MORE


@dataclass(frozen=True)
class ManageConfig:
    """Attributes.

    name: of the study.
    studies: folder of the studies, or an address.
    now: stop without waiting for epochs to end; what they have trained since the last one is lost.
    """

    name: str = ""
    studies: str = DEFAULT_STUDIES
    now: bool = False


def show_list(config: ManageConfig) -> None:
    """Print every study, the newest first: its state, its trials, its best SER, its size."""
    folders = bring_studies(config.studies)
    if not folders:
        print(f"no study yet in {config.studies}")
        return
    table = Table(box=None, padding=(0, 1))
    for heading in ("study", "begun", "state", "trials", "best SER", "GB"):
        table.add_column(heading, justify="right" if heading in ("best SER", "GB") else "left")
    for folder in folders:
        table.add_row(*_row(folder))
    Screen(highlight=False, soft_wrap=True).print(table)


def show_status(config: ManageConfig) -> None:
    """Print where a study stands, trial by trial, and what to do next.

    Raises:
        StudyError: no such study, or a damaged one.
    """
    folder = find_study(config.studies, config.name)
    record, replay = read_study(folder), Replay(read(folder / EVENTS_FILE))
    budget = replay.sessions[-1].budget if replay.sessions else {}
    limits = ", ".join(f"{limit:g} {kind}" for kind, limit in budget.items() if limit is not None)
    found = driver(folder)
    print(f"{config.name:<10} {_state(found, replay.begun, replay.outcome)}" + (f" ({found})" if found else ""))
    print(f"{'used':<10} {_used(replay)}" + (f"; budget {limits}" if limits else ""))
    table = Table(box=None, padding=(0, 1))
    for heading in ("trial", "state", "epoch", "SER", "last heard of", "what"):
        table.add_column(heading, justify="left" if heading in ("state", "what") else "right")
    running = found is not None
    for trial in replay.trials():
        table.add_row(*_trial_row(trial, record.max_epochs, running))
    Screen(highlight=False, soft_wrap=True).print(table)
    if not running:
        print(_how_to_go_on(config.name, replay.outcome))


def stop(config: ManageConfig) -> None:
    """Tell the process that drives a study to end: with its trials' epochs, or now. To say it twice changes nothing.

    One on another machine is left a file, which it looks for every few seconds.

    Raises:
        StudyError: nobody drives it, or it may not be told.
    """
    folder = find_study(config.studies, config.name)
    found = driver(folder)
    if found is None:
        raise StudyError(f"study={config.name} is not running")
    how = "now" if config.now else "with the epochs that its trials are in"
    if not found.is_here:
        _leave_word(folder, config.now)
        print(f"{config.name} ends {how}, as soon as {found} reads {STOP_FILE}")
        return
    try:
        os.kill(found.pid, signal.SIGUSR2 if config.now else signal.SIGUSR1)
    except OSError as error:  # it has just ended, or belongs to somebody else
        raise StudyError(f"study={config.name}: {found} could not be told ({error.strerror})") from None
    print(f"{config.name} ends {how} ({found})")


def _how_to_go_on(name: str, outcome: str | None) -> str:
    """A command to paste."""
    resume, more = f"python -m search.run resume={name}", MORE.get(outcome or "")
    if more is None:
        return f"to go on   {resume}"
    word, _, what = more.partition(" ")
    return f"for more   {resume} {word} ({what})"


def _leave_word(folder: Path, now: bool) -> None:
    text, remote = json.dumps({"now": now}).encode(), remote_of(folder)
    if remote is None:
        write_atomically(folder / STOP_FILE, text)
    else:
        retried(lambda: remote.write(STOP_FILE, text))


def _row(folder: Path) -> tuple[str, ...]:
    try:
        record = read_study(folder)
        found = standing(folder, record)
    except OmrError as error:
        return (folder.name, "", f"damaged: {error}", "", "", "")
    rows = found.trials.select(["state", "epochs", "ser", "repeats"]).to_pylist()
    own = [row for row in rows if row["repeats"] is None]
    done = [row["ser"] for row in own if row["state"] == "completed" and row["epochs"] == record.max_epochs]
    driven = driver(folder)
    states = Counter(_trial_state(row["state"], driven is not None) for row in own)
    return (
        folder.name,
        record.created[:16].replace("T", " "),
        _state(driven, found.begun, found.outcome),
        ", ".join(f"{count} {state}" for state, count in states.items()),
        percent(min((ser for ser in done if ser is not None), default=None)),
        f"{_bytes(folder) / GIGABYTE:.2f}",
    )


def _bytes(folder: Path) -> int:
    remote = remote_of(folder)
    return bytes_under(folder) if remote is None else sum(entry.size for entry in retried(remote.files).values())


def _state(found: Driver | None, begun: bool, outcome: str | None) -> str:
    """Running, if anybody drives it, or how it ended."""
    if found is not None:
        return "running"
    if not begun:
        return "not begun"
    return "died; resume goes on" if outcome is None else outcome


def _trial_state(state: str, running: bool) -> str:
    """As the journal has it, but that nothing runs where nobody drives the search."""
    return "died" if state == "running" and not running else state


def _used(replay: Replay) -> str:
    own = [trial for trial in replay.trials() if trial.start.repeats is None]
    again = len(replay.trials()) - len(own)
    parts = [
        counted(len(own), "trial") + (f" and {again} again with other seeds" if again else ""),
        counted(replay.reports, "epoch"),
        f"{replay.seconds / 3600:.2f} hours",
    ]
    return ", ".join([*parts, *([f"{replay.gpu_seconds / 3600:.2f} GPU hours"] if replay.gpu_seconds else [])])


def _trial_row(trial: TrialHistory, max_epochs: int, running: bool) -> tuple[str, ...]:
    start = trial.start
    what = f"trial {start.repeats} with another seed" if start.repeats is not None else start.origin
    reached = trial.epochs[-1] if trial.epochs else 0
    moment = datetime.fromtimestamp(trial.heard, UTC).isoformat(" ", "seconds")[:19]
    return (
        str(start.number),
        _trial_state(trial.state, running),
        f"{reached}/{max_epochs}",
        percent(trial.sers[-1] if trial.sers else None),
        moment,
        what,
    )
