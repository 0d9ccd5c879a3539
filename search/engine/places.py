"""Where the trials of a study find and leave what is not in the journal: in folders, or at addresses."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.addresses import is_address, joined
from datasets.errors import StorageError
from results.study import ENGINE_FOLDER
from search.config import SearchConfig
from search.engine.keeper import SCRATCH
from search.mirror import Mirror


@dataclass(frozen=True)
class Places:
    """Attributes.

    corpus: the prepared corpus: a folder, or an address that each node brings it from.
    scratch: a folder for checkpoints that are on their way: on the study's own disk, or on each node's.
    study: the study's address, or None.
    path, filesystem: where Tune keeps checkpoints, as it wants to be told.
    """

    corpus: Path | str
    scratch: Path
    study: str | None
    path: str
    filesystem: Any

    @classmethod
    def of(cls, folder: Path, corpus: Path, config: SearchConfig, mirror: Mirror | None, session: int) -> Places:
        """Those of a session of the study in a folder, which is mirrored or not."""
        corpora = config.paths.corpora
        there: Path | str = joined(corpora, corpus.name) if is_address(corpora) else corpus.resolve()
        if mirror is None:
            return cls(there, folder / SCRATCH, None, str(folder / ENGINE_FOLDER), None)
        remote = mirror.remote
        scratch = scratch_at(remote.address, session)
        return cls(there, scratch, remote.address, remote.path(ENGINE_FOLDER), remote.filesystem)


def scratch_at(study: str, session: int) -> Path:
    """A folder of this user, study and session in the one for temporary files, which all users of a node share.

    Args:
        study: its address: studies of one name at two addresses are two studies.
    """
    name = hashlib.sha256(study.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"omr-search-{os.getuid()}-{name}" / str(session)


def own_scratch(scratch: Path) -> None:
    """Make such a folder on this node, and delete what earlier sessions have left beside it: nobody else does, where
    processes were killed.

    Raises:
        StorageError: there is one that somebody else has made, or may write to.
    """
    ours = scratch.parent
    ours.parent.mkdir(parents=True, exist_ok=True)
    try:
        ours.mkdir(mode=0o700)
    except FileExistsError:
        found = ours.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise StorageError(f"{ours} is not ours; delete it, or name another TMPDIR") from None
        if found.st_mode & 0o077:
            raise StorageError(f"{ours} is open to others; delete it, or name another TMPDIR") from None
    for old in ours.iterdir():
        if old != scratch:
            shutil.rmtree(old, ignore_errors=True)
    scratch.mkdir(exist_ok=True)
