"""A study that is kept at an address: the folder of this machine that every command works in, and how the two agree.

Who drives the study writes into its working folder as into any other, and pushes what has changed (`search.mirror`).
Every other command pulls, reads, and pushes back what it has written itself. What the rules are:

- A study's weights are not pulled: they go from the trial that writes them to the address, and from there to whoever
  trains on or exports (`bring_file`). What trials read on the validation staves comes, as reports are made of it.
- The journal decides who is ahead. If the one here goes on where the one at the address ends, this machine drove the
  study and died before it could push: it keeps what it has. Otherwise what is at the address counts.
- The journal is pushed after `study.json` and before what is made out of it: broken off anywhere, a push leaves a
  study that reads.
- What a person wrote and nothing can make again, `manual.json`, outlasts a push that failed: as long as it is not what
  this machine last read or wrote at the address, the next pull leaves it, and the next push writes it.
- An object is not read again if size and time are those of the file here. A store's clock ticks in seconds, so a file
  that was read within the moment in which it was written has another time (`Remote.download`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from datasets.files import locked, write_atomically
from datasets.storage import TRANSFERS, Entry, Remote, fetched, is_address, joined, remote_of, retried, working_folder
from omr_model.layout import WEIGHTS
from results.manual import MANUAL_FILE
from results.samples import SAMPLES_FILE
from results.study import BEST_FOLDER, ENGINE_FOLDER, EVENTS_FILE, STUDY_FILE, find_study, no_study

LOCK_FILE, STOP_FILE, CLAIMS_FOLDER = "lock", "stop.json", "claims"
FIRST = (STUDY_FILE, EVENTS_FILE)
_ONNX = "onnx"
_AGREED = f".{MANUAL_FILE}.stored"  # what `manual.json` was when it last was here as there; on this machine alone


class WorkingCopy:
    """The folder of a study, and its address.

    Attributes:
        known: size and time of each file here as the address has it; what differs is to be pushed.
    """

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder = folder
        self.remote = remote
        self.known: dict[str, Entry] = {}

    def pull(self, names: Collection[str] = ()) -> None:
        """Make the folder what the address has, unless this machine is ahead of it.

        Args:
            names: these files alone.

        Raises:
            StorageError: the address cannot be read.
            OSError: the disk is full, say.
        """
        there = retried(self.remote.files) if not names else self._entries(names)
        there = {name: entry for name, entry in there.items() if is_mirrored(name) or is_read(name)}
        weights = {name for name in there if is_weights(name)}
        if not there or self._is_ahead(there):
            self.known = {name: entry for name, entry in there.items() if is_mirrored(name)}
            return
        kept = {MANUAL_FILE} if self._is_unpushed(there.get(MANUAL_FILE)) else set()
        wanted = [
            name
            for name, entry in there.items()
            if name not in kept
            and not _is_same(self._here(name), entry, is_read(name))
            and (name not in weights or self._here(name))
        ]
        fetched(self.remote, wanted, self.folder)
        if not names:
            for name in self._files(checkpoints=True):
                if name not in there and name not in kept:
                    (self.folder / name).unlink(missing_ok=True)
        if not kept and (not names or MANUAL_FILE in names):
            self._agree_on(_content(self.folder / MANUAL_FILE))
        self.settle()

    def settle(self) -> None:
        """What is here now is as it should be at the address, but for what a person wrote and no push has written."""
        self.known = {name: entry for name in self._files() if (entry := self._here(name))}
        if _content(self.folder / MANUAL_FILE) != _content(self.folder / _AGREED):
            self.known.pop(MANUAL_FILE, None)

    def push(self) -> int:
        """Write what has changed here since, and delete what is gone; how many files that were.

        Raises:
            StorageError: the address cannot be written; the next push goes on.
        """
        here = set(self._files())
        changed = 0
        for name in sorted(here, key=lambda one: (FIRST.index(one) if one in FIRST else len(FIRST), one)):
            entry = self._here(name)
            if entry is None or entry == self.known.get(name):
                continue
            written = _content(self.folder / name) if name == MANUAL_FILE else b""
            try:
                self.remote.upload(self.folder / name, name)
            except FileNotFoundError:
                continue  # it was there a moment ago
            self.known[name] = entry  # as it was before it was read: what has changed since is pushed again
            changed += 1
            if name == MANUAL_FILE:
                self._agree_on(written)
        for name in self.known.keys() - here:
            self.remote.delete(name)
            del self.known[name]
            changed += 1
            if name == MANUAL_FILE:
                self._agree_on(b"")
        return changed

    def _is_unpushed(self, there: Entry | None) -> bool:
        """Whether what a person wrote is here alone; where nobody can say, the later one counts."""
        here, agreed = self._here(MANUAL_FILE), self.folder / _AGREED
        if here is None:
            return False
        if agreed.exists():
            return _content(self.folder / MANUAL_FILE) != _content(agreed)
        return there is None or here.mtime > there.mtime

    def _agree_on(self, written: bytes) -> None:
        """What a person wrote is this, here and there; nothing is in neither place."""
        agreed = self.folder / _AGREED
        if not written:
            agreed.unlink(missing_ok=True)
        elif written != _content(agreed):
            write_atomically(agreed, written)

    def _is_ahead(self, there: Mapping[str, Entry]) -> bool:
        """Whether the study at the address is this one, as it was some events ago."""
        own, stored = self._here(EVENTS_FILE), there.get(EVENTS_FILE)
        if own is None or own.size <= (stored.size if stored else 0):
            return False  # nearly always, and neither journal need be read to see it
        own_record, own_journal = (_content(self.folder / name) for name in FIRST)
        record, journal = (self._read(name) if name in there else b"" for name in FIRST)
        if record and own_record and record != own_record:
            return False
        return len(own_journal) > len(journal or b"") and own_journal.startswith(journal or b"")

    def _read(self, name: str) -> bytes | None:
        return retried(lambda: self.remote.read(name))

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


def bring_study(studies: str | Path, name: str, names: Collection[str] = ()) -> Path:
    """The folder of a study; of one at an address with what is there now. It need not exist.

    Args:
        names: of the files that are needed; all that are read, where it is empty.

    Raises:
        ConfigError: no address that can be read.
        StorageError: the address cannot be read.
    """
    folder = working_folder(studies) / name
    if not is_address(studies) or not _is_name(name) or is_driven_here(folder):
        return folder  # who drives it here is ahead of the address
    remote = Remote.of(joined(str(studies), name))
    if retried(lambda: remote.entry(STUDY_FILE)) is None and not retried(remote.files):
        return folder
    with locked(pull_lock(folder), on_wait=lambda: None):
        if not is_driven_here(folder):
            folder.mkdir(exist_ok=True)
            WorkingCopy(folder, remote).pull(names)
    return folder


def pull_lock(folder: Path) -> Path:
    """The file that is locked while a study's folder is made what its address has."""
    return folder.with_name(f".{folder.name}.pull")


