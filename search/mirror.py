"""What a search leaves in its working folder, at the study's address soon after: a thread that pushes.

Each round, a few seconds apart, it fetches what trials read (reports are made of it), pushes what has changed, and only
then deletes checkpoints that are not needed any more: the journal at the address always names some that are there. A
trial's checkpoint is at the address before Tune tells the driver of it, so the journal never names one too early.

A store that cannot be reached costs nothing but time: all is on this machine's disk, and the next round tries again.
The search itself waits only as a trial ends, for what that has read (`settle`), and gives up after a few tries. The
journal is written whole each time, so rounds get longer apart as they take longer. Of many deletions each round does
some, several checkpoints at a time: the journal at the address does not fall behind because of them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from datasets.errors import StorageError, StudyError
from datasets.files import locked, write_atomically
from datasets.storage import TRANSFERS, Entry, Remote, fetched, retried
from results.study import ENGINE_FOLDER
from results.working_copy import CLAIMS_FOLDER, STOP_FILE, WorkingCopy, pull_lock
from search.claim import HEARTBEAT, Claim, Driver

BETWEEN, SHARE = 5.0, 10.0  # seconds between two rounds, at least so many times what one took: a tenth of the time
LONGEST = 60.0  # seconds between two tries while the store fails
LAST_TRIES = 8
MOST_DELETED = 200  # files and folders a round


class Mirror:
    """Pushes a study's working folder to its address, until it is closed.

    Args:
        copy: the folder and the address.
        claim: to the study; without it nothing is pushed.

    Attributes:
        say: tells the person.
        lost: why the study is not this process's any more.
        discarded: nothing of it is to be kept: it is not pushed.
    """

    def __init__(self, copy: WorkingCopy, claim: Claim) -> None:
        self.copy = copy
        self.claim = claim
        self.say: Callable[[str], None] = print
        self.lost: StudyError | None = None
        self.discarded = False
        self._fetches: list[str] = []
        self._deletions: deque[str] = deque()
        self._queue, self._round, self._fetching = threading.Lock(), threading.Lock(), threading.Lock()
        self._closing, self._closed = threading.Event(), threading.Event()
        self._failing = False
        name = copy.folder.name
        self._threads = [
            threading.Thread(target=self._run, name=f"mirror of {name}", daemon=True),
            threading.Thread(target=self._live, name=f"claim to {name}", daemon=True),
        ]

    @property
    def remote(self) -> Remote:
        """Where the study is."""
        return self.copy.remote

    def start(self) -> None:
        """Begin to push."""
        for thread in self._threads:
            thread.start()

    def fetch(self, name: str) -> None:
        """Have a file brought here, soon."""
        with self._queue:
            self._fetches.append(name)

    def delete(self, name: str) -> None:
        """Have a file or, if it ends in `/`, a folder deleted there and here, once the journal says so there."""
        with self._queue:
            self._deletions.append(name)

    def size(self, folder: str, without: Collection[str] = ()) -> int:
        """Bytes of a checkpoint at the address, but for some of its files; 0 where the store cannot say."""
        try:
            there = self.remote.at(folder).files()
        except StorageError:
            return 0
        return sum(entry.size for name, entry in there.items() if name not in without)

    def checkpoint_files(self) -> dict[str, Entry]:
        """The files of all checkpoints at the address, by their names in the study.

        Raises:
            StorageError: it cannot be read.
        """
        there = retried(self.remote.at(ENGINE_FOLDER).files)
        return {f"{ENGINE_FOLDER}/{name}": entry for name, entry in there.items()}

    def settle(self) -> None:
        """Bring now what is to be brought; what cannot be is left for later."""
        try:
            self._fetch()
        except (StorageError, OSError) as error:
            self.say(f"not brought here: {error}")

    def discard(self) -> None:
        """Keep nothing of the study at the address; what cannot be deleted there stays.

        The claim goes when the mirror is closed.
        """
        self.discarded = True
        with self._round, suppress(StorageError):
            for name in self.remote.files():
                if not name.startswith(f"{CLAIMS_FOLDER}/"):
                    self.remote.delete(name)

    def close(self) -> None:
        """Push the last, and end.

        Raises:
            StorageError: it could not be written; it is all on this machine.
            StudyError: another process drives the study.
        """
        self._closing.set()
        self._threads[0].join()
        try:
            if not self.discarded:
                with self._round:
                    retried(lambda: self._push(None), LAST_TRIES)
        except StorageError as error:
            name = self.copy.folder.name
            raise StorageError(
                f"{error}; what was not written there is safe in {self.copy.folder}: resume={name} on this machine "
                "goes on from it, and writes it"
            ) from None
        finally:
            self._closed.set()
            self._threads[1].join()

    def _run(self) -> None:
        pause = BETWEEN
        while not self._closing.wait(pause):
            began = time.monotonic()
            try:
                with self._round:
                    if not self.discarded:
                        self._push()
            except StudyError:
                return
            except Exception as error:  # of the store, the disk; the thread outlives them all
                pause = min(LONGEST, 2 * pause)
                if not self._failing:
                    self.say(f"not pushed, and tried again: {error}")
                self._failing = True
                continue
            if self._failing:
                self.say(f"pushed again to {self.remote.address}")
            self._failing = False
            pause = max(BETWEEN, SHARE * (time.monotonic() - began))

    def _live(self) -> None:
        """Renew the claim, however long a round takes, and end the search if it is lost."""
        while not self._closed.wait(HEARTBEAT):
            try:
                self.claim.renew()
            except StudyError as error:
                self.lost = error
                self.say(str(error))
                if callable(signal.getsignal(signal.SIGUSR2)):  # a search runs, and not just its beginning or end
                    os.kill(os.getpid(), signal.SIGUSR2)  # as stop=NAME now=true
                return
            except Exception:  # of the store: the next one may succeed, long before the claim lapses
                continue

    def _push(self, most: int | None = MOST_DELETED) -> None:
        """One round.

        Args:
            most: deletions; None is all of them.

        Raises:
            StudyError: the study is another process's.
            StorageError, OSError: it broke off, and the next one goes on.
        """
        if self.lost is not None:
            raise self.lost
        self._look_for_stop()
        with self._queue:
            deletions = list(itertools.islice(self._deletions, most))
        self._fetch()
        self.copy.push()
        self._delete_first(deletions)

    def _fetch(self) -> None:
        with self._fetching:
            with self._queue:
                names = list(self._fetches)
            fetched(self.remote, names, self.copy.folder)
            with self._queue:
                del self._fetches[: len(names)]

    def _delete_first(self, names: Sequence[str]) -> None:
        """Delete the first of the queue, of one checkpoint in their order; what cannot be comes to its front again."""
        if not names:
            return
        checkpoints: dict[str, list[str]] = {}
        for name in names:
            checkpoints.setdefault(name.rpartition("/")[0], []).append(name)
        with ThreadPoolExecutor(min(TRANSFERS, len(checkpoints))) as pool:
            tried = list(pool.map(self._delete_in_order, checkpoints.values()))
        with self._queue:
            for _ in names:
                self._deletions.popleft()
            self._deletions.extendleft(reversed([name for left, _ in tried for name in left]))
        for _, error in tried:
            if error is not None:
                raise error

    def _delete_in_order(self, names: Sequence[str]) -> tuple[Sequence[str], Exception | None]:
        """What is left of the names, and why."""
        for done, name in enumerate(names):
            if self.lost is not None:
                return names[done:], self.lost
            try:
                self._delete(name)
            except Exception as error:  # of the store, the disk
                return names[done:], error
        return [], None

    def _delete(self, name: str) -> None:
        if name.endswith("/"):
            self.remote.delete_folder(name.rstrip("/"))
            shutil.rmtree(self.copy.folder / name, ignore_errors=True)  # what was fetched into it after it was deleted
        else:
            self.remote.delete(name)

    def _look_for_stop(self) -> None:
        if (text := self.remote.read(STOP_FILE)) is not None:
            write_atomically(self.copy.folder / STOP_FILE, text)
            self.remote.delete(STOP_FILE)


@contextmanager
def mirrored(folder: Path, remote: Remote, driver: Driver, force: bool) -> Iterator[Mirror]:
    """Drive the study at an address: claim it, bring what is there, and push until the block ends.

    Raises:
        StudyError: another process drives it.
        StorageError: the address cannot be read or written.
    """
    claim = Claim(remote, driver)
    try:
        claim.take(force)
        copy = WorkingCopy(folder, remote)
        with locked(pull_lock(folder), on_wait=lambda: None):
            copy.pull()
        retried(lambda: remote.delete(STOP_FILE))
        mirror = Mirror(copy, claim)
        mirror.start()
        try:
            yield mirror
        except BaseException:
            try:
                mirror.close()
            except (StorageError, StudyError) as problem:  # what ended the block matters more
                print(problem)
            raise
        mirror.close()
    finally:
        with suppress(StorageError):  # it lapses
            claim.release()
