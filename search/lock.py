"""One process at a time drives a study: a lock that goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from datasets.errors import StudyError

LOCK_FILE = "lock"
UNKNOWN = '{"pid": 0, "host": "an unknown host", "since": "this moment"}'  # it has the lock, and has not signed it yet
TRIES, PAUSE = 10, 0.03  # who asks whether anybody drives a study (`driver`) has the lock for a moment


@dataclass(frozen=True)
class Driver:
    """The process that drives a study: its id on its host, and since when (ISO 8601, UTC)."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def driving(study: Path) -> Iterator[None]:
    """Be the one that drives the study in a folder.

    Raises:
        StudyError: another process is.
        OSError: the folder cannot be written to.
    """
    with (study / LOCK_FILE).open("a+", encoding="utf-8") as file:
        if not any(_locked(file) for _ in range(TRIES)):
            raise StudyError(
                f"study={study.name} is running already ({driver(study) or 'by another process'}); "
                f"`python -m search.run status={study.name}` shows it, stop={study.name} ends it"
            )
        file.truncate(0)
        this = Driver(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
        file.write(json.dumps(asdict(this)))
        file.flush()
        yield


def driver(study: Path) -> Driver | None:
    """The process that drives a study now; None if none does, whatever became of the last one."""
    try:
        with (study / LOCK_FILE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Driver(**json.loads(file.read() or UNKNOWN))
    except FileNotFoundError:  # nobody ever has
        pass
    return None


def _locked(file: TextIO) -> bool:
    """Lock a file for this process alone; if another one has it, wait a moment."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(PAUSE)
        return False
    return True
