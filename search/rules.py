"""Which trials go on, stop or wait, without Ray: each rule is a class here and a line of the table at the end.

What a rule knows is what it was told, in that order, and nothing else. So a study's journal, told again, brings it back
to where it was. To tell it an epoch twice changes nothing, as a crash may have an epoch trained again.

The base is told like any other trial, and others are compared with it, but it always goes on: it is what the best
setting is compared with in the end.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean, median

from search.config import SchedulerConfig
from search.rung_order import Agreement, Standing
from search.rungs import brackets, halving_rungs

MEDIAN_OF = 3  # trials at the least; the median of two is no majority
# A first rung is dropped that orders trials with less than this as Kendall's tau: fewer than three pairs in four as in
# the end. Those trained to the end are the ones that did well before, which narrows their range and lowers tau, so the
# error is on the side of longer training.
LEAST_TAU = 0.5
TAU_OF = 5  # trials trained to the end, at the least: ten pairs


class Action(StrEnum):
    """What becomes of a trial after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


class Rule(ABC):
    """Decides after each epoch of each trial; trials are known by their numbers.

    Attributes:
        epochs: of a trial that is trained to the end. It ends by itself: the last epoch never stops it.
        rungs: the epochs after which trials are compared, ascending; empty if there are no such.
        notes: what it changed about itself, a line each, for a person.
    """

    def __init__(self, config: SchedulerConfig, epochs: int) -> None:
        self.config = config
        self.epochs = epochs
        self.rungs: list[int] = []
        self.notes: list[str] = []
        self._sers: dict[int, dict[int, float]] = {}  # of each trial, by epoch
        self._held: dict[int, tuple[int, Action]] = {}  # trials that are stopped or wait, and since which epoch
        self._waiting: set[int] = set()
        self._spared: set[int] = set()

    @property
    @abstractmethod
    def text(self) -> str:
        """What becomes of trials, such as `asha stops weak trials after epochs 4 and 8`; empty if all go on."""

    @property
    def first_rung(self) -> int | None:
        """The first epoch after which trials are compared; None without rungs."""
        return self.rungs[0] if self.rungs else None

    @property
    def waiting(self) -> frozenset[int]:
        """Trials that are paused, and may be promoted."""
        return frozenset(self._waiting)

    def waits(self, trial: int) -> bool:
        """Whether this one is paused, and may be promoted."""
        return trial in self._waiting

    def spare(self, trial: int) -> None:
        """Never stop or pause this one; to be said before its first report."""
        self._spared.add(trial)

    def report(self, trial: int, epoch: int, ser: float) -> Action:
        """An epoch is over.

        Told again, the answer is the same; but a trial that was promoted meanwhile goes on. Neither epochs that
        diverged nor trials that repeat another one's setting are to be told.
        """
        told = self._sers.setdefault(trial, {})
        if epoch not in told:
            told[epoch] = ser
            if epoch >= self.epochs:
                self._reached_end(trial)
            elif trial not in self._held:
                action = self._judge(trial, epoch, ser)
                if action is not Action.CONTINUE and trial not in self._spared:
                    self._hold(trial, epoch, action)
            self._heard(trial, epoch)
        since, action = self._held.get(trial, (epoch, Action.CONTINUE))
        return action if epoch >= since else Action.CONTINUE

    def next_promoted(self) -> int | None:
        """The paused trial that goes on now, before any new one is begun; None if there is none.

        From now on it counts as going on.
        """
        return None

    def promote(self, trial: int) -> None:
        """A trial went on; one that did not wait is let be."""
        if trial in self._waiting:
            self._waiting.discard(trial)
            del self._held[trial]

    def _hold(self, trial: int, epoch: int, action: Action) -> None:
        self._held[trial] = epoch, action
        if action is Action.PAUSE:
            self._waiting.add(trial)

    @abstractmethod
    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        """What is to become of a trial that neither is stopped nor waits, after an epoch before its last."""

    def _reached_end(self, trial: int) -> None:  # noqa: B027  (most rules have nothing to do then)
        """A trial was trained to the end."""

    def _heard(self, trial: int, epoch: int) -> None:  # noqa: B027  (nor here)
        """A trial reported an epoch for the first time, and was judged."""


