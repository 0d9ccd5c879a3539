"""The process that drives a study: which one it is, on whatever machine, and whether it is known to be dead."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BOOT, PIDS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Driver:
    """A process that drives a study.

    Attributes:
        pid: its id, on its host.
        host: its name; containers on several machines, or several on one, may have the same.
        since: when it began, ISO 8601, UTC.
        boot, pids: which start of which kernel, and which of its lists of processes; empty where the system has none.
    """

    pid: int
    host: str
    since: str
    boot: str = ""
    pids: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @classmethod
    def this(cls) -> Driver:
        """This process, from now on."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), since, *_processes())

    @property
    def is_here(self) -> bool:
        """Whether its id is that of a process, or of none, that this one can see."""
        return bool(self.pid) and self.host == socket.gethostname() and (self.boot, self.pids) == _processes()

    @property
    def is_gone(self) -> bool:
        """Whether it is known to be dead: only of a process that this one would see."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@functools.cache
def _processes() -> tuple[str, str]:
    """Which start of which kernel this is, and which of its lists of processes this one is in."""
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    try:
        pids = str(PIDS.readlink())
    except OSError:
        pids = ""
    return boot, pids
