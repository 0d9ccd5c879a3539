"""A study that is kept at an address: the folder of this machine that every command works in, and how the two agree.

Who drives the study writes into its working folder as into any other, and pushes what has changed (`search.mirror`).
Every other command pulls, reads, and pushes back what it has written itself. What the rules are:

- A study's weights are not pulled: they go from the trial that writes them to the address, and from there to whoever
  trains on or exports (`bring_file`). What trials read on the validation staves comes, as reports are made of it.
- The journal decides who is ahead. If the one here goes on where the one at the address ends, this machine drove the
  study and died before it could push: it keeps what it has. If both are the same, what has changed here since it was
  last as it is there (`WorkingCopy.known`) is what a push that broke off left undone: it stays, and the next push
  writes it. Otherwise what is at the address counts; but what was never there is not deleted here.
- The journal is pushed after `study.json` and before what is made out of it: broken off anywhere, a push leaves a
  study that reads.
- What a person wrote and nothing can make again, the ratings, has an object each and outlasts everything else.
- Of the commands of one machine one at a time changes a study's folder and pushes it (`alone`).
- An object is not read again if size and time are those of the file here. A store's clock ticks in seconds, so a file
  that was read within the moment in which it was written has another time (`Remote.download`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from datasets.addresses import is_address, joined, working_folder
from datasets.errors import StudyError
from datasets.files import locked, write_atomically
from datasets.storage import TRANSFERS, Entry, Remote, fetched, remote_of, retried
from omr_model.layout import WEIGHTS
from results.manual import MANUAL_FOLDER
from results.samples import SAMPLES_FILE
from results.study import BEST_FOLDER, ENGINE_FOLDER, EVENTS_FILE, STUDY_FILE, find_study

LOCK_FILE, STOP_FILE, CLAIMS_FOLDER = "lock", "stop.json", "claims"
FIRST = (STUDY_FILE, EVENTS_FILE)
_ONNX = "onnx"
_KNOWN_FILE = ".stored"  # of this machine alone


class WorkingCopy:
    """The folder of a study, and its address.

    Attributes:
        known: size and time of each file here as the address has it; what differs is to be pushed. It is kept in the
            folder, so that what one process could not push the next one does.
    """

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder = folder
        self.remote = remote
        self.known = _read_known(folder / _KNOWN_FILE)

    def pull(self, names: Collection[str] = ()) -> None:
        """Make the folder what the address has, but for what is to be pushed.

        Args:
            names: these files alone, unless there is anything to be pushed.

        Raises:
            StorageError: the address cannot be read.
            StudyError: another study of this name is at the address, and not all of this one has been pushed.
            OSError: the disk is full, say.
        """
        if names and self._unpushed():
            names = ()  # else the journal of a later session came to stand beside what was made of an earlier one
        there = retried(self.remote.files) if not names else self._entries(names)
        there = {name: entry for name, entry in there.items() if is_mirrored(name) or is_read(name)}
        kept = self._kept(there)
        fetched(self.remote, [name for name in there if name not in kept and self._is_wanted(name, there)], self.folder)
        if there and not names:
            for name in self._files(checkpoints=True):
                if name not in there and name not in kept:
                    (self.folder / name).unlink(missing_ok=True)
        known = {}
        for name in self._files():
            as_before = name in kept or (names and name not in names)
            entry = self.known.get(name) if as_before else self._here(name)
            if entry is not None and (names or name in there):
                known[name] = entry
        self.known = known
        self._remember()

    def push(self, hold: Callable[[], None] = lambda: None) -> int:
        """Write what has changed here since, and delete what is gone; how many files that were.

        Args:
            hold: is called before each, and raises where the study may no longer be written.

        Raises:
            StorageError: the address cannot be written; the next push goes on.
        """
        here, changed = set(self._files()), 0
        try:
            for name in sorted(here, key=lambda one: (FIRST.index(one) if one in FIRST else len(FIRST), one)):
                entry = self._here(name)
                if entry is None or entry == self.known.get(name):
                    continue
                hold()
                try:
                    self.remote.upload(self.folder / name, name)
                except FileNotFoundError:
                    continue  # it was there a moment ago
                self.known[name] = entry  # as it was before it was read: what has changed since is pushed again
                changed += 1
            for name in self.known.keys() - here:
                hold()
                self.remote.delete(name)
                del self.known[name]
                changed += 1
        finally:
            if changed:
                self._remember()
        return changed

    def bring(self, name: str) -> None:
        """Bring a file that is not here, if it is there.

        Raises:
            StorageError, OSError: it cannot be read, or not be written here.
        """
        if retried(lambda: self.remote.download(name, self.folder / name)) and is_mirrored(name):
            if (entry := self._here(name)) is not None:
                self.known[name] = entry
            self._remember()

    def _unpushed(self) -> set[str]:
        """What is here and, as far as anybody remembers, not at the address."""
        return {name for name in self._files() if self._here(name) != self.known.get(name)}

    def _kept(self, there: Mapping[str, Entry]) -> set[str]:
        """The files whose version here stays."""
        unpushed = {name for name in self._unpushed() if self._here(name) != there.get(name)}
        if not there or self._is_ahead(there):
            return {name for name in self._files() if name in unpushed or not is_rating(name)}
        if not unpushed:
            return set()  # nearly always, and nothing need be read to see it
        if not self._is_this_study(there):
            raise StudyError(
                f"study={self.folder.name}: {self.remote.address} is another study of this name, and not all of the "
                f"one in {self.folder} was written anywhere else; move that folder away"
            )
        own, stored = self._contents(EVENTS_FILE, there)
        if own == stored:
            return unpushed
        return {name for name in unpushed if is_rating(name) or not (name in there or name in self.known)}

    def _is_wanted(self, name: str, there: Mapping[str, Entry]) -> bool:
        here = self._here(name)
        if here is None:
            return not is_weights(name)
        return here.size != there[name].size if is_read(name) else here != there[name]

    def _is_ahead(self, there: Mapping[str, Entry]) -> bool:
        """Whether the study at the address is this one, as it was some events ago."""
        own, stored = self._here(EVENTS_FILE), there.get(EVENTS_FILE)
        if own is None or own.size <= (stored.size if stored else 0) or not self._is_this_study(there):
            return False
        own_journal, journal = self._contents(EVENTS_FILE, there)
        return own_journal.startswith(journal)

    def _is_this_study(self, there: Mapping[str, Entry]) -> bool:
        own, record = self._contents(STUDY_FILE, there)
        return own == record or not own or not record

    def _contents(self, name: str, there: Mapping[str, Entry]) -> tuple[bytes, bytes]:
        """Of a file, here and there; nothing where there is none."""
        stored = retried(lambda: self.remote.read(name)) if name in there else None
        path = self.folder / name
        return path.read_bytes() if path.exists() else b"", stored or b""

    def _remember(self) -> None:
        text = json.dumps({name: [entry.size, entry.mtime] for name, entry in self.known.items()})
        with suppress(OSError):  # a full disk: what is known already is pushed again, and no more
            write_atomically(self.folder / _KNOWN_FILE, text.encode())

    def _entries(self, names: Collection[str]) -> dict[str, Entry]:
        with ThreadPoolExecutor(min(TRANSFERS, len(names))) as pool:
            found = pool.map(lambda name: (name, retried(lambda: self.remote.entry(name))), names)
            return {name: entry for name, entry in found if entry is not None}

    def _here(self, name: str) -> Entry | None:
        try:
            facts = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return Entry(facts.st_size, facts.st_mtime_ns)

    def _files(self, checkpoints: bool = False) -> list[str]:
        """What is here of what is pushed; with checkpoints, also of what is only pulled."""
        found = []
        for where, folders, names in os.walk(self.folder):
            if not checkpoints and Path(where) == self.folder and ENGINE_FOLDER in folders:
                folders.remove(ENGINE_FOLDER)
            found += [Path(where, name).relative_to(self.folder).as_posix() for name in names]
        return sorted(name for name in found if is_mirrored(name) or (checkpoints and is_read(name)))


def is_mirrored(name: str) -> bool:
    """Whether a file of a study is pushed: all but the checkpoints, which trials write to the address themselves, and
    what is of one machine or one moment."""
    parts = PurePosixPath(name).parts
    passing = any(part.startswith(".") for part in parts) or name.endswith(".lock") or name in (LOCK_FILE, STOP_FILE)
    return not passing and parts[0] not in (ENGINE_FOLDER, CLAIMS_FOLDER)


def is_read(name: str) -> bool:
    """Whether a file is one of the checkpoints' that reports are made of."""
    path = PurePosixPath(name)
    return path.parts[0] == ENGINE_FOLDER and path.name == SAMPLES_FILE


