"""What is trained next.

    1. trials that were begun and have not ended, from their checkpoints
    2. trials that waited at a rung which now has room
    3. settings from the sampler, the queued ones first, until the budget is spent
    4. the best trials and the base again, with other seeds, until the verdict is clear (`results.evidence`)

Where trials share a GPU, one that ran out of its memory goes on alone, and so begin those that need at least as much.
As long as such a one waits for a GPU that is empty, nothing else is begun: it would never be empty.

Nothing here knows of Ray.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from datasets.addresses import is_address, joined
from results.evidence import Repeat, next_repeats
from results.gather import Tables, gather
from results.journal import TrialStarted
from results.ranking import BASE
from search.chronicle import Chronicle, trial_id
from search.config import SearchConfig
from search.memory_order import needs_as_much
from search.optuna_study import NUMBER, numbers
from search.recovery import Recovery
from search.resources import shares_a_gpu
from search.rules import Rule
from search.samplers import WAITS, exhausted
from search.space import ORIGIN, SearchSpace, Settings

AGAIN = "again: trial"
SECONDS_BETWEEN_TRIES = 10.0
SECONDS_FOR_SAMPLES = 900.0
"""For which repeats wait for what trials have read; then it is gone, and not just late."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A training to be run, or to go on.

    Attributes:
        number, settings, origin, seed, repeats: as in `results.journal.TrialStarted`.
        checkpoints: folders to go on from, the newest first; none for a new one.
        adopted: it went on with another trial's weights before, so its settings may differ from the checkpoint's.
        alone: on a GPU of its own, where others share one.
    """

    number: int
    settings: Settings
    origin: str
    seed: int
    repeats: int | None = None
    checkpoints: tuple[str, ...] = ()
    adopted: bool = False
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a training left Tune.

    Attributes:
        ser: if it was trained to the end with a SER that is one.
        crashed: nobody learns anything from it.
        waits: it was paused at a rung.
        cut_off: the search ends, and it may go on when that is taken up again.
        out_of_memory: of a GPU that it shared; it goes on alone.
    """

    ser: float | None = None
    crashed: bool = False
    waits: bool = False
    cut_off: bool = False
    out_of_memory: bool = False


