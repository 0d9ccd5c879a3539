"""Optuna as a Tune searcher.

Tune's own OptunaSearch tells Optuna every trial that ends as complete, with the SER it happened to have, and
leaves a trial that ends in NaN running for ever: the sampler then learns from trials that were stopped after
one epoch as if they had been trained to the end. Here a trial reaches Optuna as what it was:

    trained to the end       COMPLETE with its SER
    stopped early            PRUNED with its intermediate values, also where the search was interrupted
    changed on the way       PRUNED with the values until then: what came later is of other settings
    diverged                 PRUNED with the values until then
    crashed                  FAIL
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search.engine.stop import Stop
from search.samplers import exhausted
from search.space import ORIGIN, SearchSpace

# What a trial reports to Tune: the value that is minimised, the epoch it was reached in, all other numbers of
# that epoch, and in place of them why the trial diverged.
METRIC, STEP, METRICS, DIVERGED = "ser", "epoch", "metrics", "diverged"
# What a trial is given by Tune, beside `ORIGIN`: its number and its setting; and once it has gone on from another
# trial's checkpoint with other settings, the number of that one.
NUMBER, SETTINGS, ADOPTED = "number", "settings", "adopted"
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

    @property
    def exhausted(self) -> bool:
        """There is no setting left: none is queued, and each of a grid's has been begun."""
        waiting = self.study.get_trials(deepcopy=False, states=[TrialState.WAITING])
        return not waiting and exhausted(self.study, self.space)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """A setting, queued points first; Optuna's number of the trial comes with it. Tune's mark for the end."""
        if self.stop.early or self.exhausted:
            return Searcher.FINISHED
        trial = self.study.ask()
        self.trials[trial_id] = trial
        settings = self.space.suggest(trial)
        return {NUMBER: trial.number, SETTINGS: settings, ORIGIN: trial.user_attrs.get(ORIGIN, "")}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch is over, and the trial goes on."""
        self._report(self.trials[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or another."""
        trial = self.trials.pop(trial_id, None)
        if trial is None or self._recorded(trial).state in ENDED:  # told before, in a run that this one goes on from
            return
        if error:
            self.study.tell(trial, state=TrialState.FAIL)
        elif result is None or _is_changed(result):  # without a result: it was waiting when the search ended
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self._finish(trial, result)

    def save(self, checkpoint_path: str) -> None:
        """Which Optuna trial belongs to which of Tune's; the rest is in Optuna's storage."""
        numbers = {trial_id: trial._trial_id for trial_id, trial in self.trials.items()}
        Path(checkpoint_path).write_bytes(pickle.dumps(numbers))

    def restore(self, checkpoint_path: str) -> None:
        """The inverse of `save`."""
        numbers: dict[str, int] = pickle.loads(Path(checkpoint_path).read_bytes())
        self.trials = {trial_id: optuna.Trial(self.study, number) for trial_id, number in numbers.items()}

    def _finish(self, trial: optuna.Trial, result: dict[str, Any]) -> None:
        self._report(trial, result)
        if result[STEP] >= self.max_epochs and _is_value(result):
            self.study.tell(trial, result[METRIC])
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def _report(self, trial: optuna.Trial, result: dict[str, Any]) -> None:
        """Once an epoch: Tune tells the last one of a completed trial twice, and a crash may repeat one."""
        epoch = int(result[STEP])
        if _is_value(result) and not _is_changed(result) and epoch not in self._recorded(trial).intermediate_values:
            trial.report(result[METRIC], epoch)

    def _recorded(self, trial: optuna.Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]


def _is_value(result: dict[str, Any]) -> bool:
    """Optuna takes infinity for the best or the worst there is, and NaN for a trial that is still running."""
    return not result.get(DIVERGED) and math.isfinite(result[METRIC])


def _is_changed(result: dict[str, Any]) -> bool:
    """Tune adds to a result what the trial was given when it got there."""
    return f"config/{ADOPTED}" in result