def is_weights(name: str) -> bool:
    """Whether a file is one that only those need who let the model read."""
    path = PurePosixPath(name)
    return path.name == WEIGHTS or (path.parts[0] == BEST_FOLDER and _ONNX in path.parts)


def is_rating(name: str) -> bool:
    """Whether a file is a person's rating."""
    return PurePosixPath(name).parts[0] == MANUAL_FOLDER


def is_driven_here(folder: Path) -> bool:
    """Whether a process of this machine drives the study in a folder."""
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except FileNotFoundError:
        pass
    return False


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Change a study's working folder while no other command of this machine does."""

    def say() -> None:
        print(f"study={folder.name}: another command of this machine is at work on it; this one waits", flush=True)

    with locked(folder.with_name(f".{folder.name}.pull"), on_wait=say):
        yield


def bring_study(studies: str | Path, name: str, names: Collection[str] = ()) -> Path:
    """The folder of a study; of one at an address with what is there now. It need not exist.

    Args:
        names: of the files that are needed; all that are read, where it is empty.

    Raises:
        ConfigError: no address that can be read.
        StorageError: the address cannot be read.
        StudyError: as `WorkingCopy.pull`.
    """
    folder = working_folder(studies) / name
    if not is_address(studies) or Path(name).name != name or not name or is_driven_here(folder):
        return folder  # who drives it here is ahead of the address
    remote = Remote.of(joined(str(studies), name))
    if retried(lambda: remote.entry(STUDY_FILE)) is None and not retried(remote.files):
        return folder
    with alone(folder):
        if not is_driven_here(folder):
            folder.mkdir(exist_ok=True)
            WorkingCopy(folder, remote).pull(names)
    return folder


