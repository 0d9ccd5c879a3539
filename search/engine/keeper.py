"""Which checkpoints stay on the disk, and which are deleted.

    runs, or may go on              the last two, whole: a damaged one costs an epoch; of its best epoch the weights
    trained to the end              weights of the last epoch and of the best
    stopped, failed, diverged       no weights; the samples of the last epoch, which reports are made of

What a trial read on the validation staves (`samples.parquet`) stays wherever a checkpoint does. If all of it is more
than a cap, weights of completed trials go, too: first those that are not the last epoch's, then from the worst trial
up, repetitions before trials of the search; never those of the base and of the best few.

How it is deleted, in a folder or at an address, says `search.engine.checkpoint_files`.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from omr_model.layout import RESUME, WEIGHTS
from results.ranking import BASE
from results.replay import Replay, TrialHistory
from results.study import ENGINE_FOLDER
from search.config import SearchConfig
from search.disk import GIGABYTE
from search.engine.checkpoint_files import CheckpointFiles, MirroredFiles
from search.mirror import Mirror
from search.recovery import OPEN

SCRATCH = f"{ENGINE_FOLDER}/unfinished"  # where trials write before Tune takes what they wrote
LAST_WHOLE = 2


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
        self.cap_bytes = cap_bytes
        self.best = best
        self.exchanges = exchanges
        self.trials: dict[str, TrialHistory] = {}
        self.folders: dict[str, set[str]] = {}  # on the disk, of each trial
        self.total = 0
        self._files = CheckpointFiles(study) if mirror is None else MirroredFiles(study, mirror, cap_bytes is not None)
        self._seen: dict[str, int] = {}  # of each trial, how many checkpoints it had at the last look
        self._sizes: dict[str, int] = {}
        self._left_out: dict[str, tuple[str, ...]] = {}  # of each folder, the files that were deleted last
        self._spent = False  # nothing more can be deleted for the cap, until another trial is completed
        self._warned = False

    @classmethod
    def of(cls, config: SearchConfig, study: Path, replay: Replay, mirror: Mirror | None = None) -> Keeper:
        """As it was when the study was left; what a crash has left on the disk and the journal does not name is gone.

        Only while no other process drives the study.
        """
        cap = None if config.disk.cap is None else config.disk.cap * GIGABYTE
        keeper = cls(study, cap, config.confirm.top + 1, exchanges=config.scheduler.name == "pbt", mirror=mirror)
        keeper._files.look()
        for trial in replay.trials():
            keeper.folders[trial.trial_id] = set(needless(trial))  # all others are unknown, and go below
            keeper._seen[trial.trial_id] = len(trial.checkpoints)
            keeper.tidy(trial)
        keeper._files.begun(keeper._named)
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
        if self.exchanges:  # of a copy that it began from: two epochs later it will not begin there again
            reached = trial.epochs[-1] if trial.epochs else 0
            self._files.delete_taken_over(trial, reached - LAST_WHOLE if trial.state in OPEN else math.inf)
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

    def finish(self) -> None:
        """No trial runs any more: delete what no journal names.

        Raises:
            StorageError: the address cannot be read.
        """
        self._files.ended(self._named)

    @property
    def _named(self) -> set[str]:
        return {folder for folders in self.folders.values() for folder in folders}

    def _delete(self, trial_id: str, folder: str) -> None:
        self.total -= self._sizes.pop(folder, 0)
        self._left_out.pop(folder, None)
        self.folders[trial_id].discard(folder)
        self._files.delete(folder)

    def _delete_files(self, folder: str, names: tuple[str, ...]) -> None:
        self.total -= self._sizes.pop(folder, 0)
        size = self._files.delete_files(folder, names)
        if size is not None:
            self._sizes[folder] = size
            self.total += size
            self._left_out[folder] = names


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