class Nobody(Rule):
    """Stops nobody."""

    @property
    def text(self) -> str:
        """Nothing to say."""
        return ""

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:  # noqa: ARG002
        return Action.CONTINUE


class Rungs(Rule):
    """Compares trials that have come to the same rung; what both kinds of successive halving have in common.

    Args:
        first: how many rungs are left out at the beginning.
    """

    def __init__(self, config: SchedulerConfig, epochs: int, first: int = 0) -> None:
        super().__init__(config, epochs)
        self.rungs = halving_rungs(config, epochs)[first:]
        self._recorded = {rung: Standing() for rung in self.rungs}
        self._finished: list[int] = []
        self._agreement = Agreement()  # of the first rung with the end

    @property
    def text(self) -> str:
        """The rungs."""
        return f"{self.config.name} stops weak trials {_after(self.rungs)}" if self.rungs else ""

    def _reached_end(self, trial: int) -> None:
        """Drop the first rung, if asked to, for trials that are still to come to it, once it is seen to mislead."""
        if not self.config.adapt or not self.rungs:
            return
        self._finished.append(trial)
        self._compare(trial)
        if len(self._agreement) < TAU_OF or not (tau := self._agreement.tau) < LEAST_TAU:  # it may be NaN, as a SER may
            return
        rung = self.rungs.pop(0)
        after = f"first after epoch {self.rungs[0]}" if self.rungs else "no more at all"
        self.notes.append(
            f"after epoch {rung} trials are compared no more: there the {len(self._agreement)} that were trained to "
            f"the end stood in another order than in the end (Kendall's tau {tau:.2f}); now {after}"
        )
        self._agreement = Agreement()
        for finished in self._finished if self.rungs else ():
            self._compare(finished)

    def _compare(self, trial: int) -> None:
        sers = self._sers[trial]
        if self.rungs[0] in sers:
            self._agreement.add(sers[self.rungs[0]], sers[self.epochs])


class Halving(Rungs):
    """Asynchronous successive halving as Tune decides it (after Li et al., arXiv 1810.05934): who fails is stopped.

    A trial goes on from a rung if it is among the best one in `reduction_factor` of those that came there before it.
    """

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        if epoch not in self.rungs:
            return Action.CONTINUE
        recorded = self._recorded[epoch]
        # In Tune's terms, a quantile of what is maximised: the same numbers to the last bit.
        share = (1 - 1 / self.config.reduction_factor) * 100
        passes = not len(recorded) or -ser >= recorded.cutoff(share / 100)
        recorded.add(trial, ser)
        return Action.CONTINUE if passes else Action.STOP


class Promotion(Rungs):
    """Asynchronous successive halving as its paper has it (Li et al., arXiv 1810.05934, algorithm 2).

    Every trial waits at its rung. Whenever a slot is free, the best that waits and is among the best
    floor(n / `reduction_factor`) of the n that came to its rung goes on, at the highest rung that has one; else a new
    trial begins. So whoever was behind early can be promoted later, when others have come that are worse.
    """

    @property
    def text(self) -> str:
        """The rungs, and that it promotes."""
        return f"promotion pauses trials {_after(self.rungs)}, and the best go on" if self.rungs else ""

    def __init__(self, config: SchedulerConfig, epochs: int, first: int = 0) -> None:
        super().__init__(config, epochs, first)
        self._candidates: dict[int, list[tuple[float, int]]] = {rung: [] for rung in self.rungs}  # heaps

    def next_promoted(self) -> int | None:
        """The best of the highest rung that has room."""
        for rung, recorded in reversed(self._recorded.items()):
            trial = self._best_waiting(rung)
            if trial is not None and recorded.place(trial) < len(recorded) // self.config.reduction_factor:
                self.promote(trial)
                return trial
        return None

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        """To wait, even if it is the best: a promotion is an event of its own, which a journal can tell again."""
        if epoch not in self.rungs:
            return Action.CONTINUE
        self._recorded[epoch].add(trial, ser)
        heapq.heappush(self._candidates[epoch], (math.inf if math.isnan(ser) else ser, trial))
        return Action.PAUSE

    def _best_waiting(self, rung: int) -> int | None:
        """Of the trials that wait at a rung. Those that went on wait there no more, and are forgotten."""
        candidates = self._candidates[rung]
        while candidates:
            trial = candidates[0][1]
            if self._held.get(trial) == (rung, Action.PAUSE):
                return trial
            heapq.heappop(candidates)
        return None


