"""The sentence that a search is run for: which setting is better, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.ranking import RankedTrial
from results.statistics import Interval, difference_interval


def verdict(trial: RankedTrial, ranking: Sequence[RankedTrial], samples: pa.Table) -> str:
    """A trial's place among those of equal effort, and a paired test against its rival.

    The rival is the best trial, or for the best the next one. The test does not know that the best was chosen
    among many, which flatters it a little.

    Args:
        trial: one of `ranking`.
        ranking: as `results.ranking.rank` orders them.
        samples: the `samples` table of the study.
    """
    contenders = [other for other in ranking if other.rank is not None]
    place = _place(trial, len(contenders))
    rival = next((other for other in contenders if other is not trial), None)
    if rival is None or trial.rank is None:
        return place
    return f"{place} {_comparison(trial, rival, samples)}"


def percent(rate: float | None) -> str:
    """A fraction as a percentage."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def interval_text(trial: RankedTrial) -> str:
    """The 95 % interval of a trial's SER; empty where there is none."""
    if trial.ser_low is None or trial.ser_high is None:
        return ""
    return f"{100 * trial.ser_low:.1f} to {percent(trial.ser_high)}"


def _place(trial: RankedTrial, contenders: int) -> str:
    effort = f"completed {trial.epochs} epoch{'s' if trial.epochs != 1 else ''}"
    if trial.rank is None:
        place = f"has no rank ({trial.state}, epochs: {trial.epochs})"
    elif contenders == 1:
        place = f"is the only trial that {effort}"
    elif trial.rank == 1:
        place = f"is the best of the {contenders} trials that {effort}"
    else:
        place = f"is number {trial.rank} of the {contenders} trials that {effort}"
    interval = f" (95 % interval {interval_text(trial)})" if interval_text(trial) else ""
    return f"Trial {trial.number} {place}. Its symbol error rate is {percent(trial.ser)}{interval}."


def _comparison(trial: RankedTrial, rival: RankedTrial, samples: pa.Table) -> str:
    low, high = _difference(trial, rival, samples)
    if np.isnan(low):
        return f"It cannot be tested against trial {rival.number}: there are no samples of staves that both read."
    if low <= 0 <= high:
        judgement = "that includes zero, so these staves do not tell the two apart"
    else:
        judgement = (
            f"more than the choice of pieces explains, in favour of trial {(trial if low > 0 else rival).number}; "
            "each was trained with one seed, so what another seed would give is open"
        )
    return (
        f"That of trial {rival.number}, {percent(rival.ser)}, is higher by {100 * low:+.1f} to {100 * high:+.1f} "
        f"points on the same staves (95 % interval, paired bootstrap over works): {judgement}."
    )


def _difference(trial: RankedTrial, rival: RankedTrial, samples: pa.Table) -> Interval:
    """Interval of the rival's SER less the trial's; NaN where there is no telling."""
    own = samples.filter(pc.field("trial_id") == trial.trial_id)
    others = samples.filter(pc.field("trial_id") == rival.trial_id).select(["staff_id", "distance"])
    both = own.join(others, "staff_id", join_type="inner", right_suffix="_rival").sort_by("staff_id")
    return difference_interval(
        both["distance"].to_numpy(),
        both["distance_rival"].to_numpy(),
        both["reference_length"].to_numpy(),
        both["work"].to_pylist(),
    )
