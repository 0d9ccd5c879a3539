"""One process at a time drives a study at an address, wherever it runs.

An object store has no lock that goes with a process, and not every one can write on a condition. So each driver writes
a claim of its own, `claims/ID.json`, and only then looks for others: of two that come at once, the one that looks last
sees the other, and whoever sees another withdraws. A claim is written anew every few seconds; one that has not been
for minutes is of a driver that died, and so is one of this host whose process is gone. Who takes a study goes by the
store's own clock, as it has just written there; who only asks who has it (`driver_at`) goes by its machine's.

A driver may have been cut off, or asleep with its machine, for so long that another one has taken its study. So before
it writes or deletes anything there, it looks when it last renewed its claim, and renews it first if that is not just
now (`Claim.hold`): long before a claim lapses, nothing is written on the strength of it any more.

`force=true` takes a study from another driver. That one finds its claim named in ours, or gone, and ends. Until it has
looked it goes on pushing and deleting, so who takes the study waits for that long before it reads what is there.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from datasets.errors import StorageError, StudyError
from datasets.storage import Entry, Remote, retried
from results.working_copy import CLAIMS_FOLDER
from search.driver import Driver

HEARTBEAT, STALE = 20.0, 180.0  # seconds between two writings of a claim, and after which it is a dead one's
DOUBTFUL = 2 * HEARTBEAT  # seconds since a claim was renewed, after which nothing is written before it is again
HANDOVER = HEARTBEAT + 5.0  # seconds until a driver that lives has seen that the study is another's
WITHDRAWALS, PAUSE = 4, 1.0
SECOND = 1e9


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
        lost: why the study is not this driver's any more.
        on_loss: is called once, by whichever thread finds out.
    """

    remote: Remote
    driver: Driver
    over: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"{uuid.uuid4().hex}.json")
    lost: StudyError | None = None
    on_loss: Callable[[StudyError], None] | None = None
    _renewed: tuple[float, float] = (0.0, 0.0)
    _renewing: threading.Lock = field(default_factory=threading.Lock)

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
            self._renewed = _now()
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
        with self._renewing:
            if self.lost is not None:
                raise self.lost
            began = _now()  # the process may stand still between what follows, for hours
            taken = [rival for rival in self._rivals() if self.name in rival.over]
            if taken or retried(lambda: self._folder.entry(self.name)) is None:
                by = f"{taken[0].driver}" if taken else "another process"
                self.lost = StudyError(f"{self.remote.address}: {by} has taken the study over; this one ends")
                if self.on_loss is not None:
                    self.on_loss(self.lost)
                raise self.lost
            self._write()
            self._renewed = began

    def hold(self) -> None:
        """Be sure that the study is this driver's: to be called before anything is written or deleted there.

        Raises:
            StudyError, StorageError: as `renew`.
        """
        if self.lost is not None:
            raise self.lost
        if any(now - then > DOUBTFUL for now, then in zip(_now(), self._renewed, strict=True)):
            self.renew()

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


@contextmanager
def claimed(remote: Remote, driver: Driver, force: bool) -> Iterator[Claim]:
    """Have the study at an address, and say so every few seconds, however long anything takes, until the block ends.

    Raises:
        StudyError, StorageError: as `Claim.take`.
    """
    claim, over = Claim(remote, driver), threading.Event()
    heart = threading.Thread(target=_beat, args=(claim, over), name=f"claim to {remote.root}", daemon=True)
    try:
        claim.take(force)
        heart.start()
        yield claim
    finally:
        over.set()
        if heart.ident is not None:
            heart.join()
        with suppress(StorageError):  # it lapses
            claim.release()


def _beat(claim: Claim, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT):
        try:
            claim.renew()
        except StudyError:
            return
        except Exception:  # of the store: the next one may succeed, long before the claim lapses
            continue


def _now() -> tuple[float, float]:
    """Seconds, by a clock that goes on while the machine sleeps, and by one that nobody sets."""
    return time.time(), time.monotonic()


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
