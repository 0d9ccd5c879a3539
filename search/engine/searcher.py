"""The agenda as a Tune searcher.

Tune's own OptunaSearch tells Optuna every trial that ends as complete, with the SER it happened to have, and
leaves a trial that ends in NaN running for ever: the sampler then learns from trials that were stopped after
one epoch as if they had been trained to the end. Here a trial reaches Optuna as what it was (`search.optuna_study`).

To Tune, each time that a trial runs is a trial of its own: one that is taken up again, or promoted, is a new one that
begins with the old one's checkpoints. Nothing of Tune's own state is needed to go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from search.agenda import Agenda, Assignment, Ended
from search.engine.guard import guarded
from search.space import ORIGIN

if TYPE_CHECKING:  # it needs the names below
    from search.engine.stop import Stop

# What a trial reports to Tune: the value that is minimised, the epoch it was reached in, all other numbers of that
# epoch; or in place of them why it diverged, why it failed, that the disk is full, or what else the machine lacks.
METRIC, STEP, METRICS, DIVERGED, FAILED, DISK_FULL = "ser", "epoch", "metrics", "diverged", "failed", "disk_full"
CUT_OFF = "cut_off"
OUT_OF_MEMORY = "out_of_memory"  # beside others on a GPU
NOTE = "note"  # what a person should know of this report
# What a trial is given by Tune, beside `ORIGIN`: its number, its setting, its seed, the number of the trial that it
# repeats, the checkpoints to go on from; and once it has gone on from another trial's checkpoint with other settings,
# the number of that one, and the trial's own latest checkpoint before, which it does not go back to.
NUMBER, SETTINGS, SEED, REPEATS, CHECKPOINTS = "number", "settings", "seed", "repeats", "checkpoints"
ADOPTED, EXCHANGED = "adopted", "exchanged"
ALONE = "alone"  # given to a trial that has a GPU of its own, where others share one
BEFORE = -1
"""The number for `ADOPTED` where a trial has gone on from another one's checkpoint before it was taken up again."""


class AgendaSearcher(Searcher):
    """Asks the agenda what is trained next, and tells it how that went.

    Args:
        agenda: what is trained next.
        max_epochs: epochs of a trial that is trained to the end.
        stop: says when no more trials are wanted.
    """

    def __init__(self, agenda: Agenda, max_epochs: int, stop: Stop) -> None:
        super().__init__(metric=METRIC, mode="min")
        self.agenda = agenda
        self.max_epochs = max_epochs
        self.stop = stop
        self.assigned: dict[str, Assignment] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """What to train; Tune's mark for the end; or None where Tune is to ask again."""
        if self.stop.early:
            return Searcher.FINISHED
        assignment = self._next()
        if assignment is None:
            return Searcher.FINISHED if self.stop.error is not None or self.agenda.over else None
        self.assigned[trial_id] = assignment
        return as_config(assignment)

    @guarded
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch is over, and the trial goes on."""
        self._report(self.assigned[trial_id], result)

    @guarded
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or another."""
        assignment = self.assigned.pop(trial_id)
        if result is not None and not error:
            self._report(assignment, result)
        self.agenda.ended(assignment.number, self._ending(assignment, result, error))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    @guarded
    def _next(self) -> Assignment | None:
        return self.agenda.next()

    def _ending(self, assignment: Assignment, result: Mapping[str, Any] | None, error: bool) -> Ended:
        if error or (result is not None and result.get(FAILED)):
            return Ended(crashed=True)
        if result is None or result.get(DISK_FULL) or result.get(CUT_OFF):
            return Ended(cut_off=True)
        if result.get(OUT_OF_MEMORY):
            return Ended(out_of_memory=True)
        rule, reached = self.agenda.rule, int(result[STEP])
        if reached >= self.max_epochs:
            return Ended(ser=result[METRIC] if _is_value(result) and not _is_changed(result) else None)
        if rule is not None and rule.waits(assignment.number):
            return Ended(waits=True)
        return Ended(cut_off=self.stop.early and not result.get(DIVERGED))

    def _report(self, assignment: Assignment, result: Mapping[str, Any]) -> None:
        if _is_value(result) and not _is_changed(result):
            self.agenda.reported(assignment.number, int(result[STEP]), result[METRIC])


def as_config(assignment: Assignment) -> dict[str, Any]:
    """An assignment as Tune hands it to the trial."""
    config = {
        NUMBER: assignment.number,
        SETTINGS: assignment.settings,
        ORIGIN: assignment.origin,
        SEED: assignment.seed,
        REPEATS: assignment.repeats,
        CHECKPOINTS: list(assignment.checkpoints),
    }
    return config | ({ADOPTED: BEFORE} if assignment.adopted else {}) | ({ALONE: True} if assignment.alone else {})


def is_epoch(result: Mapping[str, Any]) -> bool:
    """Whether a report is that of an epoch, and not of an end without one."""
    return not any(result.get(end) for end in (DIVERGED, FAILED, DISK_FULL, CUT_OFF, OUT_OF_MEMORY))


def _is_value(result: Mapping[str, Any]) -> bool:
    """Optuna takes infinity for the best or the worst there is, and NaN for a trial that is still running."""
    return is_epoch(result) and math.isfinite(result[METRIC])


def _is_changed(result: Mapping[str, Any]) -> bool:
    """Tune adds to a result what the trial was given when it got there."""
    return f"config/{ADOPTED}" in result
