"""A study's journal in the hands of the process that drives it: what happened before, and what happens now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from results.journal import Event, Journal, SessionEnded, SessionStarted, read
from results.replay import Replay, TrialHistory
from results.study import EVENTS_FILE


@dataclass(frozen=True)
class Used:
    """What a study has used so far: seconds on the clock, epochs trained, seconds of GPUs."""

    seconds: float
    epochs: int
    gpu_seconds: float


class Chronicle:
    """Writes events down before anybody acts on them, and keeps what they add up to.

    Whatever a search needs to go on is derived from here, so that it can be killed at any moment.

    Attributes:
        replay: what all events so far add up to.
    """

    def __init__(self, study: Path) -> None:
        self._journal = Journal(study / EVENTS_FILE)
        self._earlier = 0
        self.replay = Replay(self._counted(read(self._journal.path)))
        self._began = time.monotonic()
        self._live = False

    def earlier(self) -> Iterator[Event]:
        """The events before this session, in order: read again, as a large study's would fill the memory."""
        return islice(read(self._journal.path), self._earlier)

    def _counted(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._earlier += 1
            yield event

    @property
    def elapsed(self) -> float:
        """Seconds since this session began."""
        return time.monotonic() - self._began

    @property
    def used(self) -> Used:
        """What all sessions together have used."""
        replay = self.replay
        seconds = replay.seconds_before + (self.elapsed if self._live else replay.seconds - replay.seconds_before)
        return Used(seconds, replay.reports, replay.gpu_seconds)

    @property
    def session(self) -> int:
        """The number of the latest session, from 1; 0 before the first."""
        return len(self.replay.sessions)

    @property
    def next_number(self) -> int:
        """The number that the next new trial gets."""
        return max((trial.start.number for trial in self.replay.trials()), default=-1) + 1

    def append(self, event: Event) -> None:
        """Write an event down."""
        self._journal.append(event)
        self.replay.add(event)

    def begin(
        self,
        code: str,
        command_line: str,
        budget: dict[str, float | int | None],
        changes: list[str],
        confirm: dict[str, float | int],
        packing: dict[str, float | int | str] | None = None,
    ) -> None:
        """A session begins; the arguments are those of `SessionStarted`."""
        self._began, self._live = time.monotonic(), True
        now = time.time()
        self.append(SessionStarted(self.session + 1, code, command_line, budget, changes, now, confirm, packing or {}))

    def end(self, outcome: str) -> None:
        """It ends of its own."""
        self.append(SessionEnded(outcome, self.elapsed, time.time()))

    def trial(self, number: int) -> TrialHistory:
        """The trial of a number that has started."""
        return self.replay.trial(trial_id(number))


def trial_id(number: int) -> str:
    """The name of a trial in its study."""
    return f"{number:04d}"
