"""What Tune does, into the study's journal and onto the terminal, as it happens; and the end of a search that cannot
go on."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from datasets.errors import OmrError, StorageError, StudyError
from results.gather import write_reports
from results.journal import EndState, EpochReported, TrialEnded, TrialStarted
from results.samples import SAMPLES_FILE
from search.chronicle import Chronicle, trial_id
from search.console import Console, TrialRow
from search.disk import GIGABYTE, free_bytes
from search.engine import keys
from search.engine.guard import guarded
from search.engine.keeper import Keeper
from search.engine.stop import Stop
from search.engine.watchdog import check_ray
from search.mirror import Mirror
from search.recovery import OPEN, Recovery, stopped_after, waits_after
from search.rules import Rule
from search.space import ORIGIN

SECONDS_BETWEEN_REPORTS = 20.0
REPORTS_SHARE = 0.03
"""Of the driver's time, at the most, that may go into tables while a search runs: a large study's take long."""
FAILURES_IN_A_ROW = 5
"""So many trials that fail with no epoch of any trial between them: it is the machine, and not their settings."""


class Observer(tune.Callback):
    """Tune's callback: it records before anybody acts, tells the rule of trials that go on, has the keeper delete, and
    stops the search when the disk is full or the machine fails every trial.

    Args:
        study: the study's folder.
        chronicle: where it is recorded.
        console: what the person sees.
        stop: tells trials that are cut off from those that were stopped for their SER.
        rule: tells those that wait from both; None for a population.
        keeper: deletes what is needed no more.
        max_epochs: epochs of a trial that is trained to the end.
        reserve: bytes of the disk that are to stay free.
        mirror: to the address where checkpoints are; None where they are in the folder.
    """

    def __init__(
        self,
        study: Path,
        chronicle: Chronicle,
        console: Console,
        stop: Stop,
        rule: Rule | None,
        keeper: Keeper,
        max_epochs: int,
        reserve: float,
        mirror: Mirror | None = None,
    ) -> None:
        self.study = study
        self.mirror = mirror
        self.chronicle = chronicle
        self.console = console
        self.stop = stop
        self.rule = rule
        self.keeper = keeper
        self.max_epochs = max_epochs
        self.reserve = reserve
        self.running: set[int] = set()
        self._noted = 0 if rule is None else len(rule.notes)  # those of earlier sessions were told then
        self._reports_due = -math.inf
        self._failures = 0  # since the last epoch

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    def recovered(self, recovery: Recovery) -> None:
        """Show what was there when the search was taken up again, and write down what had ended."""
        for trial in self.chronicle.replay.trials():
            start = trial.start
            reached, ser = (trial.epochs[-1], trial.sers[-1]) if trial.epochs else (0, None)
            state = "paused" if trial.state == "running" else trial.state
            self.console.known(
                TrialRow(start.number, start.params, start.repeats, state, begun_after=reached, epoch=reached, ser=ser)
            )
        if self.chronicle.session > 1:
            ended = sum(trial.state not in OPEN for trial in self.chronicle.replay.trials()) + len(recovery.endings)
            self.console.say(
                f"session {self.chronicle.session}: {ended} trials have ended, {len(recovery.unfinished)} go on"
            )
            if self.rule is None and recovery.unfinished:
                self.console.say("the population leaves out the exchange that it was interrupted before")
        for ending in recovery.endings:
            self._record_end(int(ending.trial_id), ending.state, ending.message)
        self._write_reports_now_and_then()  # they carry `study.json`, should that be lost

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins; or goes on after a pause or a crash, maybe with settings that it has not reported with."""
        start = self._start(trial)
        before = self._latest(start.number)
        if self.rule is not None and self.rule.waits(start.number):
            self.rule.promote(start.number)  # it died on the way to its pause; the journal, told again, says the same
        again = None if before is None else dataclasses.replace(before, time=start.time, alone=start.alone)
        self.chronicle.append(again or start)
        if start.number not in self.running:
            self.console.started(start.number, start.params, start.repeats)
        if before is not None and _what(start) != _what(before):
            self._show_exchange(trial, before)
        self.running.add(start.number)

    @guarded
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.console.say(
            f"trial {trial.config[keys.NUMBER]:>3}  crashed and goes on from its checkpoint: {_reason(trial)}"
        )

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config[keys.NUMBER]
        if result.get(keys.NOTE):
            self.console.say(f"trial {number:>3}  {result[keys.NOTE]}")
        if result.get(keys.DISK_FULL):
            self._out_of_disk(str(result[keys.DISK_FULL]))
        if result.get(keys.CUT_OFF):
            raise StudyError(f"trial {number}: {result[keys.CUT_OFF]}; {self._mend_and_resume}")
        if not keys.is_epoch(result):
            return
        self._failures = 0
        self._record_exchange(trial)
        metrics, checkpoint = result[keys.METRICS], self._checkpoint(trial, result)
        self.chronicle.append(EpochReported(trial_id(number), metrics, checkpoint, time.time(), self.chronicle.elapsed))
        if self.mirror is not None and checkpoint is not None:
            self.mirror.fetch(f"{checkpoint}/{SAMPLES_FILE}")
        self.console.epoch(number, int(result[keys.STEP]), result[keys.METRIC], metrics["samples_per_second"])
        self._tell_notes()
        self._keep(number)
        if free_bytes(self.study) < self.reserve:
            self._out_of_disk(f"less than {self.reserve / GIGABYTE:g} GB are free (disk.reserve)")
        self._write_reports_now_and_then()

    @guarded
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        number, result = trial.config[keys.NUMBER], trial.last_result
        reached = int(result.get(keys.STEP, 0))
        if result.get(keys.DIVERGED):
            self._end(trial, "diverged", str(result[keys.DIVERGED]))
        elif result.get(keys.FAILED):
            self._failed(trial, str(result[keys.FAILED]))
        elif result.get(keys.OUT_OF_MEMORY):
            self._end(trial, "paused", f"goes on alone on a GPU: {result[keys.OUT_OF_MEMORY]}", out_of_memory=True)
        elif reached >= self.max_epochs:
            self._end(trial, "completed", "trained to the end")
        elif self.rule is not None and self.rule.waits(number):
            self._end(trial, "paused", waits_after(reached))
        elif self.stop.early:
            self._end(trial, "paused", f"the search ended before the trial did: {self.stop.reason}")
        else:
            self._end(trial, "pruned", stopped_after(reached, self.max_epochs))

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its process died, and was not to be begun again; a process that the search's own end took with it goes on."""
        check_ray(self.study.name)
        if self.stop.interrupted:
            self._end(trial, "paused", f"its process died as the search ended: {_reason(trial)}")
        else:
            self._failed(trial, _reason(trial))

    def finish(self) -> None:
        """The session is over: what still runs is paused, and the reports are written for the last time."""
        for number in sorted(self.running):
            self._record_end(number, "paused", "the search ended in the middle of an epoch")
        self.running.clear()
        self.chronicle.end(self.stop.reason)
        if self.mirror is not None:
            self.mirror.settle()
            with suppress(StorageError):  # the next session deletes it
                self.keeper.finish()
        write_reports(self.study, self.chronicle.replay)

    @property
    def _mend_and_resume(self) -> str:
        return f"mend that, then go on with: python -m search.run resume={self.study.name}"

    def _failed(self, trial: Trial, message: str) -> None:
        self._end(trial, "failed", message)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise StudyError(
                f"{self._failures} trials in a row failed without an epoch, the last one with: {message}; "
                f"{self._mend_and_resume}"
            )

    def _end(self, trial: Trial, state: EndState, message: str, out_of_memory: bool = False) -> None:
        number = trial.config[keys.NUMBER]
        if number in self.running:
            if state != "paused":
                self._record_exchange(trial)
            self._record_end(number, state, message, out_of_memory)
            self.running.discard(number)
        if self.mirror is not None:
            self.mirror.settle()  # what is trained next may depend on what this one has read
        self._write_reports_now_and_then()

    def _record_end(self, number: int, state: EndState, message: str, out_of_memory: bool = False) -> None:
        self.chronicle.append(TrialEnded(trial_id(number), state, message, time.time(), out_of_memory))
        self.console.ended(number, state, message)
        self._keep(number)

    def _latest(self, number: int) -> TrialStarted | None:
        """The trial's latest start that is written down."""
        trial = self.chronicle.replay.find(trial_id(number))
        return None if trial is None else trial.start

    def _start(self, trial: Trial) -> TrialStarted:
        config = trial.config
        return TrialStarted(
            trial_id(config[keys.NUMBER]),
            config[keys.NUMBER],
            config[keys.SEED],
            config[keys.SETTINGS],
            time.time(),
            origin=config[ORIGIN],
            repeats=config[keys.REPEATS],
            alone=bool(config.get(keys.ALONE)),
        )

    def _record_exchange(self, trial: Trial) -> None:
        """Other settings come into the journal with the first that they led to, not while the trial's latest epoch
        is still of those before."""
        start, before = self._start(trial), self._latest(trial.config[keys.NUMBER])
        if before is None or _what(start) != _what(before):
            self.chronicle.append(start)

    def _show_exchange(self, trial: Trial, before: TrialStarted) -> None:
        number, settings = trial.config[keys.NUMBER], trial.config[keys.SETTINGS]
        changed = {target: value for target, value in settings.items() if before.params.get(target) != value}
        text = "  ".join(
            f"{target} {value:.3g}" if isinstance(value, float) else f"{target} {value}"
            for target, value in changed.items()
        )
        donor = trial.config.get(keys.ADOPTED, keys.BEFORE)
        self.console.say(f"trial {number:>3}  goes on from trial {donor}'s checkpoint: {text or 'the same settings'}")
        self.console.rows[number].settings = settings

    def _checkpoint(self, trial: Trial, result: dict[str, Any]) -> str | None:
        """The folder that Tune has just stored, relative to the study."""
        name = result.get("checkpoint_dir_name")
        study = self.study if self.mirror is None else Path(self.mirror.remote.root)
        return str((Path(str(trial.path)) / name).relative_to(study)) if name else None

    def _tell_notes(self) -> None:
        notes = self.rule.notes if self.rule is not None else []
        for note in notes[self._noted :]:
            self.console.say(note)
        self._noted = len(notes)

    def _keep(self, number: int) -> None:
        """Delete what is needed no more."""
        for message in self.keeper.tidy(self.chronicle.trial(number)):
            self.console.say(message)

    def _out_of_disk(self, why: str) -> None:
        if not self.stop.disk_full:
            self.console.say(f"the search stops and can be resumed: {why}")
        self.stop.disk_full = True

    def _write_reports_now_and_then(self) -> None:
        began = time.monotonic()
        if began < self._reports_due:
            return
        try:
            write_reports(self.study, self.chronicle.replay)
        except (OSError, OmrError) as error:  # reports can be made anew at any time; the search goes on
            self.console.say(f"reports not written: {error}")
        took = time.monotonic() - began
        self._reports_due = began + max(SECONDS_BETWEEN_REPORTS, took / REPORTS_SHARE)


def _what(start: TrialStarted) -> TrialStarted:
    """A start without its time, and without where it ran."""
    return dataclasses.replace(start, time=0.0, alone=False)


def _reason(trial: Trial) -> str:
    """The last line of the error that ended a trial; Tune writes it here first, and copies it to the study later."""
    file = trial.error_file
    error = Path(file).read_text(encoding="utf-8") if file and Path(file).exists() else ""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1] if lines else "its process died without a word"
