"""Population-based training (Jaderberg et al., arXiv 1711.09846) on trials that a search algorithm suggests.

All trials are one population. Every so many epochs each of them waits; once all that live are there, the worst
quarter goes on from the checkpoints of the best quarter, with settings that are the donors', a little changed. Fewer
slots than trials take turns.

Why it is not Tune's PopulationBasedTraining: that one refuses a search algorithm. Its synchronous mode waits for ever
once a trial has failed; its asynchronous mode compares the SER of different epochs, and what comes out depends on
which trial was quicker. Here nothing depends on that: who gives, who takes and what is changed follow from the
study's seed and the SERs.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from random import Random
from typing import Any

import pyarrow.fs
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from datasets.seeds import seed_from
from results.ranking import BASE
from search.engine import keys
from search.engine.checkpoint_files import TAKEN_FROM, TAKEN_OVER
from search.engine.exploration import Exploration
from search.engine.stop import Stop
from search.space import ORIGIN

QUANTILE = 0.25
"""The share of the population that gives, and that takes over (the paper's truncation selection: 20 %; Tune: 25 %)."""


@dataclass(frozen=True)
class Waiting:
    """A trial that waits for the others: after which epoch, and with which SER."""

    epoch: int
    ser: float


class Population(FIFOScheduler):
    """Pauses trials, has them exchange checkpoints, and lets them go on.

    The base gives like any other trial and takes from none, so that it is trained to its end as it is. Who waits is not
    known any more when a search is taken up again: the exchange that it was interrupted before is left out.

    Args:
        exploration: changes the settings of a trial that goes on from another's checkpoint.
        interval: epochs between two exchanges.
        epochs: of a trial that is trained to the end.
        seed: of donors and changes.
        stop: when trials that wait are to end.
    """

    def __init__(self, exploration: Exploration, interval: int, epochs: int, seed: int, stop: Stop) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metric = keys.METRIC
        self.exploration = exploration
        self.interval = interval
        self.epochs = epochs
        self.seed = seed
        self.stop = stop
        self.waiting: dict[str, Waiting] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """After each interval a trial waits; its checkpoint is stored and its slot is free."""
        epoch = int(result[keys.STEP])
        if not keys.is_epoch(result) or epoch >= self.epochs or epoch % self.interval:
            return TrialScheduler.CONTINUE
        self.waiting[trial.trial_id] = Waiting(epoch, float(result[keys.METRIC]))
        return TrialScheduler.PAUSE

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next trial that does not wait, after the exchange if all that live are there."""
        alive = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        if self.stop.early:
            self._end_idle(tune_controller, alive)
            return None
        if alive and tune_controller.search_alg.is_finished() and all(self._waits(trial) for trial in alive):
            self._meet(alive)
        paused = [trial for trial in alive if trial.status == Trial.PAUSED and not self._waits(trial)]
        pending = [trial for trial in alive if trial.status == Trial.PENDING]
        return next(iter(paused + pending), None)  # Tune itself looks after pending ones, but not after paused ones

    def _waits(self, trial: Trial) -> bool:
        """Only once it is paused: until then its checkpoint may still be on its way."""
        return trial.status == Trial.PAUSED and trial.trial_id in self.waiting

    def _end_idle(self, tune_controller: Any, alive: list[Trial]) -> None:
        """Trials that run end at their next report; the others would never come to one."""
        for trial in alive:
            if trial.status in (Trial.PAUSED, Trial.PENDING):
                tune_controller.stop_trial(trial)

    def _meet(self, population: list[Trial]) -> None:
        """All are there: exchange, and let them go on.

        After a restart trials may stand at different epochs; then those behind go on first.
        """
        epochs = [self.waiting[trial.trial_id].epoch for trial in population]
        if min(epochs) == max(epochs):
            self._exchange(sorted(population, key=lambda trial: (self._ser(trial), trial.config[keys.NUMBER])))
        for trial, epoch in zip(population, epochs, strict=True):
            if epoch == min(epochs):
                del self.waiting[trial.trial_id]

    def _exchange(self, ranked: list[Trial]) -> None:
        count = min(math.ceil(QUANTILE * len(ranked)), len(ranked) // 2)
        best, worst = ranked[:count], ranked[len(ranked) - count :]
        for trial in worst:
            epoch = self.waiting[trial.trial_id].epoch
            random = Random(seed_from(self.seed, f"exchange {trial.config[keys.NUMBER]} {epoch}"))
            donor = random.choice(best) if best else trial
            if trial.config.get(ORIGIN) != BASE and self._ser(donor) < self._ser(trial):
                self._take_over(trial, donor, epoch, random)

    def _take_over(self, trial: Trial, donor: Trial, epoch: int, random: Random) -> None:
        number = donor.config[keys.NUMBER]
        settings = self.exploration.explore(donor.config[keys.SETTINGS], random)
        origin = TAKEN_FROM.format(number=number, epoch=epoch)
        trial.set_config({**trial.config, keys.SETTINGS: settings, ORIGIN: origin, keys.ADOPTED: number})  # type: ignore[no-untyped-call]
        _adopt_checkpoint(trial, donor, epoch)

    def _ser(self, trial: Trial) -> float:
        return self.waiting[trial.trial_id].ser


def _adopt_checkpoint(trial: Trial, donor: Trial, epoch: int) -> None:
    """Copy the donor's checkpoint, and have the trial begin there: the donor deletes its own when it goes on.

    The keeper deletes the copy. The trial does not go back to its own checkpoints from before: its settings are others.
    """
    own, given, manager = (
        trial.latest_checkpoint_result,
        donor.latest_checkpoint_result,
        trial.run_metadata.checkpoint_manager,
    )
    assert own is not None
    assert own.checkpoint is not None
    assert given is not None  # trials store a checkpoint with every report
    assert given.checkpoint is not None
    assert manager is not None
    files = given.checkpoint.filesystem
    assert files is not None
    path = str(PurePosixPath(str(trial.path)) / TAKEN_OVER.format(number=donor.config[keys.NUMBER], epoch=epoch))
    files.create_dir(path)
    pyarrow.fs.copy_files(given.checkpoint.path, path, source_filesystem=files, destination_filesystem=files)
    taken = copy.copy(given)
    taken.checkpoint = tune.Checkpoint(path, files)
    taken.metrics = {name: value for name, value in given.metrics.items() if name != "config"}  # Tune adds the trial's
    manager._checkpoint_results.append(taken)
    manager._latest_checkpoint_result = taken
    exchanged = PurePosixPath(own.checkpoint.path).name
    trial.set_config({**trial.config, keys.CHECKPOINTS: [path], keys.EXCHANGED: exchanged})  # type: ignore[no-untyped-call]
