"""A search in Ray's dashboard, and among the metrics that Ray hands to Prometheus.

A process trains one trial after another (`reuse_actors`), and Ray lets it be named once, when it begins: `trials of
STUDY`. So it is its tasks that carry the trials' names: the page of a job lists them, the page of an actor says what it
has trained, and the cluster's page and `ps` what each process trains now.

    ray_omr_ser                  latest, a fraction             study, trial
    ray_omr_epoch                latest                         study, trial
    ray_omr_samples_per_second   of the latest epoch, staves    study, trial
    ray_omr_gpu_memory_bytes     peak of the latest epoch       study, trial
    ray_omr_best_ser             of those trained furthest      study
    ray_omr_trials               how many                       study, state

Ray forgets a gauge that nobody has set for some 20 seconds, which an epoch may outlast; so they are set again every
few seconds, and those of a trial end with it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.util.metrics import Gauge

from results.replay import TrialHistory
from search.chronicle import Chronicle, trial_id
from search.engine import keys
from search.labels import trial_label

SECONDS_BETWEEN = 5.0
STATES = ("running", "completed", "pruned", "paused", "failed", "diverged")
OF_A_TRIAL = {
    "ser": ("omr_ser", "Corpus-level symbol error rate after the latest epoch, a fraction."),
    "epoch": ("omr_epoch", "Epochs that the trial has been trained for."),
    "samples_per_second": ("omr_samples_per_second", "Training staves a second in the latest epoch."),
    "peak_memory_bytes": ("omr_gpu_memory_bytes", "Peak memory of the GPU in the latest epoch, in bytes."),
}
"""By the column of `epochs`."""


class Gauges(tune.Callback):
    """Names the tasks of trials, and sets the gauges; Tune's callback, after the one that records (`Observer`).

    Nothing that goes wrong here is any reason to end a search: it is let be.

    Args:
        study: its name.
        chronicle: what has happened.
        gauge: makes a gauge of name, description and keys; Ray's own unless a test watches.
    """

    def __init__(self, study: str, chronicle: Chronicle, gauge: Callable[..., Any] = Gauge) -> None:
        self.study = study
        self.chronicle = chronicle
        self.gauge = gauge
        self.gauges: dict[str, Any] = {}
        self.values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}  # by name and tags
        self._told = -math.inf
        self.states: dict[str, str] = {}
        self.counts: Counter[str] = Counter()  # trials by state
        self.best = (0, math.inf)  # epoch, SER
        for trial in chronicle.replay.trials():
            self._take(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        with suppress(Exception):
            name_tasks(trial)
        self._tell(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if keys.is_epoch(result):
            with suppress(Exception):
                self._tell_epoch(trial_id(trial.config[keys.NUMBER]), dict(result[keys.METRICS]))
        self._tell(trial)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Set them all again, every few seconds."""
        if time.monotonic() - self._told < SECONDS_BETWEEN:
            return
        self._told = time.monotonic()
        with suppress(Exception):
            for name, values in self.values.items():
                for tags, value in values.items():
                    self.gauges[name].set(value, tags=dict(tags))

    def _end(self, trial: Trial) -> None:
        for values in self.values.values():
            for tags in [tags for tags in values if ("trial", trial_id(trial.config[keys.NUMBER])) in tags]:
                del values[tags]
        with suppress(Exception):
            unname_tasks(trial)
        self._tell(trial)

    def _tell_epoch(self, trial: str, numbers: dict[str, float]) -> None:
        """The numbers of a trial's epoch."""
        if not numbers.get("gpu_seconds"):
            numbers.pop("peak_memory_bytes", None)  # of a process, not of a GPU
        for column in OF_A_TRIAL.keys() & numbers.keys():
            self._set(*OF_A_TRIAL[column], numbers[column], trial=trial)

    def _tell(self, trial: Trial) -> None:
        """The numbers of the study, after what has become of a trial."""
        with suppress(Exception):
            self._take(self.chronicle.trial(trial.config[keys.NUMBER]))
            for state in STATES:
                self._set("omr_trials", "Trials in this state.", float(self.counts[state]), state=state)
            self._set("omr_best_ser", "Lowest SER of the trials that were trained furthest.", self.best[1])

    def _take(self, trial: TrialHistory) -> None:
        if (before := self.states.get(trial.trial_id)) is not None:
            self.counts[before] -= 1
        self.counts[trial.state] += 1
        self.states[trial.trial_id] = trial.state
        if trial.epochs and trial.start.repeats is None and math.isfinite(trial.sers[-1]):
            self.best = min(self.best, (trial.epochs[-1], trial.sers[-1]), key=lambda one: (-one[0], one[1]))

    def _set(self, name: str, description: str, value: float, **tags: str) -> None:
        if name not in self.gauges:
            self.gauges[name] = self.gauge(name, description, ("study", *tags))
        if math.isfinite(value):
            of = {"study": self.study, **tags}
            self.values.setdefault(name, {})[tuple(of.items())] = value
            self.gauges[name].set(value, tags=of)


def name_tasks(trial: Trial) -> None:
    """Let what Tune asks of the trial's process from now on carry its name: `0007 dropout=0.1`."""
    unname_tasks(trial)
    actor: Any = trial.temporary_state.ray_actor
    actor.train = actor.train.options(name=trial_label(trial.config[keys.NUMBER], trial.config[keys.SETTINGS]))


def unname_tasks(trial: Trial) -> None:
    """As it was: what is named holds on to the process, which ends once nobody does."""
    vars(trial.temporary_state.ray_actor).pop("train", None)
