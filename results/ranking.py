"""Which trial is best, at equal training effort.

Only completed trials that reached the largest number of epochs are ranked, by SER: a trial that was stopped
early, with a lucky SER on the way, was never shown to keep it. Where two are equal, the earlier is first. A trial
that trains another one's setting again, with another seed, has no rank: it says how sure that one's is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from datasets.errors import StudyError
from results.journal import Parameter
from results.schema import PARAMETER_PREFIX

BASE = "base"  # origin of the trial that trains the setting which all others vary


@dataclass(frozen=True)
class RankedTrial:
    """One row of `trials` with its place.

    Attributes:
        rank: from 1; None for trials that cannot be compared (stopped early, failed, still running).
        trial_id, number, state, seed, origin, repeats, epochs, ser, ser_low, ser_high, checkpoint: as in `trials`.
        params: the searched values by target; None where a condition left a parameter out.
    """

    rank: int | None
    trial_id: str
    number: int
    state: str
    seed: int
    origin: str
    repeats: int | None
    epochs: int
    ser: float | None
    ser_low: float | None
    ser_high: float | None
    checkpoint: str | None
    params: dict[str, Parameter]


def rank(trials: pa.Table) -> list[RankedTrial]:
    """The ranked trials, best first; then the others, those that came furthest first, of these the lowest SER.

    Args:
        trials: the `trials` table of one study.
    """
    rows = trials.to_pylist()
    own = [row for row in rows if row["repeats"] is None]
    finished = [row for row in own if row["state"] == "completed" and row["ser"] is not None]
    effort = max((row["epochs"] for row in finished), default=0)
    contenders = [row for row in finished if row["epochs"] == effort]
    contenders.sort(key=lambda row: (row["ser"], row["number"]))
    ranked_ids = {row["trial_id"] for row in contenders}
    others = [row for row in rows if row["trial_id"] not in ranked_ids]
    others.sort(key=lambda row: (-row["epochs"], _or_last(row["ser"]), row["number"]))
    return [
        *(_ranked(row, place) for place, row in enumerate(contenders, start=1)),
        *(_ranked(row, None) for row in others),
    ]


def best(ranked: Sequence[RankedTrial]) -> RankedTrial:
    """The first of the ranked trials.

    Raises:
        StudyError: no trial was completed.
    """
    if ranked and ranked[0].rank is not None:
        return ranked[0]
    states = Counter(trial.state for trial in ranked)
    found = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
    raise StudyError(f"no trial is completed yet, so none is best; the trials are: {found}")


def base(ranked: Sequence[RankedTrial]) -> RankedTrial | None:
    """The trial of the base, whatever became of it; None in a study that trained none."""
    return next((trial for trial in ranked if trial.origin == BASE and trial.repeats is None), None)


def chosen(ranking: Sequence[RankedTrial], name: str) -> RankedTrial:
    """The trial of an id or a number.

    Raises:
        StudyError: there is none; the message says which numbers there are.
    """
    for trial in ranking:
        if name in (trial.trial_id, str(trial.number)):
            return trial
    there = _spans(sorted(trial.number for trial in ranking)) or "none yet"
    raise StudyError(f"trial={name}: no such trial; there are {there}")


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: `0 to 15, 17`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _or_last(ser: float | None) -> float:
    return math.inf if ser is None or math.isnan(ser) else ser


def _ranked(row: dict[str, Any], place: int | None) -> RankedTrial:
    params = {
        name.removeprefix(PARAMETER_PREFIX): value for name, value in row.items() if name.startswith(PARAMETER_PREFIX)
    }
    plain = {field.name: row[field.name] for field in fields(RankedTrial) if field.name in row}
    return RankedTrial(rank=place, params=params, **plain)
