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
from typing import Any

from ray.tune.search import Searcher

from search.agenda import Agenda, Assignment, Ended
from search.engine import keys
from search.engine.guard import guarded
from search.engine.stop import Stop
from search.space import ORIGIN


class AgendaSearcher(Searcher):
    """Asks the agenda what is trained next, and tells it how that went.

    Args:
        agenda: what is trained next.
        max_epochs: epochs of a trial that is trained to the end.
        stop: says when no more trials are wanted.
    """

    def __init__(self, agenda: Agenda, max_epochs: int, stop: Stop) -> None:
        super().__init__(metric=keys.METRIC, mode="min")
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
        if error or (result is not None and result.get(keys.FAILED)):
            return Ended(crashed=True)
        if result is None or result.get(keys.DISK_FULL) or result.get(keys.CUT_OFF):
            return Ended(cut_off=True)
        if result.get(keys.OUT_OF_MEMORY):
            return Ended(out_of_memory=True)
        rule, reached = self.agenda.rule, int(result[keys.STEP])
        if reached >= self.max_epochs:
            return Ended(ser=result[keys.METRIC] if _is_value(result) and not _is_changed(result) else None)
        if rule is not None and rule.waits(assignment.number):
            return Ended(waits=True)
        return Ended(cut_off=self.stop.early and not result.get(keys.DIVERGED))

    def _report(self, assignment: Assignment, result: Mapping[str, Any]) -> None:
        if _is_value(result) and not _is_changed(result):
            self.agenda.reported(assignment.number, int(result[keys.STEP]), result[keys.METRIC])


def as_config(assignment: Assignment) -> dict[str, Any]:
    """An assignment as Tune hands it to the trial."""
    config = {
        keys.NUMBER: assignment.number,
        keys.SETTINGS: assignment.settings,
        ORIGIN: assignment.origin,
        keys.SEED: assignment.seed,
        keys.REPEATS: assignment.repeats,
        keys.CHECKPOINTS: list(assignment.checkpoints),
    }
    return (
        config
        | ({keys.ADOPTED: keys.BEFORE} if assignment.adopted else {})
        | ({keys.ALONE: True} if assignment.alone else {})
    )


def _is_value(result: Mapping[str, Any]) -> bool:
    """Optuna takes infinity for the best or the worst there is, and NaN for a trial that is still running."""
    return keys.is_epoch(result) and math.isfinite(result[keys.METRIC])


def _is_changed(result: Mapping[str, Any]) -> bool:
    """Tune adds to a result what the trial was given when it got there."""
    return f"config/{keys.ADOPTED}" in result
