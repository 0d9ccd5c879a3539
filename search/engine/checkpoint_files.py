"""The files of a study's checkpoints: in its folder, or at an address, too, from where they go a little later.

Only folders `checkpoint_*` within the study's `tune/` are ever touched, whatever a journal from elsewhere names. To
delete twice is to delete once, so a crash in between costs nothing. Where the study is kept at an address, what is
deleted here is deleted there, too, once the journal is there that says why (`search.mirror`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from results.replay import TrialHistory
from results.study import ENGINE_FOLDER
from search.mirror import Mirror

TAKEN_OVER = "checkpoint_of_trial_{number}_after_{epoch}"  # copied from another of a population; no journal names it
TAKEN_FROM = "trial {number} after epoch {epoch}"  # where the settings of the trial that took it over come from
GONE = -1
_DONOR = re.compile(TAKEN_FROM.format(number=r"(\d+)", epoch=r"(\d+)"))


class CheckpointFiles:
    """Those in the study's folder. Checkpoints are named as in the journal, relative to that.

    Args:
        study: the study's folder.
    """

    def __init__(self, study: Path) -> None:
        self.study = study
        self._engine = (study / ENGINE_FOLDER).resolve()
        self._paths: dict[str, Path | None] = {}  # of folders, once looked up

    def look(self) -> None:
        """A session is about to begin, and no trial runs.

        Raises:
            StorageError: the address cannot be read.
        """

    def begun(self, named: Collection[str]) -> None:
        """From now on trials run: delete the checkpoints that no journal names."""
        paths = {self._within(folder) for folder in named}
        for folder in self._engine.rglob("checkpoint_*"):
            if folder.is_dir() and not folder.is_symlink() and folder not in paths:
                shutil.rmtree(folder, ignore_errors=True)

    def ended(self, named: Collection[str]) -> None:
        """A session ends, and no trial runs any more.

        Raises:
            StorageError: the address cannot be read.
        """

    def delete(self, folder: str) -> bool:
        """Delete a checkpoint; whether it was one that may be deleted."""
        path = self._within(folder)
        self._paths.pop(folder, None)
        if path is None:
            return False
        shutil.rmtree(path, ignore_errors=True)
        return True

    def delete_files(self, folder: str, names: tuple[str, ...]) -> int | None:
        """Delete some files of a checkpoint.

        Returns:
            The bytes of the others; None where it is gone, or not one that may be deleted.
        """
        if (path := self._within(folder)) is None:
            return None
        for name in names:
            with suppress(OSError):  # a folder that may only be read
                (path / name).unlink(missing_ok=True)
        with suppress(OSError), os.scandir(path) as files:  # the folder may be gone
            return sum(file.stat().st_size for file in files)
        return None

    def delete_taken_over(self, trial: TrialHistory, before: float) -> None:
        """Delete the copies of other trials' checkpoints, up to an epoch, that a trial has gone on from."""
        if trial.checkpoint is None or (folder := self._within(trial.checkpoint)) is None:
            return
        for copy in folder.parent.glob(TAKEN_OVER.format(number="*", epoch="*")):
            epoch = copy.name.rpartition("_")[2]
            if epoch.isdigit() and int(epoch) <= before:
                shutil.rmtree(copy, ignore_errors=True)

    def _within(self, folder: str) -> Path | None:
        """Where a folder of the journal lies, if it is one that may be deleted."""
        if folder not in self._paths:
            path = (self.study / folder).resolve()
            ours = path.is_relative_to(self._engine) and path.name.startswith("checkpoint_")
            self._paths[folder] = path if ours else None
        return self._paths[folder]


class MirroredFiles(CheckpointFiles):
    """Those at the study's address, and what of them has been brought here.

    Args:
        mirror: to the address.
        sizes: whether anybody asks for bytes: the store counts its answers.
    """

    def __init__(self, study: Path, mirror: Mirror, sizes: bool) -> None:
        super().__init__(study)
        self.mirror = mirror
        self.sizes = sizes
        self._stored: Mapping[str, Mapping[str, int]] | None = None  # bytes of each file there, while no trial runs
        self._copies: dict[str, dict[str, int]] = {}  # of each trial, those that it has taken over, after what epoch

    def look(self) -> None:
        """Read what is there, so that nothing is asked or deleted for which there is no file."""
        self._stored = _stored(self.mirror)

    def begun(self, named: Collection[str]) -> None:
        """As in a folder; and from now on trials write there."""
        super().begun(named)
        self._delete_unknown(self._stored or {}, named)
        self._stored = None

    def ended(self, named: Collection[str]) -> None:
        """Delete what no journal names; while trials run, it would cost something to look."""
        self._delete_unknown(_stored(self.mirror), named)

    def delete(self, folder: str) -> bool:
        """Here and there."""
        ours = super().delete(folder)
        if ours and (self._stored is None or folder in self._stored):
            self.mirror.delete(f"{folder}/")
        return ours

    def delete_files(self, folder: str, names: tuple[str, ...]) -> int | None:
        """Here and there; the bytes are those there, or 0 where nobody asks."""
        if self._within(folder) is None:
            return None
        super().delete_files(folder, names)
        there = None if self._stored is None else self._stored.get(folder, {})
        for name in names:
            if there is None or name in there:
                self.mirror.delete(f"{folder}/{name}")
        if not self.sizes:
            return 0
        if there is None:
            return self.mirror.size(folder, names)
        return sum(size for name, size in there.items() if name not in names)

    def delete_taken_over(self, trial: TrialHistory, before: float) -> None:
        """The journal says what was copied: to look would be a request every epoch."""
        if trial.checkpoint is None or self._within(trial.checkpoint) is None:
            return
        copies = self._copies.setdefault(trial.trial_id, {})
        if donor := _DONOR.fullmatch(trial.start.origin):
            number, epoch = donor.groups()
            folder = PurePosixPath(trial.checkpoint).parent / TAKEN_OVER.format(number=number, epoch=epoch)
            copies.setdefault(str(folder), int(epoch))
        for copy, after in copies.items():
            if after != GONE and after <= before:
                if self._stored is None or copy in self._stored:
                    self.mirror.delete(f"{copy}/")
                copies[copy] = GONE

    def _delete_unknown(self, stored: Collection[str], named: Collection[str]) -> None:
        for folder in sorted(set(stored) - set(named)):
            self.mirror.delete(f"{folder}/")


def _stored(mirror: Mirror) -> dict[str, dict[str, int]]:
    """The folders of all checkpoints at an address, with the bytes of each of their files.

    Raises:
        StorageError: the address cannot be read.
    """
    found: dict[str, dict[str, int]] = {}
    for path, entry in mirror.checkpoint_files().items():
        for folder in PurePosixPath(path).parents:
            if folder.name.startswith("checkpoint_"):
                found.setdefault(str(folder), {})[path.removeprefix(f"{folder}/")] = entry.size
    return found
