"""Which checkpoints stay on the disk, and which are deleted.

    runs, or may go on              the last two, whole: a damaged one costs an epoch; of its best epoch the weights
    trained to the end              weights of the last epoch and of the best
    stopped, failed, diverged       no weights; the samples of the last epoch, which reports are made of

What a trial read on the validation staves (`samples.parquet`) stays wherever a checkpoint does. If all of it is more
than a cap, weights of completed trials go, too: first those that are not the last epoch's, then from the worst trial
up, repetitions before trials of the search; never those of the base and of the best few.

Only folders `checkpoint_*` within the study's `tune/` are ever touched, whatever a journal from elsewhere names. To
delete twice is to delete once, so a crash in between costs nothing. Where the study is kept at an address, what is
deleted here is deleted there, too, once the journal is there that says why (`search.mirror`).
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from omr_model.layout import RESUME, WEIGHTS
from results.ranking import BASE
from results.replay import Replay, TrialHistory
from results.study import ENGINE_FOLDER
from search.config import SearchConfig
from search.disk import GIGABYTE
from search.mirror import Mirror
from search.recovery import OPEN

SCRATCH = f"{ENGINE_FOLDER}/unfinished"  # where trials write before Tune takes what they wrote
TAKEN_OVER = "checkpoint_of_trial_{number}_after_{epoch}"  # copied from another of a population; no journal names it
TAKEN_FROM = "trial {number} after epoch {epoch}"  # where the settings of the trial that took it over come from
_DONOR = re.compile(TAKEN_FROM.format(number=r"(\d+)", epoch=r"(\d+)"))
LAST_WHOLE = 2
GONE = -1


class Keeper:
    """Deletes what no trial needs any more, as the study goes on.

    Args:
        study: the study's folder.
        cap_bytes: of all checkpoints together; None is no limit.
        best: how many of the best trials keep their weights, whatever the cap.
        exchanges: trials may take over other trials' checkpoints, as those of a population do.
        mirror: to the address where the checkpoints are; None where they are in the folder.
    """

    def __init__(
        self,
        study: Path,
        cap_bytes: float | None = None,
        best: int = 2,
        exchanges: bool = True,
        mirror: Mirror | None = None,
    ) -> None:
        self.study = study
        self.mirror = mirror
        self.cap_bytes = cap_bytes
        self.best = best
        self.exchanges = exchanges
        self.trials: dict[str, TrialHistory] = {}
        self.folders: dict[str, set[str]] = {}  # on the disk, of each trial
        self.total = 0
        self._engine = (study / ENGINE_FOLDER).resolve()
        self._paths: dict[str, Path | None] = {}  # of folders, once looked up
        self._seen: dict[str, int] = {}  # of each trial, how many checkpoints it had at the last look
        self._sizes: dict[str, int] = {}
        self._left_out: dict[str, tuple[str, ...]] = {}  # of each folder, the files that were deleted last
        self._copies: dict[str, dict[str, int]] = {}  # at the address: of each trial, which, after what epoch
        self._stored: Mapping[str, Mapping[str, int]] | None = None  # bytes of each file there, before trials run
        self._spent = False  # nothing more can be deleted for the cap, until another trial is completed
        self._warned = False

    @classmethod
    def of(cls, config: SearchConfig, study: Path, replay: Replay, mirror: Mirror | None = None) -> Keeper:
        """As it was when the study was left; what a crash has left on the disk and the journal does not name is gone.

        Only while no other process drives the study.
        """
        cap = None if config.disk.cap is None else config.disk.cap * GIGABYTE
        keeper = cls(study, cap, config.confirm.top + 1, exchanges=config.scheduler.name == "pbt", mirror=mirror)
        keeper._stored = None if mirror is None else _checkpoints_at(mirror)
        for trial in replay.trials():
            keeper.folders[trial.trial_id] = set(needless(trial))  # all others are unknown, and go below
            keeper._seen[trial.trial_id] = len(trial.checkpoints)
            keeper.tidy(trial)
        keeper._delete_unknown()
        keeper._stored = None  # from here on trials write there
        shutil.rmtree(study / SCRATCH, ignore_errors=True)  # of processes that were killed in the middle of it
        return keeper

    def tidy(self, trial: TrialHistory) -> list[str]:
        """Delete what has become needless by what the trial has just reported, or by its end.

        Returns:
            What a person should know, once: the cap is too small for what must stay.
        """
        self.trials[trial.trial_id] = trial
        self._spent &= trial.state != "completed"
        known = self.folders.setdefault(trial.trial_id, set())
        known |= {folder for folder in self._new(trial) if folder is not None}
        unwanted = needless(trial)
        for folder in list(known):
            if folder in unwanted:
                if self._left_out.get(folder) != unwanted[folder]:  # else it is as it is to be
                    self._delete_files(folder, unwanted[folder])
            else:
                self._delete(trial.trial_id, folder)
        if self.exchanges:
            self._delete_taken_over(trial)
        return self._enforce_cap()

    def _new(self, trial: TrialHistory) -> list[str | None]:
        """The checkpoints since the last look: the older ones were deleted then, or are known."""
        count, seen = len(trial.checkpoints), self._seen.get(trial.trial_id, 0)
        self._seen[trial.trial_id] = count
        if count < seen:  # it was taken up again at an earlier epoch
            return trial.checkpoints
        return trial.checkpoints[min(seen, count - 1) :] if count else []

    def _enforce_cap(self) -> list[str]:
        if self.cap_bytes is None or self.total <= self.cap_bytes or self._spent:
            return []
        completed = [trial for trial in self.trials.values() if trial.state == "completed" and trial.checkpoint]
        completed.sort(key=lambda trial: (trial.start.repeats is None, -_rate(trial.sers[-1]), -trial.start.number))
        for trial in completed:  # the least needed first
            for folder in self.folders[trial.trial_id] - {trial.checkpoint}:
                self._delete(trial.trial_id, str(folder))
            if self.total <= self.cap_bytes:
                return []
        searched = [trial for trial in completed if trial.start.repeats is None]
        spared = {trial.trial_id for trial in searched[-self.best :]}
        for trial in completed:
            if trial.trial_id in spared or trial.first.origin == BASE:
                continue
            for folder in self.folders[trial.trial_id]:
                if self._left_out.get(folder) != (WEIGHTS,):
                    self._delete_files(folder, (WEIGHTS,))
            if self.total <= self.cap_bytes:
                return []
        self._spent = True
        return self._over_cap(self.cap_bytes)

    def _over_cap(self, cap_bytes: float) -> list[str]:
        if self._warned:
            return []
        self._warned = True
        return [
            f"disk.cap={cap_bytes / GIGABYTE:g}: what must stay takes {self.total / GIGABYTE:.3g} GB (checkpoints of "
            "trials that may go on, weights of the base and of the best)"
        ]

    def _delete_taken_over(self, trial: TrialHistory) -> None:
        """Copies that a trial began from: two epochs later it will not begin there again."""
        if trial.checkpoint is None or (folder := self._within(trial.checkpoint)) is None:
            return
        if self.mirror is not None:
            self._delete_taken_over_at(self.mirror, trial, PurePosixPath(trial.checkpoint).parent)
            return
        for copy in folder.parent.glob(TAKEN_OVER.format(number="*", epoch="*")):
            epoch = copy.name.rpartition("_")[2]
            past = epoch.isdigit() and int(epoch) + LAST_WHOLE <= trial.epochs[-1]
            if past or trial.state not in OPEN:
                shutil.rmtree(copy, ignore_errors=True)

    def _delete_taken_over_at(self, mirror: Mirror, trial: TrialHistory, folder: PurePosixPath) -> None:
        """The same at the address, where the journal says what was copied: to look would be a request every epoch."""
        copies = self._copies.setdefault(trial.trial_id, {})
        if donor := _DONOR.fullmatch(trial.start.origin):
            number, epoch = donor.groups()
            copies.setdefault(str(folder / TAKEN_OVER.format(number=number, epoch=epoch)), int(epoch))
        for copy, after in copies.items():
            if after != GONE and (after + LAST_WHOLE <= trial.epochs[-1] or trial.state not in OPEN):
                self._delete_at(mirror, copy)
                copies[copy] = GONE

    def finish(self) -> None:
        """No trial runs any more: delete what no journal names at an address, where it costs something to look.

        Raises:
            StorageError: the address cannot be read.
        """
        if self.mirror is not None:
            self._delete_unknown_at(self.mirror, _checkpoints_at(self.mirror))

    def _delete_unknown(self) -> None:
        if self.mirror is not None and self._stored is not None:
            self._delete_unknown_at(self.mirror, self._stored)
        named = {self._within(folder) for folders in self.folders.values() for folder in folders}
        for folder in (self.study / ENGINE_FOLDER).resolve().rglob("checkpoint_*"):
            if folder.is_dir() and not folder.is_symlink() and folder not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def _delete_unknown_at(self, mirror: Mirror, stored: Mapping[str, Mapping[str, int]]) -> None:
        named = {folder for folders in self.folders.values() for folder in folders}
        for folder in sorted(stored.keys() - named):
            mirror.delete(f"{folder}/")

    def _within(self, folder: str) -> Path | None:
        """Where a folder of the journal lies, if it is one that may be deleted."""
        if folder not in self._paths:
            path = (self.study / folder).resolve()
            ours = path.is_relative_to(self._engine) and path.name.startswith("checkpoint_")
            self._paths[folder] = path if ours else None
        return self._paths[folder]

    def _delete(self, trial_id: str, folder: str) -> None:
        self.total -= self._sizes.pop(folder, 0)
        self._left_out.pop(folder, None)
        self.folders[trial_id].discard(folder)
        if (path := self._within(folder)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            if self.mirror is not None:
                self._delete_at(self.mirror, folder)
        self._paths.pop(folder, None)

    def _delete_at(self, mirror: Mirror, folder: str) -> None:
        if self._stored is None or folder in self._stored:
            mirror.delete(f"{folder}/")

    def _delete_files(self, folder: str, names: tuple[str, ...]) -> None:
        self.total -= self._sizes.pop(folder, 0)
        if (path := self._within(folder)) is None:
            return
        for name in names:
            with suppress(OSError):  # a folder that may only be read
                (path / name).unlink(missing_ok=True)
        if self.mirror is not None:
            self._delete_files_at(self.mirror, folder, names)
            return
        with suppress(OSError), os.scandir(path) as files:  # the folder may be gone
            self._sizes[folder] = sum(file.stat().st_size for file in files)
            self.total += self._sizes[folder]
            self._left_out[folder] = names

    def _delete_files_at(self, mirror: Mirror, folder: str, names: tuple[str, ...]) -> None:
        there = None if self._stored is None else self._stored.get(folder, {})
        for name in names:
            if there is None or name in there:
                mirror.delete(f"{folder}/{name}")
        self._left_out[folder] = names
        if self.cap_bytes is None:  # nobody asks, and the store counts its answers
            return
        if there is None:
            self._sizes[folder] = mirror.size(folder, names)
        else:
            self._sizes[folder] = sum(size for name, size in there.items() if name not in names)
        self.total += self._sizes[folder]


def _checkpoints_at(mirror: Mirror) -> dict[str, dict[str, int]]:
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


def needless(trial: TrialHistory) -> dict[str, tuple[str, ...]]:
    """The folders of a trial that stay, each with the files that do not."""
    saved = [
        (_rate(ser), folder) for ser, folder in zip(trial.sers, trial.checkpoints, strict=True) if folder is not None
    ]
    if not saved:
        return {}
    best, last = min(saved)[1], saved[-1][1]
    if trial.state in OPEN:
        return {best: (RESUME,)} | {folder: () for _, folder in saved[-LAST_WHOLE:]}
    if trial.state == "completed":
        return {best: (RESUME,), last: (RESUME,)}
    return {last: (RESUME, WEIGHTS)}


def _rate(ser: float) -> float:
    """What is compared: no number is worse than any."""
    return math.inf if math.isnan(ser) else ser
