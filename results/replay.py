"""What a study's events add up to: each trial's state, and the epochs that stand.

What supersedes what: a later start or end of a trial replaces the earlier one. An epoch that is reported
replaces whatever the trial had reported for this epoch and later ones: after a resume from a checkpoint, they
belong to a training that is no more.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datasets.errors import StudyError
from results.journal import EpochReported, Event, SessionEnded, SessionStarted, TrialEnded, TrialStarted

Floats: TypeAlias = npt.NDArray[np.float64]
TIME = "time"
CONFIRM: dict[str, Any] = {"top": 1, "rounds": 4, "worthwhile": 0.01}  # of studies older than their own


@dataclass
class TrialHistory:
    """One trial.

    Attributes:
        start: its latest start.
        first: its first start.
        heard: when the latest event of it was, in seconds since 1970, UTC.
        changed_after: the last epoch before it went on with other settings; None if it never did.
        changed_last: the same, for the latest settings; its earlier epochs are of other weights.
        end: its end, unless it started again since.
        out_of_memory: it once was, of a GPU that it shared with others.
        epochs: the epochs that stand, ascending.
        sers: the SER at each of them.
        rows: where the numbers of each of them lie in the columns of `Replay.number`.
        checkpoints: the folder saved at each of them, or None.
    """

    start: TrialStarted
    first: TrialStarted
    heard: float
    changed_after: int | None = None
    changed_last: int = 0
    end: TrialEnded | None = None
    out_of_memory: bool = False
    epochs: list[int] = field(default_factory=list)
    sers: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    checkpoints: list[str | None] = field(default_factory=list)

    @property
    def trial_id(self) -> str:
        """The engine's name of it."""
        return self.start.trial_id

    @property
    def state(self) -> str:
        """How it ended; `running` as long as no end is known."""
        return "running" if self.end is None else self.end.state

    @property
    def checkpoint(self) -> str | None:
        """The latest checkpoint."""
        return next((folder for folder in reversed(self.checkpoints) if folder is not None), None)


class Replay:
    """Takes in events one by one, and keeps their numbers by column: 500,000 epochs fit in memory.

    Attributes:
        sessions: the processes that drove the study, in order.
        outcome: how the latest of them ended; None if it was killed or goes on.
        seconds: that they drove it in all, by clocks that nobody sets; of one that was killed, until its last report.
        seconds_before: the same, without the latest session.
        reports: epochs that were trained in all, those that stand no more included.
        gpu_seconds: that all these took.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.sessions: list[SessionStarted] = []
        self.outcome: str | None = None
        self.reports = 0
        self.gpu_seconds = 0.0
        self.seconds_before = 0.0
        self._session_seconds = 0.0
        self._trials: dict[str, TrialHistory] = {}
        self._numbers = _Numbers()
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            StudyError: it is of a trial that never started.
        """
        if isinstance(event, SessionStarted):
            self.sessions.append(event)
            self.outcome = None
            self.seconds_before, self._session_seconds = self.seconds, 0.0
            return
        if isinstance(event, SessionEnded):
            self.outcome = event.outcome
            self._session_seconds = max(self._session_seconds, event.elapsed)
            return
        if isinstance(event, TrialStarted):
            self._start(event)
            return
        trial = self._trials.get(event.trial_id)
        if trial is None:
            raise StudyError(f"the journal has an event of trial {event.trial_id} before its start")
        trial.heard = event.time
        if isinstance(event, TrialEnded):
            trial.end = event
            trial.out_of_memory |= event.out_of_memory
        else:
            self._report(trial, event)

    @property
    def begun(self) -> bool:
        """Whether anything has happened in the study."""
        return bool(self.sessions or self._trials)

    @property
    def seconds(self) -> float:
        """See the class."""
        return self.seconds_before + self._session_seconds

    def trials(self) -> list[TrialHistory]:
        """All trials by number."""
        return sorted(self._trials.values(), key=lambda trial: (trial.start.number, trial.trial_id))

    def trial(self, trial_id: str) -> TrialHistory:
        """The trial of a name that has started."""
        return self._trials[trial_id]

    def find(self, trial_id: str) -> TrialHistory | None:
        """The trial of a name; None if none of it has started."""
        return self._trials.get(trial_id)

    @property
    def number_names(self) -> list[str]:
        """Each metric that was ever reported, and the `time` of the reports."""
        return self._numbers.names

    def number(self, name: str) -> Floats:
        """One of them as a column with a row an event; NaN where it is missing."""
        return self._numbers.column(name)

    def _start(self, event: TrialStarted) -> None:
        trial = self._trials.get(event.trial_id)
        if trial is None:
            self._trials[event.trial_id] = TrialHistory(event, first=event, heard=event.time)
            return
        reached = trial.epochs[-1] if trial.epochs else 0
        if trial.changed_after is None and event.params != trial.first.params:
            trial.changed_after = reached
        if (event.params, event.origin) != (trial.start.params, trial.start.origin):
            trial.changed_last = reached
        trial.start, trial.end, trial.heard = event, None, event.time

    def _report(self, trial: TrialHistory, event: EpochReported) -> None:
        epoch = int(event.metrics["epoch"])
        self.reports += 1
        gpu_seconds = event.metrics.get("gpu_seconds", 0.0)
        self.gpu_seconds += 0.0 if math.isnan(gpu_seconds) else gpu_seconds
        self._session_seconds = max(self._session_seconds, event.elapsed)
        while trial.epochs and trial.epochs[-1] >= epoch:
            trial.epochs.pop()
            trial.sers.pop()
            trial.rows.pop()
            trial.checkpoints.pop()
        trial.epochs.append(epoch)
        trial.sers.append(event.metrics.get("ser", np.nan))
        trial.rows.append(self._numbers.append(event.metrics, event.time))
        trial.checkpoints.append(event.checkpoint)


def latest_confirm(sessions: Sequence[SessionStarted], config: Mapping[str, Any]) -> dict[str, Any]:
    """How the best of a study are trained again (`top`, `rounds`, `worthwhile`), as of its latest session.

    Args:
        sessions: of the study, in order (`Replay.sessions`).
        config: as the study was begun (`StudyRecord.config`).
    """
    said = next((session.confirm for session in reversed(sessions) if session.confirm), config.get("confirm", {}))
    return {name: said.get(name, value) for name, value in CONFIRM.items()}


class _Numbers:
    """Rows of named numbers, each with its time; those with the same names in the same order share a block."""

    def __init__(self) -> None:
        self._length = 0
        self._blocks: dict[tuple[str, ...], tuple[array[int], array[float]]] = {}

    def append(self, row: dict[str, float], time: float) -> int:
        """Keep a row; its position."""
        names = tuple(row)
        block = self._blocks.get(names)
        if block is None:
            block = self._blocks[names] = (array("q"), array("d"))
        positions, values = block
        positions.append(self._length)
        values.extend(row.values())
        values.append(time)
        self._length += 1
        return self._length - 1

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for names in self._blocks for name in (*names, TIME)))

    def column(self, name: str) -> Floats:
        """A column at a time: all of them at once would be as much memory again."""
        column = np.full(self._length, np.nan)
        for names, (positions, values) in self._blocks.items():
            if name == TIME or name in names:
                place = len(names) if name == TIME else names.index(name)
                block = np.frombuffer(values).reshape(-1, len(names) + 1)
                column[np.frombuffer(positions, dtype=np.int64)] = block[:, place]
        return column
