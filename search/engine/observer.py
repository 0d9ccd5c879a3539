"""What Tune does, into the study's journal and onto the terminal, as it happens."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from datasets.errors import OmrError
from omr_model.checkpoint import RESUME
from results.gather import write_reports
from results.journal import EndState, EpochReported, Journal, TrialEnded, TrialStarted
from search.console import Console
from search.engine.searcher import ADOPTED, DIVERGED, METRIC, METRICS, NUMBER, SETTINGS, STEP
from search.engine.stop import Stop
from search.space import ORIGIN

SECONDS_BETWEEN_REPORTS = 20.0


class Observer(tune.Callback):
    """Tune's callback: it records, and decides nothing.

    Args:
        study: the study's folder.
        console: what the person sees.
        stop: tells trials that are cut off from those that were stopped for their SER.
        seed: every trial's.
        max_epochs: epochs of a trial that is trained to the end.
    """

    def __init__(self, study: Path, console: Console, stop: Stop, seed: int, max_epochs: int) -> None:
        self.study = study
        self.console = console
        self.stop = stop
        self.seed = seed
        self.max_epochs = max_epochs
        self.journal = Journal(study / "events.jsonl")
        self.started: dict[str, TrialStarted] = {}  # the latest start of each trial
        self.running: dict[str, int] = {}
        self.finished = 0  # trials that have ended of their own
        self._reported = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps its callbacks with the experiment; a terminal cannot be kept."""
        return {**self.__dict__, "console": None}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins; or goes on after a pause or a crash, maybe with settings that it has not reported with."""
        start = self._start(trial)
        before = self.started.setdefault(trial.trial_id, start)
        self.journal.append(dataclasses.replace(before, time=start.time))
        if trial.trial_id not in self.running:
            self.console.started(start.number, before.params)
        if _what(start) != _what(before):
            self._show_exchange(trial, before)
        self.running[trial.trial_id] = start.number

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.console.say(f"trial {trial.config[NUMBER]:>3}  crashed and goes on from its checkpoint: {_reason(trial)}")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config[NUMBER]
        if result.get(DIVERGED):
            return
        self._record_exchange(trial)
        metrics = result[METRICS]
        self.journal.append(EpochReported(trial.trial_id, metrics, self._checkpoint(trial, result), time.time()))
        self.console.epoch(number, int(result[STEP]), result[METRIC], metrics["samples_per_second"])
        self._write_reports_now_and_then()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        result = trial.last_result
        if result.get(DIVERGED):
            self._end(trial, "diverged", str(result[DIVERGED]))
        elif result.get(STEP, 0) >= self.max_epochs:
            self._end(trial, "completed", "trained to the end")
        elif self.stop.early:
            self._end(trial, "paused", f"the search ended before the trial did: {self.stop.reason}")
        else:
            self._end(trial, "pruned", f"stopped after epoch {result.get(STEP, 0)} of {self.max_epochs}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, "failed", _reason(trial))

    def finish(self) -> None:
        """The search is over: what still runs is paused, and the reports are written for the last time."""
        for trial_id, number in list(self.running.items()):
            self._record_end(trial_id, number, "paused", "the search ended in the middle of an epoch")
        write_reports(self.study)

    def _end(self, trial: Trial, state: EndState, message: str) -> None:
        if trial.trial_id in self.running:
            if state != "paused":
                self._record_exchange(trial)
            self._record_end(trial.trial_id, trial.config[NUMBER], state, message)
        if state != "paused":
            # Two thirds of a checkpoint are the optimiser's, and nobody goes on from here.
            for leftover in Path(str(trial.path)).glob(f"*/{RESUME}"):
                leftover.unlink(missing_ok=True)
        self._write_reports_now_and_then()

    def _start(self, trial: Trial) -> TrialStarted:
        config = trial.config
        return TrialStarted(
            trial.trial_id, config[NUMBER], self.seed, config[SETTINGS], time.time(), origin=config[ORIGIN]
        )

    def _record_exchange(self, trial: Trial) -> None:
        """Other settings come into the journal with the first that they led to, not while the trial's latest epoch
        is still of those before."""
        start = self._start(trial)
        if _what(start) != _what(self.started[trial.trial_id]):
            self.started[trial.trial_id] = start
            self.journal.append(start)

    def _show_exchange(self, trial: Trial, before: TrialStarted) -> None:
        number, settings = trial.config[NUMBER], trial.config[SETTINGS]
        changed = {target: value for target, value in settings.items() if before.params.get(target) != value}
        text = "  ".join(
            f"{target} {value:.3g}" if isinstance(value, float) else f"{target} {value}"
            for target, value in changed.items()
        )
        donor = trial.config[ADOPTED]
        self.console.say(f"trial {number:>3}  goes on from trial {donor}'s checkpoint: {text or 'the same settings'}")
        self.console.rows[number].settings = settings

    def _record_end(self, trial_id: str, number: int, state: EndState, message: str) -> None:
        del self.running[trial_id]
        self.finished += state != "paused"
        self.journal.append(TrialEnded(trial_id, state, message, time.time()))
        self.console.ended(number, state, message)

    def _checkpoint(self, trial: Trial, result: dict[str, Any]) -> str | None:
        """The folder that Tune has just stored, relative to the study."""
        name = result.get("checkpoint_dir_name")
        return str((Path(str(trial.path)) / name).relative_to(self.study)) if name else None

    def _write_reports_now_and_then(self) -> None:
        if time.monotonic() - self._reported < SECONDS_BETWEEN_REPORTS:
            return
        self._reported = time.monotonic()
        try:
            write_reports(self.study)
        except (OSError, OmrError) as error:  # reports can be made anew at any time; the search goes on
            self.console.say(f"reports not written: {error}")


def _what(start: TrialStarted) -> TrialStarted:
    """A start without its time."""
    return dataclasses.replace(start, time=0.0)


def _reason(trial: Trial) -> str:
    """The last line of the error that ended a trial; Tune writes it here first, and copies it to the study later."""
    file = trial.error_file
    error = Path(file).read_text(encoding="utf-8") if file and Path(file).exists() else ""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1] if lines else "its process died without a word"