class Brackets(Rule):
    """Successive halving in as many brackets as have a rung to stop at, each of which begins one rung later.

    For settings that begin slowly and end well (Li et al., arXiv 1810.05934). Tune draws a trial's bracket from
    NumPy's global random state; here the trials' numbers go round. The synchronous HyperBand, which Tune has too, hung
    once in seven runs when it was tried.
    """

    def __init__(self, config: SchedulerConfig, epochs: int) -> None:
        super().__init__(config, epochs)
        self._brackets = [Halving(config, epochs, first) for first in range(brackets(config, epochs))]
        self.rungs = self._brackets[0].rungs

    @property
    def text(self) -> str:
        """The rungs of the first bracket, and how many brackets there are."""
        count = len(self._brackets)
        return self._brackets[0].text + (f", in {count} brackets" if count > 1 else "")

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        return self._brackets[trial % len(self._brackets)]._judge(trial, epoch, ser)


class Median(Rule):
    """Stops a trial whose best SER is above the median of the others' means (Golovin et al., Vizier, 2017).

    As Tune decides it, but that Tune counts the last epoch of a trial that has ended twice in its mean. A mean until
    some epoch never changes once a trial is beyond it, so those of each epoch are kept in order.
    """

    def __init__(self, config: SchedulerConfig, epochs: int) -> None:
        super().__init__(config, epochs)
        self._means: dict[int, list[float]] = defaultdict(list)  # of the trials that came so far, ascending
        self._furthest: dict[int, int] = {}

    @property
    def text(self) -> str:
        """The first epoch that it stops after."""
        first = self.config.grace_epochs
        return f"median stops who is behind the median, from epoch {first} on" if first < self.epochs else ""

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:  # noqa: ARG002
        means = self._means[epoch]  # of the others: its own comes later
        behind = len(means) >= MEDIAN_OF and min(self._sers[trial].values()) > median(means)
        return Action.STOP if behind else Action.CONTINUE

    def _heard(self, trial: int, epoch: int) -> None:
        first, told = self.config.grace_epochs, self._sers[trial]
        for reached in range(self._furthest.get(trial, first - 1) + 1, epoch + 1):
            own = [ser for at, ser in told.items() if first <= at <= reached]
            if own:
                insort(self._means[reached], fmean(own))
        self._furthest[trial] = max(epoch, self._furthest.get(trial, first - 1))


RULES: dict[str, type[Rule] | None] = {
    "asha": Halving,
    "promotion": Promotion,
    "hyperband": Brackets,
    "median": Median,
    "pbt": None,  # it exchanges checkpoints, and stops nobody: `search.engine.population`
    "none": Nobody,
}


def build_rule(config: SchedulerConfig, epochs: int) -> Rule | None:
    """The rule of a search whose trials are trained so many epochs; None for pbt, which is none."""
    rule = RULES[config.name]
    return None if rule is None else rule(config, epochs)


def rungs(config: SchedulerConfig, epochs: int) -> list[int]:
    """The epochs after which trials are compared."""
    rule = build_rule(config, epochs)
    return rule.rungs if rule else []


def describe(config: SchedulerConfig, epochs: int) -> str:
    """What becomes of trials on their way, such as `asha stops weak trials after epochs 4 and 8`."""
    rule = build_rule(config, epochs)
    if rule is None and config.grace_epochs < epochs:
        return f"{config.name} exchanges settings every {config.grace_epochs} epochs"
    return (rule.text if rule else "") or "every trial is trained to the end"


def _after(rungs: Sequence[int]) -> str:
    *others, last = map(str, rungs)
    return f"after epochs {', '.join(others)} and {last}" if others else f"after epoch {last}"
