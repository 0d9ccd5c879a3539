"""How long a search will still take: the epochs to come, at the pace of those that were.

How far trials get is taken from those that have ended, as most are stopped early. A trial that runs is expected to get
as far as those that got further than it, or to the end where none did: those that end first are not those that stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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


@dataclass
class Tally:
    """What trials add up to, so that nobody counts them all again whenever one of 10,000 ends.

    A trial that changes is taken out as it is (`forget`) and put in again as it has become (`count`); only the epoch of
    one that runs may change in between.

    Attributes:
        searched, again: trials of the search, and trainings with other seeds.
        ended: of the search, by the epoch that they got to.
        going, going_again: those that run.
    """

    searched: int = 0
    again: int = 0
    ended: Counter[int] = field(default_factory=Counter)
    going: dict[int, Progress] = field(default_factory=dict)
    going_again: dict[int, Progress] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Progress]) -> Tally:
        """All of them."""
        tally = cls()
        for row in rows:
            tally.count(row)
        return tally

    def count(self, row: Progress) -> None:
        """One more."""
        self._add(row, 1)
        if row.state == "running":
            (self.going if row.repeats is None else self.going_again)[id(row)] = row

    def forget(self, row: Progress) -> None:
        """One less."""
        self._add(row, -1)
        (self.going if row.repeats is None else self.going_again).pop(id(row), None)

    def _add(self, row: Progress, one: int) -> None:
        if row.repeats is not None:
            self.again += one
            return
        self.searched += one
        if row.state not in ("running", "paused"):
            self.ended[row.epoch] += one


def epochs_left(planned: Planned, tally: Tally) -> tuple[float, float] | None:
    """Epochs to come, at least and at most: the verdict may be clear after any round of other seeds.

    None where that is not known: something else than their number ends the trials, or none has ended yet.
    """
    ended, whole = tally.ended, planned.epochs
    if planned.trials is None or (planned.early and not ended.total() and tally.searched < planned.trials):
        return None
    reached = {row.epoch for row in tally.going.values()}
    expected_of = {epoch: _mean({at: count for at, count in ended.items() if at > epoch}, whole) for epoch in reached}
    finals = [expected_of[row.epoch] for row in tally.going.values()]
    left = sum(final - row.epoch for final, row in zip(finals, tally.going.values(), strict=True))
    expected = _mean(Counter[float](ended) + Counter(finals), whole) if planned.early else whole
    left += max(0, planned.trials - tally.searched) * expected
    left += sum(whole - row.epoch for row in tally.going_again.values())
    least, most = _repeats_left(planned, tally.again)
    return left + whole * least, left + whole * most


def _repeats_left(planned: Planned, begun: int) -> tuple[int, int]:
    """Trainings with other seeds that are not begun: to the end of this round, and of the last."""
    if not planned.a_round:
        return 0, 0
    most = max(0, planned.rounds * planned.a_round - begun)
    return min(most, -begun % planned.a_round if begun else planned.a_round), most


def _mean(counts: Mapping[float, int], otherwise: float) -> float:
    """Of values, by how many there are of each."""
    total = sum(counts.values())
    return sum(value * count for value, count in counts.items()) / total if total else otherwise


def about(least: float, most: float) -> str:
    """Seconds in words, no more exact than they are: `about 12 min left`, `about 2 to 3 h left`."""
    size, unit = (3600.0, "h") if most >= 2 * 3600 else (60.0, "min")
    low, high = (max(1, round(seconds / size)) for seconds in (least, most))
    return f"about {low} {unit} left" if low == high else f"about {low} to {high} {unit} left"
