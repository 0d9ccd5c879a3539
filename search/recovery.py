"""What is to be done with each trial when a search is taken up again: derived from its journal, and from nothing else.

The scheduler's rule is a function of what was reported, in its order, so it is brought up to date by telling it all of
that again. A process that was killed may have died between a report and what followed from it; that is made up for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from results.journal import EndState, EpochReported, Event, TrialStarted
from results.ranking import BASE
from results.replay import Replay
from search.rules import Action, Rule

OPEN = ("running", "paused")


@dataclass(frozen=True)
class Ending:
    """A trial that had come to its end when the search died, before that was written down."""

    trial_id: str
    state: EndState
    message: str


@dataclass(frozen=True)
class Recovery:
    """What to do.

    Attributes:
        unfinished: numbers of the trials that go on now, in their order.
        endings: what is to be written down first.
    """

    unfinished: tuple[int, ...]
    endings: tuple[Ending, ...]


def recover(rule: Rule | None, events: Iterable[Event], replay: Replay, max_epochs: int) -> Recovery:
    """Bring a new rule up to date, and say what becomes of the trials that have not ended.

    Args:
        rule: what the scheduler goes by; None for a population, which has no rule.
        events: all of them, in order.
        replay: what they add up to.
        max_epochs: of a trial that is trained to the end.
    """
    decided = _replayed(rule, events) if rule is not None else {}
    waiting = rule.waiting if rule is not None else frozenset()
    unfinished: list[int] = []
    endings: list[Ending] = []
    for trial in replay.trials():
        number, reached = trial.start.number, trial.epochs[-1] if trial.epochs else 0
        if trial.state not in OPEN:
            continue
        if reached >= max_epochs:
            endings.append(Ending(trial.trial_id, "completed", "trained to the end"))
        elif decided.get(number) == Action.STOP:
            endings.append(Ending(trial.trial_id, "pruned", stopped_after(reached, max_epochs)))
        elif number in waiting:
            if trial.state == "running":
                endings.append(Ending(trial.trial_id, "paused", waits_after(reached)))
        else:
            unfinished.append(number)
    return Recovery(tuple(unfinished), tuple(endings))


def stopped_after(epoch: int, max_epochs: int) -> str:
    """The message of a trial that a scheduler has stopped."""
    return f"stopped after epoch {epoch} of {max_epochs}"


def waits_after(epoch: int) -> str:
    """The message of a trial that a scheduler may let go on later."""
    return f"waits after epoch {epoch} until its rung has room"


def _replayed(rule: Rule, events: Iterable[Event]) -> dict[int, Action]:
    """What the rule said of each trial's last report."""
    decided: dict[int, Action] = {}
    starts: dict[str, TrialStarted] = {}
    for event in events:
        if isinstance(event, TrialStarted):
            starts[event.trial_id] = event
            if event.repeats is None and event.origin == BASE:
                rule.spare(event.number)
            if rule.waits(event.number):
                rule.promote(event.number)
                decided.pop(event.number)
        elif isinstance(event, EpochReported) and starts[event.trial_id].repeats is None:
            number = starts[event.trial_id].number
            decided[number] = rule.report(number, int(event.metrics["epoch"]), event.metrics["ser"])
    return decided
