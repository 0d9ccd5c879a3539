"""One process at a time drives a study: a lock that goes with the process, however that ends.

It holds on one machine, and on several that share a folder whose file system passes locks on, as NFS does from version
4. A study at an address is claimed there, too (`search.claim`), and mirrored as long as it is driven.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from datasets.errors import StudyError
from datasets.storage import remote_of
from results.working_copy import LOCK_FILE, STOP_FILE, is_driven_here
from search.claim import driver_at
from search.driver import Driver
from search.mirror import Mirror, mirrored

UNKNOWN = '{"pid": 0, "host": "an unknown host", "since": "this moment"}'  # it has the lock, and has not signed it yet
TRIES, PAUSE = 10, 0.03  # who asks whether anybody drives a study (`driver`) has the lock for a moment


@contextmanager
def driving(study: Path, force: bool = False) -> Iterator[Mirror | None]:
    """Be the one that drives the study in a folder; what mirrors it where it is kept at an address.

    Args:
        force: take a study at an address from whoever drives it on another machine, which takes half a minute.

    Raises:
        StudyError: another process is.
        StorageError: its address cannot be read or written.
        OSError: the folder cannot be written to.
    """
    with (study / LOCK_FILE).open("a+", encoding="utf-8") as file:
        if not any(_locked(file) for _ in range(TRIES)):
            raise StudyError(
                f"study={study.name} is running already ({driver(study) or 'by another process'}); "
                f"`python -m search.run status={study.name}` shows it, stop={study.name} ends it"
            )
        file.truncate(0)
        this, remote = Driver.this(), remote_of(study)
        file.write(json.dumps(asdict(this)))
        file.flush()
        (study / STOP_FILE).unlink(missing_ok=True)  # it was for somebody before
        if remote is None:
            yield None
            return
        with mirrored(study, remote, this, force) as mirror:
            yield mirror


def driver(study: Path) -> Driver | None:
    """The process that drives a study now; None if none does, whatever became of the last one."""
    if is_driven_here(study):
        return Driver(**json.loads((study / LOCK_FILE).read_text(encoding="utf-8") or UNKNOWN))
    remote = remote_of(study)
    return None if remote is None else driver_at(remote)


def _locked(file: TextIO) -> bool:
    """Lock a file for this process alone; if another one has it, wait a moment."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(PAUSE)
        return False
    return True