class Agenda:
    """Says what is trained next, and tells Optuna's study how it went.

    Args:
        config: the search, with the budget that it has now.
        space: what a setting is.
        chronicle: what has happened so far.
        rule: brought up to date with that; None for a population.
        recovery: what is to be gone on with.
        study: Optuna's.
        settle: brings what trials have read from the address that the study is kept at; None where it is all here.
    """

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        chronicle: Chronicle,
        rule: Rule | None,
        recovery: Recovery,
        study: optuna.Study,
        settle: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self.space = space
        self.chronicle = chronicle
        self.rule = rule
        self.study = study
        self.settle = settle
        self._numbers = itertools.count(chronicle.next_number)
        self._begun = sum(trial.start.repeats is None for trial in chronicle.replay.trials())
        self._unfinished = deque(recovery.unfinished)
        self._running: set[int] = set()
        self._shared = rule is not None and shares_a_gpu(config)
        self._alone: dict[int, TrialStarted | None] = {}  # that were handed out, with their latest start before that
        self._round: deque[Repeat] = deque()
        self._confirmed = not config.judged
        self._next_try = -math.inf
        self._last_try: float | None = None  # of bringing what was read
        self._promotes = config.scheduler.name == "promotion"
        begun = {number: trial for number, trial in numbers(study).items() if trial.state == TrialState.RUNNING}
        self._trials = {number: optuna.Trial(study, trial._trial_id) for number, trial in begun.items()}
        self._told = {number: set(trial.intermediate_values) for number, trial in begun.items()}  # epochs

    @property
    def over(self) -> bool:
        """Nothing is left to be begun, whatever comes of the trainings that run."""
        more_may_come = self._promotes or self._shared  # of those that run
        return self._searched and self._confirmed and not (more_may_come and self._running)

    def next(self) -> Assignment | None:
        """What is to be trained now; None as long as that depends on trainings that run."""
        if self._held:
            return None
        assignment = self._next()
        if assignment is not None:
            self._running.add(assignment.number)
            if assignment.alone:
                self._alone[assignment.number] = self._latest_start(assignment.number)
        return assignment

    def reported(self, number: int, epoch: int, ser: float) -> None:
        """An epoch of a trial is over. Told once: a crash may have an epoch trained again."""
        trial = self._trials.get(number)
        if trial is not None and epoch not in self._told[number]:
            trial.report(ser, epoch)
            self._told[number].add(epoch)

    def ended(self, number: int, how: Ended) -> None:
        """A training has left Tune."""
        self._running.discard(number)
        self._alone.pop(number, None)
        if how.out_of_memory:
            self._unfinished.appendleft(number)  # to Optuna it still runs
            return
        trial = self._trials.get(number)
        if trial is None or how.cut_off:
            return
        if how.waits:
            trial.set_user_attr(WAITS, True)
            return
        del self._trials[number], self._told[number]
        if how.crashed:
            self.study.tell(trial, state=TrialState.FAIL)
        elif how.ser is not None:
            self.study.tell(trial, how.ser)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def close(self) -> None:
        """The search is over: what Optuna still takes for running is not."""
        for trial in self._trials.values():
            self.study.tell(trial, state=TrialState.PRUNED)
        self._trials.clear()

    def _next(self) -> Assignment | None:
        if self._unfinished:
            return self._resumed(self._unfinished.popleft())
        promoted = self.rule.next_promoted() if self.rule is not None else None
        if promoted is not None:
            self._trials[promoted].set_user_attr(WAITS, False)
            return self._resumed(promoted)
        if self._wanted > 0:
            return self._suggested()
        if self._running and not self._round:
            return None
        return self._repeated()

    @property
    def _wanted(self) -> float:
        """How many trials of the search are still to be begun."""
        if self._exhausted:
            return 0
        trials = self.config.budget.trials
        return math.inf if trials is None else trials - self._begun

    @property
    def _exhausted(self) -> bool:
        """There is no setting left: none is queued, and each of a grid's has been begun."""
        if not exhausted(self.study, self.space):
            return False
        return not self.study.get_trials(deepcopy=False, states=[TrialState.WAITING])

    @property
    def _searched(self) -> bool:
        return not self._unfinished and self._wanted <= 0

    @property
    def _held(self) -> bool:
        """A trial waits for a GPU that nobody else has a part of."""
        return any(self._latest_start(number) is before for number, before in self._alone.items())

    def _latest_start(self, number: int) -> TrialStarted | None:
        trial = self.chronicle.replay.find(trial_id(number))
        return None if trial is None else trial.start

    def _needs_a_gpu(self, settings: Settings) -> bool:
        """A setting that needs no more memory ran out of it beside others; told by the journal, and so the same when it
        is told again."""
        if not self._shared:
            return False
        short = [trial.start.params for trial in self.chronicle.replay.trials() if trial.out_of_memory]
        training = self.space.training(settings) if short else self.space.base
        return any(needs_as_much(training, self.space.training(one)) for one in short)

    def _suggested(self) -> Assignment:
        trial = self.study.ask()
        number = next(self._numbers)
        trial.set_user_attr(NUMBER, number)
        self._trials[number] = trial
        self._told[number] = set()
        self._begun += 1
        settings, origin = self.space.suggest(trial), trial.user_attrs.get(ORIGIN, "")
        if self.rule is not None and origin == BASE:
            self.rule.spare(number)
        return Assignment(
            number=number,
            settings=settings,
            origin=origin,
            seed=self.config.train.seed,
            alone=self._needs_a_gpu(settings),
        )

    def _resumed(self, number: int) -> Assignment:
        """A trial from its newest checkpoint that is sound; none from before it took over another trial's: those are
        its own weights, to which the settings that it has now never belonged."""
        trial = self.chronicle.trial(number)
        saved = [
            self._place(path)
            for epoch, path in zip(trial.epochs, trial.checkpoints, strict=True)
            if path is not None and epoch > trial.changed_last
        ]
        return Assignment(
            number=number,
            settings=trial.start.params,
            origin=trial.start.origin,
            seed=trial.start.seed,
            repeats=trial.start.repeats,
            checkpoints=tuple(reversed(saved)),
            adopted=trial.changed_after is not None,
            alone=self._shared and (trial.out_of_memory or self._needs_a_gpu(trial.start.params)),
        )

    def _place(self, checkpoint: str) -> str:
        """Where a trial finds a checkpoint of the journal, on whatever node it is."""
        studies = self.config.paths.studies
        if is_address(studies):
            return joined(studies, self.config.study, checkpoint)
        return str(self.config.folder().resolve() / checkpoint)

    def _repeated(self) -> Assignment | None:
        """The next repeat of this round, or of a new one once all of this one have ended."""
        if not self._round and not self._confirmed:
            tables, confirm = self._tables(), self.config.confirm
            if tables is None:
                return None
            self._round.extend(
                next_repeats(
                    tables.trials,
                    tables.samples,
                    top=confirm.top,
                    rounds=confirm.rounds,
                    worthwhile=confirm.worthwhile,
                    seed=self.config.train.seed,
                )
            )
            self._confirmed = not self._round
        if not self._round:
            return None
        repeat = self._round.popleft()
        settings = self.chronicle.trial(repeat.number).start.params
        return Assignment(
            number=next(self._numbers),
            settings=settings,
            origin=f"{AGAIN} {repeat.number}",
            seed=repeat.seed,
            repeats=repeat.number,
            alone=self._needs_a_gpu(settings),
        )

    def _tables(self) -> Tables | None:
        """The study's tables; None as long as something that trials have read may still come from its address: without
        it there would be no verdict, and the search would be over."""
        now = time.monotonic()
        if now < self._next_try:
            return None
        tables = gather(self.config.folder(), self.chronicle.replay)
        if not tables.missing_samples or self.settle is None:
            return tables
        self.settle()
        tables = gather(self.config.folder(), self.chronicle.replay)
        if self._last_try is None:
            self._last_try = now + SECONDS_FOR_SAMPLES
        if not tables.missing_samples or now >= self._last_try:
            self._last_try = None
            return tables
        self._next_try = now + SECONDS_BETWEEN_TRIES
        return None
