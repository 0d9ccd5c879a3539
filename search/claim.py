"""One process at a time drives a study at an address, wherever it runs.

An object store has no lock that goes with a process, and not every one can write on a condition. So each driver writes
a claim of its own, `claims/ID.json`, and only then looks for others: of two that come at once, the one that looks last
sees the other, and whoever sees another withdraws. A claim is written anew every few seconds; one that has not been
for minutes is of a driver that died, and so is one of this host whose process is gone. Who takes a study goes by the
store's own clock, as it has just written there; who only asks who has it (`driver_at`) goes by its machine's.

`force=true` takes a study from another driver. That one finds its claim named in ours, or gone, and ends. Until it has
looked it goes on pushing and deleting, so who takes the study waits for that long before it reads what is there.
"""

from __future__ import annotations

import functools
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from datasets.errors import StudyError
from datasets.storage import Entry, Remote, retried
from results.working_copy import CLAIMS_FOLDER

HEARTBEAT, STALE = 20.0, 180.0  # seconds between two writings of a claim, and after which it is a dead one's
HANDOVER = HEARTBEAT + 5.0  # seconds until a driver that lives has seen that the study is another's
WITHDRAWALS, PAUSE = 4, 1.0
BOOT, PIDS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
SECOND = 1e9


@dataclass(frozen=True)
class Driver:
    """The process that drives a study.

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


@dataclass(frozen=True)
class Rival:
    """Another claim: the object's name, who has written it, which claims it took the study from, seconds ago."""

    name: str
    driver: Driver
    over: tuple[str, ...]
    age: float

    @property
    def is_alive(self) -> bool:
        return self.age < STALE and not self.driver.is_gone


@dataclass
class Claim:
    """A claim to drive the study in a folder at an address.

    Attributes:
        remote: the study's folder.
        driver: who claims it.
        over: the claims that it was taken from.
    """

    remote: Remote
    driver: Driver
    over: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"{uuid.uuid4().hex}.json")

    def take(
        self,
        force: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = print,
    ) -> None:
        """Claim the study.

        Args:
            force: take it from whoever has it, and wait until that one has seen it.
            say: tells the person.

        Raises:
            StudyError: another process has it.
            StorageError: the address cannot be written.
        """
        for attempt in range(WITHDRAWALS):
            self._write()
            rivals = self._rivals()
            alive = [rival for rival in rivals if rival.is_alive]
            removed = [rival.name for rival in rivals if force or rival not in alive]
            for name in removed:
                self._remove(name)
            self.over = tuple(dict.fromkeys([*self.over, *removed]))
            study = self.remote.root.rpartition("/")[2]
            if force or not alive:
                if removed:
                    self._write()  # one that was only asleep may be about to write its claim again
                if alive:
                    say(f"study={study} is taken from {alive[0].driver}; going on in {HANDOVER:g} s, when it knows")
                    sleep(HANDOVER)
                return
            self._remove(self.name)
            if attempt + 1 == WITHDRAWALS or any(rival.driver.since < self.driver.since for rival in alive):
                raise StudyError(
                    f"study={study} is driven by {alive[0].driver}; status={study} shows it, stop={study} ends it. If "
                    f"that process is dead, its claim lapses after {STALE / 60:g} minutes; resume={study} force=true "
                    "takes the study from it now"
                )
            sleep(PAUSE * random.uniform(0.5, 1.5))

    def renew(self) -> None:
        """Say that this driver lives.

        Raises:
            StudyError: another process has taken the study.
            StorageError: the address cannot be written.
        """
        taken = [rival for rival in self._rivals() if self.name in rival.over]
        if taken or retried(lambda: self._folder.entry(self.name)) is None:
            by = f"{taken[0].driver}" if taken else "another process"
            raise StudyError(f"{self.remote.address}: {by} has taken the study over (force=true); this one ends")
        self._write()

    def release(self) -> None:
        """Give the study back."""
        self._remove(self.name)

    @property
    def _folder(self) -> Remote:
        return self.remote.at(CLAIMS_FOLDER)

    def _write(self) -> None:
        text = json.dumps({**asdict(self.driver), "over": self.over})
        retried(lambda: self._folder.write(self.name, text.encode()))

    def _remove(self, name: str) -> None:
        retried(lambda: self._folder.delete(name))

    def _rivals(self) -> list[Rival]:
        there = retried(self._folder.files)
        now = there[self.name].mtime if self.name in there else time.time_ns()
        return [rival for rival in _read(self._folder, there, now) if rival.name != self.name]


def driver_at(remote: Remote) -> Driver | None:
    """The process that drives the study at an address now, by this machine's clock: nothing is written to ask.

    Raises:
        StorageError: the address cannot be read.
    """
    folder = remote.at(CLAIMS_FOLDER)
    alive = (one for one in _read(folder, retried(folder.files), time.time_ns()) if one.is_alive)
    return next((rival.driver for rival in alive), None)


def _read(folder: Remote, there: dict[str, Entry], now: int) -> Iterator[Rival]:
    for name, entry in sorted(there.items()):
        if not name.endswith(".json"):
            continue
        data = retried(lambda name=name: folder.read(name))  # type: ignore[misc]
        if data is None:
            continue  # it was withdrawn a moment ago
        fields = json.loads(data)
        over = tuple(fields.pop("over", ()))
        yield Rival(name, Driver(**fields), over, (now - entry.mtime) / SECOND)


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
