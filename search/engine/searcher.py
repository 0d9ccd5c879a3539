"""Optuna as a Tune searcher.

Tune's own OptunaSearch tells Optuna every trial that ends as complete, with the SER it happened to have, and
leaves a trial that ends in NaN running for ever: the sampler then learns from trials that were stopped after
one epoch as if they had been trained to the end. Here a trial reaches Optuna as what it was:

    trained to the end       COMPLETE with its SER
    stopped early            PRUNED with its intermediate values, also where the search was interrupted
    diverged                 PRUNED with the values until then
    crashed                  FAIL
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.engine.stop import Stop
from search.space import SearchSpace

# What a trial reports to Tune: the value that is minimised, the epoch it was reached in, all other numbers of
# that epoch, and in place of them why the trial diverged.
METRIC, STEP, METRICS, DIVERGED = "ser", "epoch", "metrics", "diverged"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class OptunaSearcher(Searcher):
    """Asks an Optuna study for settings, and tells it how they went.

    Args:
        study: minimises SER.
        space: what a setting is.
        max_epochs: epochs of a trial that is trained to the end.
        stop: says when no more trials are wanted.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, max_epochs: int, stop: Stop) -> None:
        super().__init__(metric=METRIC, mode="min")
        self.study = study
        self.space = space
        self.max_epochs = max_epochs
        self.stop = stop
        self.trials: dict[str, optuna.Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """A setting, queued points first; Optuna's number of the trial comes with it. Tune's mark for the end."""
        if self.stop.early:
            return Searcher.FINISHED
        trial = self.study.ask()
        self.trials[trial_id] = trial
        return {"number": trial.number, "settings": self.space.suggest(trial)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch is over, and the trial goes on."""
        self._report(self.trials[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or another."""
        trial = self.trials.pop(trial_id, None)
        if trial is None or self._state(trial) in ENDED:  # told before, in a run that this one goes on from
            return
        if error or result is None:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        self._report(trial, result)
        if result[STEP] >= self.max_epochs and _is_value(result):
            self.study.tell(trial, result[METRIC])
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def save(self, checkpoint_path: str) -> None:
        """Which Optuna trial belongs to which of Tune's; the rest is in Optuna's storage."""
        numbers = {trial_id: trial._trial_id for trial_id, trial in self.trials.items()}
        Path(checkpoint_path).write_bytes(pickle.dumps(numbers))

    def restore(self, checkpoint_path: str) -> None:
        """The inverse of `save`."""
        numbers: dict[str, int] = pickle.loads(Path(checkpoint_path).read_bytes())
        self.trials = {trial_id: optuna.Trial(self.study, number) for trial_id, number in numbers.items()}

    def _report(self, trial: optuna.Trial, result: dict[str, Any]) -> None:
        if _is_value(result):
            trial.report(result[METRIC], int(result[STEP]))

    def _state(self, trial: optuna.Trial) -> TrialState:
        return self.study.trials[trial.number].state


def _is_value(result: dict[str, Any]) -> bool:
    """Optuna takes infinity for the best or the worst there is, and NaN for a trial that is still running."""
    return not result.get(DIVERGED) and math.isfinite(result[METRIC])
