"""How long a search will still take: the epochs to come, at the pace of those that were.

How far trials get is taken from those that have ended, as most are stopped early. A trial that runs is expected to get
as far as those that got further than it, or to the end where none did: those that end first are not those that stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """What is known of a trial (`search.console.TrialRow`)."""

    @property
    def state(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    @property
    def repeats(self) -> int | None: ...


@dataclass(frozen=True)
class Planned:
    """What a search is to train.

    Attributes:
        trials: of the search; None if something else ends it.
        epochs: of a trial that is trained to the end.
        early: trials are stopped early.
        a_round: trainings with other seeds in a round, the base's among them; 0 is none.
        rounds: of them, at the most.
    """

    trials: int | None
    epochs: int
    early: bool
    a_round: int = 0
    rounds: int = 0


def epochs_left(planned: Planned, rows: Sequence[Progress]) -> tuple[float, float] | None:
    """Epochs to come, at least and at most: the verdict may be clear after any round of other seeds.

    None where that is not known: something else than their number ends the trials, or none has ended yet.
    """
    searched = [row for row in rows if row.repeats is None]
    ended = [row.epoch for row in searched if row.state not in ("running", "paused")]
    if planned.trials is None or (planned.early and not ended and len(searched) < planned.trials):
        return None
    whole = planned.epochs
    going = [row for row in searched if row.state == "running"]
    finals = [_mean([epoch for epoch in ended if epoch > row.epoch], whole) for row in going]
    left = sum(final - row.epoch for final, row in zip(finals, going, strict=True))
    expected = _mean([*ended, *finals], whole) if planned.early else whole
    left += max(0, planned.trials - len(searched)) * expected
    left += sum(whole - row.epoch for row in rows if row.repeats is not None and row.state == "running")
    least, most = _repeats_left(planned, sum(row.repeats is not None for row in rows))
    return left + whole * least, left + whole * most


def _repeats_left(planned: Planned, begun: int) -> tuple[int, int]:
    """Trainings with other seeds that are not begun: to the end of this round, and of the last."""
    if not planned.a_round:
        return 0, 0
    most = max(0, planned.rounds * planned.a_round - begun)
    return min(most, -begun % planned.a_round if begun else planned.a_round), most


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def about(least: float, most: float) -> str:
    """Seconds in words, no more exact than they are: `about 12 min left`, `about 2 to 3 h left`."""
    size, unit = (3600.0, "h") if most >= 2 * 3600 else (60.0, "min")
    low, high = (max(1, round(seconds / size)) for seconds in (least, most))
    return f"about {low} {unit} left" if low == high else f"about {low} to {high} {unit} left"
