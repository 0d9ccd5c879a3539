"""Where the trials of a study find and leave what is not in the journal: in folders, or at addresses."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.storage import is_address, joined
from results.study import ENGINE_FOLDER
from search.config import SearchConfig
from search.engine.keeper import SCRATCH
from search.mirror import Mirror


@dataclass(frozen=True)
class Store:
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
    def of(cls, folder: Path, corpus: Path, config: SearchConfig, mirror: Mirror | None) -> Store:
        """That of the study in a folder, which is mirrored or not."""
        corpora = config.paths.corpora
        there: Path | str = joined(corpora, corpus.name) if is_address(corpora) else corpus.resolve()
        if mirror is None:
            return cls(there, folder / SCRATCH, None, str(folder / ENGINE_FOLDER), None)
        remote = mirror.remote
        own = f"omr-search-{os.getuid()}-{config.study}"  # in a folder that all users of a node share
        scratch = Path(tempfile.gettempdir()) / own
        return cls(there, scratch, remote.address, remote.path(ENGINE_FOLDER), remote.filesystem)
