"""Looking after studies from another terminal: `list`, `status=NAME`, `stop=NAME`."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console as Screen
from rich.table import Table

from datasets.errors import OmrError, StudyError
from results.journal import Event, SessionEnded, read
from results.replay import Replay, TrialHistory
from results.study import DEFAULT_STUDIES, EVENTS_FILE, STUDY_FILE, find_study, read_study
from results.verdict import percent
from search.disk import GIGABYTE, bytes_under
from search.lock import Driver, driver
from search.resume import MORE


@dataclass(frozen=True)
class ManageConfig:
    """Attributes.

    name: of the study.
    studies: folder of the studies.
    now: stop without waiting for epochs to end; what they have trained since the last one is lost.
    """

    name: str = ""
    studies: str = DEFAULT_STUDIES
    now: bool = False


def show_list(config: ManageConfig) -> None:
    """Print every study, the newest first: its state, its trials, its best SER, its size."""
    folders = sorted(Path(config.studies).glob(f"*/{STUDY_FILE}"), key=lambda file: -file.stat().st_mtime)
    if not folders:
        print(f"no study yet in {config.studies}")
        return
    table = Table(box=None, padding=(0, 1))
    for heading in ("study", "begun", "state", "trials", "best SER", "GB"):
        table.add_column(heading, justify="right" if heading in ("best SER", "GB") else "left")
    for file in folders:
        table.add_row(*_row(file.parent))
    Screen(highlight=False, soft_wrap=True).print(table)


def show_status(config: ManageConfig) -> None:
    """Print where a study stands, trial by trial, and what to do next.

    Raises:
        StudyError: no such study, or a damaged one.
    """
    folder = find_study(Path(config.studies), config.name)
    record, events = read_study(folder), list(read(folder / EVENTS_FILE))
    replay = Replay(events)
    budget = replay.sessions[-1].budget if replay.sessions else {}
    limits = ", ".join(f"{limit:g} {kind}" for kind, limit in budget.items() if limit is not None)
    found = driver(folder)
    print(f"{config.name:<10} {_state(found, events)}" + (f" ({found})" if found else ""))
    print(f"{'used':<10} {_used(replay)}" + (f"; budget {limits}" if limits else ""))
    table = Table(box=None, padding=(0, 1))
    for heading in ("trial", "state", "epoch", "SER", "last heard of", "what"):
        table.add_column(heading, justify="left" if heading in ("state", "what") else "right")
    running = found is not None
    for trial in replay.trials():
        table.add_row(*_trial_row(trial, record.max_epochs, running))
    Screen(highlight=False, soft_wrap=True).print(table)
    if not running:
        more = MORE.get(events[-1].outcome) if events and isinstance(events[-1], SessionEnded) else None
        print(f"to go on   python -m search.run resume={config.name}" + (f" with more: {more}" if more else ""))


def stop(config: ManageConfig) -> None:
    """Tell the process that drives a study to end: with its trials' epochs, or now. To say it twice changes nothing.

    Raises:
        StudyError: nobody drives it, or a process on another machine does, or it may not be told.
    """
    folder = find_study(Path(config.studies), config.name)
    found = driver(folder)
    if found is None:
        raise StudyError(f"study={config.name} is not running")
    if found.host != socket.gethostname() or not found.pid:
        raise StudyError(f"study={config.name} is driven by {found}; stop it there")
    try:
        os.kill(found.pid, signal.SIGUSR2 if config.now else signal.SIGUSR1)
    except OSError as error:  # it has just ended, or belongs to somebody else
        raise StudyError(f"study={config.name}: {found} could not be told ({error.strerror})") from None
    how = "now" if config.now else "with the epochs that its trials are in"
    print(f"{config.name} ends {how} ({found})")


def _row(folder: Path) -> tuple[str, ...]:
    try:
        record, events = read_study(folder), list(read(folder / EVENTS_FILE))
        trials = Replay(events).trials()
    except OmrError as error:
        return (folder.name, "", f"damaged: {error}", "", "", "")
    own = [trial for trial in trials if trial.start.repeats is None]
    done = [trial.sers[-1] for trial in own if trial.state == "completed" and trial.epochs[-1] == record.max_epochs]
    states = Counter(trial.state for trial in own)
    return (
        folder.name,
        record.created[:16].replace("T", " "),
        _state(driver(folder), events),
        ", ".join(f"{count} {state}" for state, count in states.items()),
        percent(min(done, default=None)),
        f"{bytes_under(folder) / GIGABYTE:.2f}",
    )


def _state(found: Driver | None, events: list[Event]) -> str:
    """Running, if anybody drives it, or how it ended."""
    if found is not None:
        return "running"
    if not events:
        return "not begun"
    last = events[-1]
    return last.outcome if isinstance(last, SessionEnded) else "died; resume goes on"


def _used(replay: Replay) -> str:
    own = [trial for trial in replay.trials() if trial.start.repeats is None]
    again = len(replay.trials()) - len(own)
    parts = [
        f"{len(own)} trials" + (f" and {again} again with other seeds" if again else ""),
        f"{replay.reports} epochs",
        f"{replay.seconds / 3600:.2f} hours",
    ]
    return ", ".join([*parts, *([f"{replay.gpu_seconds / 3600:.2f} GPU hours"] if replay.gpu_seconds else [])])


def _trial_row(trial: TrialHistory, max_epochs: int, running: bool) -> tuple[str, ...]:
    state = "died" if trial.state == "running" and not running else trial.state
    start = trial.start
    what = f"trial {start.repeats} with another seed" if start.repeats is not None else start.origin
    reached = trial.epochs[-1] if trial.epochs else 0
    moment = datetime.fromtimestamp(trial.heard, UTC).isoformat(" ", "seconds")[:19]
    return (
        str(start.number),
        state,
        f"{reached}/{max_epochs}",
        percent(trial.sers[-1] if trial.sers else None),
        moment,
        what,
    )