def bring_studies(studies: str | Path) -> list[Path]:
    """The folders of all studies, the newest first; of those at an address with record and journal alone."""
    if is_address(studies):
        names = study_names(studies)
        folders = [bring_study(studies, name, FIRST) for name in names]
    else:
        folders = [file.parent for file in Path(studies).glob(f"*/{STUDY_FILE}")]
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


def stored_study(studies: str, name: str) -> Path:
    """The folder of a study at an address, with what is there now.

    Raises:
        StudyError: there is none of this name; the message names those there are.
        ConfigError, StorageError: as `bring_study`.
    """
    folder = bring_study(studies, name)
    if not _is_name(name) or not (folder / STUDY_FILE).is_file():
        raise no_study(studies, name, study_names(studies))
    return folder


@contextmanager
def opened_study(studies: str | Path, name: str) -> Iterator[Path]:
    """The folder of a study, for a command that writes into it: what it has written is pushed when the block ends.

    Raises:
        StudyError: as `find_study`.
        StorageError: the address cannot be read or written.
    """
    folder = find_study(studies, name)
    remote = remote_of(folder) if is_address(studies) else None
    if remote is None:
        yield folder
        return
    copy = WorkingCopy(folder, remote)
    copy.settle()
    yield folder
    if not is_driven_here(folder):  # who drives it pushes this, too
        retried(copy.push)


def bring_file(folder: Path, name: str) -> None:
    """Bring a file of a study that is not here, if the study is kept at an address and has it.

    Raises:
        StorageError, OSError: it cannot be read, or not be written here.
    """
    remote = remote_of(folder)
    if remote is not None and not (folder / name).exists():
        retried(lambda: remote.download(name, folder / name))


def _is_name(name: str) -> bool:
    return bool(name) and Path(name).name == name


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _is_same(here: Entry | None, there: Entry, written_once: bool) -> bool:
    if here is None or here.size != there.size:
        return False
    return written_once or here.mtime == there.mtime
