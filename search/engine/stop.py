"""Why and when a search ends before all its trials are run."""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass
from typing import Any

from ray import tune

from search.chronicle import Chronicle
from search.config import BudgetConfig
from search.engine import keys
from search.outcome import Outcome

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Stop:
    """Shared by all who must know: the searcher suggests no more, the stopper ends trials at their next report.

    Attributes:
        budget: what the study may use in all.
        chronicle: what it has used.
        interrupted: set by Ctrl-C and the signals that mean the same.
        disk_full: set by whoever cannot write.
        error: the first one that ends the search; nothing is recorded after it (`search.engine.guard`).
    """

    budget: BudgetConfig
    chronicle: Chronicle
    interrupted: bool = False
    disk_full: bool = False
    error: Exception | None = None

    @property
    def reason(self) -> Outcome:
        """`FINISHED` as long as nothing ends the search early."""
        budget, used = self.budget, self.chronicle.used
        if self.interrupted:
            return Outcome.INTERRUPTED
        if self.disk_full or (isinstance(self.error, OSError) and self.error.errno in NO_ROOM):
            return Outcome.DISK_FULL
        if self.error is not None:
            return Outcome.BROKEN_OFF
        if budget.hours is not None and used.seconds >= budget.hours * 3600:
            return Outcome.OUT_OF_TIME
        if budget.epochs is not None and used.epochs >= budget.epochs:
            return Outcome.OUT_OF_EPOCHS
        if budget.gpu_hours is not None and used.gpu_seconds >= budget.gpu_hours * 3600:
            return Outcome.OUT_OF_GPU_TIME
        return Outcome.FINISHED

    @property
    def early(self) -> bool:
        """The search is to end now."""
        return self.reason != Outcome.FINISHED

    def with_epoch(self, gpu_seconds: float) -> bool:
        """It is to end with an epoch that is not written down yet, and took so long."""
        budget, used = self.budget, self.chronicle.used
        epochs, gpu_hours = budget.epochs or math.inf, budget.gpu_hours or math.inf
        return self.early or used.epochs + 1 >= epochs or used.gpu_seconds + gpu_seconds >= gpu_hours * 3600


class EndOfEpoch(tune.Stopper):
    """Ends every trial at its next report, with its epoch saved; Tune's own way would throw the epoch away.

    After an error no epoch is recorded any more, and there is nothing to wait for.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop.with_epoch(result.get(keys.METRICS, {}).get("gpu_seconds", 0.0))

    def stop_all(self) -> bool:
        return self.stop.error is not None
