"""Why and when a search ends before all its trials are run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ray import tune


class Outcome(StrEnum):
    """How a search ended."""

    FINISHED = "finished"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"


@dataclass
class Stop:
    """Shared by all who must know: the searcher suggests no more, the stopper ends trials at their next report.

    Attributes:
        hours: that the search may take; None for no limit.
        interrupted: set by Ctrl-C or SIGTERM.
    """

    hours: float | None = None
    interrupted: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def reason(self) -> Outcome:
        """`FINISHED` as long as nothing ends the search early."""
        if self.interrupted:
            return Outcome.INTERRUPTED
        if self.hours is not None and time.monotonic() - self.began > self.hours * 3600:
            return Outcome.OUT_OF_TIME
        return Outcome.FINISHED

    @property
    def early(self) -> bool:
        """The search is to end now."""
        return self.reason != Outcome.FINISHED


class EndOfEpoch(tune.Stopper):
    """Ends every trial at its next report, with its epoch saved; Tune's own way would throw the epoch away."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop.early

    def stop_all(self) -> bool:
        return False