def bring_studies(studies: str | Path) -> list[Path]:
    """The folders of all studies, the newest first; of those at an address with record and journal alone."""
    folders = []
    for name in study_names(studies):
        try:
            folders.append(bring_study(studies, name, FIRST))
        except StudyError as error:  # of one of them
            print(error)
            folders.append(working_folder(studies) / name)
    return sorted(folders, key=lambda folder: (-(folder / STUDY_FILE).stat().st_mtime, folder.name))


def study_names(studies: str | Path) -> list[str]:
    """The names of all studies, sorted."""
    if not is_address(studies):
        return sorted(file.parent.name for file in Path(studies).glob(f"*/{STUDY_FILE}"))
    remote = Remote.of(str(studies))
    names = retried(remote.folders)
    with ThreadPoolExecutor(TRANSFERS) as pool:
        there = pool.map(lambda name: retried(lambda: remote.entry(f"{name}/{STUDY_FILE}")) is not None, names)
        return [name for name, is_study in zip(names, there, strict=True) if is_study]


@contextmanager
def opened_study(studies: str | Path, name: str) -> Iterator[Path]:
    """The folder of a study, for a command that writes into it: what it has written is pushed when the block ends.

    Raises:
        StudyError: as `find_study`.
        StorageError: the address cannot be read or written; the next command that writes there pushes it, too.
    """
    folder = find_study(studies, name)
    remote = remote_of(folder) if is_address(studies) else None
    if remote is None:
        yield folder
        return
    with alone(folder):
        yield folder
        if not is_driven_here(folder):  # who drives it pushes this, too
            retried(WorkingCopy(folder, remote).push)


def bring_file(folder: Path, name: str) -> None:
    """Bring a file of a study that is not here, if the study is kept at an address and has it.

    Raises:
        StorageError, OSError: as `WorkingCopy.bring`.
    """
    remote = remote_of(folder)
    if remote is not None and not (folder / name).exists():
        WorkingCopy(folder, remote).bring(name)


def _read_known(path: Path) -> dict[str, Entry]:
    try:
        return {name: Entry(*facts) for name, facts in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # then nothing here is known to be there
