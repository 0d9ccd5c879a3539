"""What a search leaves in its working folder, at the study's address soon after: a thread that pushes.

Each round, a few seconds apart, it fetches what trials read (reports are made of it), pushes what has changed, and only
then deletes checkpoints that are not needed any more: the journal at the address always names some that are there. A
trial's checkpoint is at the address before Tune tells the driver of it, so the journal never names one too early.

A store that cannot be reached costs nothing but time: all is on this machine's disk, and the next round tries again.
The search itself waits only as a trial ends, for what that has read (`settle`), and gives up after a few tries. What
cannot be fetched keeps nothing from being pushed. The journal is written whole each time, so rounds get longer apart as
they take longer. Of many deletions each round does some, several checkpoints at a time: the journal at the address does
not fall behind because of them. Before each file that is written or deleted, the claim is held (`search.claim`).
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datasets.errors import StorageError, StudyError
from datasets.files import write_atomically
from datasets.storage import TRANSFERS, Entry, Remote, retried
from results.study import ENGINE_FOLDER
from results.working_copy import CLAIMS_FOLDER, STOP_FILE, WorkingCopy, alone
from search.claim import Claim, claimed
from search.driver import Driver

BETWEEN, SHARE = 5.0, 10.0  # seconds between two rounds, at least so many times what one took: a tenth of the time
LONGEST = 60.0  # seconds between two tries while the store fails
LAST_TRIES = 8
MOST_CLEARED = 100  # checkpoints of which something is deleted, a round


class Mirror:
    """Pushes a study's working folder to its address, until it is closed.

    Args:
        copy: the folder and the address.
        claim: to the study; without it nothing is pushed.

    Attributes:
        say: tells the person.
        discarded: nothing of it is to be kept: it is not pushed.
    """

    def __init__(self, copy: WorkingCopy, claim: Claim) -> None:
        self.copy = copy
        self.claim = claim
        self.say: Callable[[str], None] = print
        self.discarded = False
        claim.on_loss = self._end_search
        self._fetches: list[str] = []
        self._deletions: dict[str, list[str]] = {}  # by checkpoint, in the order in which its files are to go
        self._queue, self._round, self._fetching = threading.Lock(), threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"mirror of {copy.folder.name}", daemon=True)

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep those who ask for what trials have read with the experiment, which nobody ever reads."""
        return {}

    @property
    def remote(self) -> Remote:
        """Where the study is."""
        return self.copy.remote

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def fetch(self, name: str) -> None:
        """Have a file brought here, soon."""
        with self._queue:
            self._fetches.append(name)

    def delete(self, name: str) -> None:
        """Have a file or, if it ends in `/`, a folder deleted there and here, once the journal says so there."""
        with self._queue:
            self._deletions.setdefault(name.rpartition("/")[0], []).append(name)

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
        if (problem := self._fetch()) is not None:
            self.say(f"not brought here: {problem}")

    def catch_up(self) -> int:
        """Push now what an earlier session could not; how many files that were.

        Raises:
            StudyError: another process drives the study.
            StorageError, OSError: it could not be written, or be read here.
        """
        with self._round:
            return retried(lambda: self.copy.push(self.claim.hold))

    def discard(self) -> None:
        """Keep nothing of the study at the address; what cannot be deleted there stays.

        The claim goes when the mirror is closed.
        """
        self.discarded = True
        with self._round, suppress(StorageError, StudyError):
            for name in self.remote.files():
                if not name.startswith(f"{CLAIMS_FOLDER}/"):
                    self.claim.hold()
                    self.remote.delete(name)

    def close(self) -> None:
        """Push the last, and end.

        Raises:
            StorageError: it could not be written, or not be read here; it is all on this machine.
            StudyError: another process drives the study.
        """
        self._closing.set()
        self._thread.join()
        if self.discarded:
            return
        try:
            with self._round:
                retried(lambda: self._push(None), LAST_TRIES)
        except (StorageError, OSError) as error:
            name = self.copy.folder.name
            raise StorageError(
                f"{error}; what was not written there is safe in {self.copy.folder}: resume={name} on this machine "
                "goes on from it, and writes it"
            ) from None

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

    def _end_search(self, lost: StudyError) -> None:
        self.say(str(lost))
        if callable(signal.getsignal(signal.SIGUSR2)):  # a search runs, and not just its beginning or end
            os.kill(os.getpid(), signal.SIGUSR2)  # as stop=NAME now=true

    def _push(self, most: int | None = MOST_CLEARED) -> None:
        """One round.

        Args:
            most: checkpoints to delete something of; None is all of them.

        Raises:
            StudyError: the study is another process's.
            StorageError, OSError: something could not be done, and the next round tries it again.
        """
        self.claim.hold()
        self._look_for_stop()
        with self._queue:
            needless = {folder: tuple(names) for folder, names in itertools.islice(self._deletions.items(), most)}
        unfetched = self._fetch()
        self.copy.push(self.claim.hold)
        self._delete(needless)
        if unfetched is not None:
            raise unfetched

    def _fetch(self) -> Exception | None:
        """Bring what is to be brought; what cannot be is kept for the next time, and why is told."""
        with self._fetching:
            with self._queue:
                names = list(dict.fromkeys(self._fetches))
                self._fetches.clear()
            failed = _failures(self._fetch_one, names)
            with self._queue:
                self._fetches += failed
        return next(iter(failed.values()), None)

    def _fetch_one(self, name: str) -> None:
        retried(lambda: self.remote.download(name, self.copy.folder / name))

    def _delete(self, needless: Mapping[str, Sequence[str]]) -> None:
        """Delete what is at the front of the queue; what cannot be stays there."""
        for error in _failures(lambda folder: self._delete_in_order(folder, needless[folder]), needless).values():
            raise error

    def _delete_in_order(self, folder: str, names: Sequence[str]) -> None:
        for name in names:
            self.claim.hold()
            self._delete_one(name)
            with self._queue:
                self._deletions[folder].remove(name)
                if not self._deletions[folder]:
                    del self._deletions[folder]

    def _delete_one(self, name: str) -> None:
        if name.endswith("/"):
            self.remote.delete_folder(name.rstrip("/"))
            shutil.rmtree(self.copy.folder / name, ignore_errors=True)  # what was fetched into it after it was deleted
        else:
            self.remote.delete(name)

    def _look_for_stop(self) -> None:
        if (text := self.remote.read(STOP_FILE)) is not None:
            write_atomically(self.copy.folder / STOP_FILE, text)
            self.remote.delete(STOP_FILE)


def _failures(action: Callable[[str], None], names: Iterable[str]) -> dict[str, Exception]:
    """Do it to all of them, many at a time; with which it failed, and why."""

    def tried(name: str) -> Exception | None:
        try:
            action(name)
        except Exception as error:  # of the store, the disk
            return error
        return None

    with ThreadPoolExecutor(TRANSFERS) as pool:
        return {name: error for name, error in zip(names, pool.map(tried, names), strict=True) if error is not None}


@contextmanager
def mirrored(folder: Path, remote: Remote, driver: Driver, force: bool) -> Iterator[Mirror]:
    """Drive the study at an address: claim it, bring what is there, and push until the block ends.

    Raises:
        StudyError: another process drives it.
        StorageError: the address cannot be read or written.
    """
    with claimed(remote, driver, force) as claim:
        copy = WorkingCopy(folder, remote)
        with alone(folder):
            copy.pull()
        mirror = Mirror(copy, claim)
        claim.hold()
        retried(lambda: remote.delete(STOP_FILE))
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
