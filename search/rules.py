"""Which trials go on, stop or wait, without Ray: each rule is a class here and a line of the table at the end.

What a rule knows is what it was told, in that order, and nothing else. So a study's journal, told again, brings it back
to where it was. To tell it an epoch twice changes nothing, as a crash may have an epoch trained again.

The base is told like any other trial, and others are compared with it, but it always goes on: it is what the best
setting is compared with in the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations
from statistics import fmean, median

import numpy as np

from search.config import SchedulerConfig
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
        self._spared: set[int] = set()

    @property
    @abstractmethod
    def text(self) -> str:
        """When trials are compared, such as `compared after epoch 4, 8`; empty if never."""

    @property
    def first_rung(self) -> int | None:
        """The first epoch after which trials are compared; None without rungs."""
        return self.rungs[0] if self.rungs else None

    @property
    def waiting(self) -> frozenset[int]:
        """Trials that are paused, and may be promoted."""
        return frozenset(trial for trial, (_, action) in self._held.items() if action is Action.PAUSE)

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
                self._reached_end()
            elif trial not in self._held:
                action = self._judge(trial, epoch, ser)
                if action is not Action.CONTINUE and trial not in self._spared:
                    self._held[trial] = epoch, action
        since, action = self._held.get(trial, (epoch, Action.CONTINUE))
        return action if epoch >= since else Action.CONTINUE

    def next_promoted(self) -> int | None:
        """The paused trial that goes on now, before any new one is begun; None if there is none.

        From now on it counts as going on.
        """
        return None

    def promote(self, trial: int) -> None:
        """A trial went on; one that did not wait is let be."""
        if trial in self.waiting:
            del self._held[trial]

    @abstractmethod
    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        """What is to become of a trial that neither is stopped nor waits, after an epoch before its last."""

    def _reached_end(self) -> None:  # noqa: B027  (most rules have nothing to do then)
        """A trial was trained to the end."""


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
        self._recorded: dict[int, dict[int, float]] = {rung: {} for rung in self.rungs}  # SER by rung and trial

    @property
    def text(self) -> str:
        """The rungs."""
        return f"compared after epoch {', '.join(map(str, self.rungs))}" if self.rungs else ""

    def _reached_end(self) -> None:
        """Drop the first rung, if asked to, for trials that are still to come to it, once it is seen to mislead."""
        if not self.config.adapt or not self.rungs:
            return
        rung = self.rungs[0]
        finished = [sers for sers in self._sers.values() if rung in sers and self.epochs in sers]
        if len(finished) < TAU_OF:
            return
        tau = kendall([sers[rung] for sers in finished], [sers[self.epochs] for sers in finished])
        if tau < LEAST_TAU:
            del self.rungs[0]
            after = f"first after epoch {self.rungs[0]}" if self.rungs else "no more at all"
            self.notes.append(
                f"after epoch {rung} trials are compared no more: there the {len(finished)} that were trained to the "
                f"end stood in another order than in the end (Kendall's tau {tau:.2f}); now {after}"
            )


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
        passes = not recorded or -ser >= np.percentile([-other for other in recorded.values()], share)
        recorded[trial] = ser
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
        return f"{super().text}, the best promoted" if self.rungs else ""

    def next_promoted(self) -> int | None:
        """The best of the highest rung that has room."""
        waiting, above = self.waiting, set[int]()
        for recorded in reversed(self._recorded.values()):
            best = sorted(recorded, key=lambda trial: (recorded[trial], trial))
            for trial in best[: len(best) // self.config.reduction_factor]:
                if trial in waiting and trial not in above:
                    self.promote(trial)
                    return trial
            above.update(recorded)
        return None

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:
        """To wait, even if it is the best: a promotion is an event of its own, which a journal can tell again."""
        if epoch not in self.rungs:
            return Action.CONTINUE
        self._recorded[epoch][trial] = ser
        return Action.PAUSE


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

    As Tune decides it, but that Tune counts the last epoch of a trial that has ended twice in its mean.
    """

    @property
    def text(self) -> str:
        """The first epoch that it stops after."""
        first = self.config.grace_epochs
        return f"stopped behind the median from epoch {first} on" if first < self.epochs else ""

    def _judge(self, trial: int, epoch: int, ser: float) -> Action:  # noqa: ARG002
        first = self.config.grace_epochs
        if epoch < first:
            return Action.CONTINUE
        means = [
            fmean(value for at, value in sers.items() if first <= at <= epoch)
            for other, sers in self._sers.items()
            if other != trial and max(sers) >= epoch
        ]
        behind = len(means) >= MEDIAN_OF and min(self._sers[trial].values()) > median(means)
        return Action.STOP if behind else Action.CONTINUE


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's rank correlation of two equally long rows, from -1 to 1; pairs that tie in either count as neither."""
    signs = [
        np.sign(first[a] - first[b]) * np.sign(second[a] - second[b]) for a, b in combinations(range(len(first)), 2)
    ]
    return float(np.mean(signs))


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
    """When trials are compared, such as `compared after epoch 4, 8`; empty if never."""
    rule = build_rule(config, epochs)
    if rule:
        return rule.text
    return f"exchanged every {config.grace_epochs} epochs" if config.grace_epochs < epochs else ""
