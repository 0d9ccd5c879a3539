"""A trial and the address that its study is kept at: checkpoints brought from there, and reports that survive a store
that fails for a moment.

Tune writes a checkpoint to the address itself before it hands on the report, from whatever node the trial is on.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, overload

from ray import tune

from datasets.addresses import joined
from datasets.errors import StorageError
from datasets.storage import Remote, fetched, retried
from search.engine import keys


class Brought(Sequence[Path]):
    """Folders of checkpoints at addresses; each is brought here when it is asked for, and goes with the next one: as a
    rule the first is sound, and nobody asks for another.

    Args:
        addresses: of the checkpoints, the newest first.
        scratch: the folder to bring them to.
    """

    def __init__(self, addresses: Sequence[str], scratch: Path) -> None:
        self.addresses = tuple(addresses)
        self.scratch = scratch
        self._folder: Path | None = None
        self._number: int | None = None  # of the one that is here

    def __len__(self) -> int:
        return len(self.addresses)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...

    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return Brought(self.addresses[index], self.scratch)
        remote = Remote.of(self.addresses[index])
        folder = self._own_folder() / remote.root.rpartition("/")[2]
        if index != self._number:
            shutil.rmtree(self._own_folder(), ignore_errors=True)
            folder.mkdir(parents=True)
            fetched(remote, list(retried(remote.files)), folder)
            self._number = index
        return folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Brought, (self.addresses, self.scratch)

    def _own_folder(self) -> Path:
        if self._folder is None:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(dir=self.scratch))
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        return self._folder


def checkpoints_at(study: str, config: Mapping[str, Any], scratch: Path) -> Brought:
    """Where a trial may go on from, the newest first, as `search.engine.trial` says it of folders.

    The agenda names addresses; Tune, and with it an exchange of a population, paths in its own storage.

    Args:
        study: its address.
    """
    root = Remote.of(study).root

    def address(place: str) -> str:
        path = PurePosixPath(place)
        return joined(study, *path.relative_to(root).parts) if path.is_relative_to(root) else place

    given = [address(place) for place in config[keys.CHECKPOINTS]]
    latest = tune.get_checkpoint()
    if latest is None:
        return Brought(given, scratch)
    newest = PurePosixPath(latest.path)
    remote = Remote.of(address(str(newest.parent)))
    since = config.get(keys.EXCHANGED, "")
    numbered = [name for name in retried(remote.folders) if name.removeprefix("checkpoint_").isdigit()]
    own = sorted((name for name in numbered if since < name < newest.name), reverse=True)
    places = [joined(remote.address, name) for name in (newest.name, *own)]
    return Brought([*places, *(place for place in given if place not in places)], scratch)


def report_again(report: Callable[[], None]) -> None:
    """Report; what a store could not take is told it again.

    Raises:
        StorageError: it took it at no time.
        OSError: of this machine's disk, which has a number.
    """

    def attempt() -> None:
        try:
            report()
        except OSError as error:
            if error.errno is not None:
                raise
            raise StorageError(f"the checkpoint was not stored: {' '.join(str(error).split())}") from error

    retried(attempt)
