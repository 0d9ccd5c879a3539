"""Whether the order of the trials after a few epochs is their order at the end: what stopping early rests on.

Measured on the trials that were trained to the end, each with one seed. Where trials were stopped on the way, these
are the ones that were good at the rungs: the range is narrower than that of all settings, so the correlation comes out
lower than it was, and a good setting that was stopped is not among them. A study with `scheduler=none` has neither
fault. Dropout and weight decay are known for it: what regularises is slower at first and better at the end.

    tau-b    Kendall, Biometrika 33, 1945; its interval is a percentile bootstrap over trials
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.ranking import RankedTrial
from results.statistics import NO_INTERVAL, Floats, Interval
from results.study import StudyRecord

LEAST_TRIALS = 5  # below, a rank correlation cannot be told
RESAMPLES = 1000
MOST_TRIALS = 1000  # that a rank correlation is told from
LOW_TAU = 0.5  # three pairs of trials in four are in the same order
LOSS_SHARE, LEAST_LOST = 0.25, 2  # of the finally best that may be stopped without a warning; one may be chance
GOOD_TAU = 0.8  # if it may be as high, the order is not what lost them
HALVING = ("asha", "promotion", "hyperband")
ADAPTING = ("asha", "promotion")  # `scheduler.adapt` is theirs


@dataclass(frozen=True)
class Rung:
    """What an epoch tells of the end. Fractions; NaN where it cannot be told (fewer than `LEAST_TRIALS`).

    Attributes:
        epoch: after which trials are compared.
        trials: that were trained to the end and have a SER at both.
        tau, low, high: Kendall's tau-b between SER then and at the end, and its 95 % interval; of `MOST_TRIALS` of
            them at most.
        rho: Spearman's.
        best: how many trials count as the finally best: a third, and no more than the rung lets pass.
        lost: how many of these would have been stopped there, had only these trials been compared.
    """

    epoch: int
    trials: int
    tau: float
    low: float
    high: float
    rho: float
    best: int
    lost: int

    @property
    def misleads(self) -> bool:
        """Whether the order is another one, or too many of the finally best would have been stopped."""
        return self.turned or (self.lost >= LEAST_LOST and self.lost > LOSS_SHARE * self.best and self.high < GOOD_TAU)

    @property
    def turned(self) -> bool:
        """Whether the whole interval is low."""
        return self.high < LOW_TAU


@dataclass(frozen=True)
class Fidelity:
    """A study's rungs.

    Attributes:
        scheduler: its name.
        compared: whether trials were compared at these epochs; else they are only what could have been.
        reduction: one trial in so many passes a rung.
        stopped: how many trials were stopped early.
        rungs: by epoch.
        warning: what to do where stopping early misleads; "" where nothing says so.
    """

    scheduler: str
    compared: bool
    reduction: int
    stopped: int
    rungs: tuple[Rung, ...]
    warning: str


def fidelity(study: StudyRecord, ranking: Sequence[RankedTrial], epochs: pa.Table) -> Fidelity:
    """How well each rung of the study's scheduler foretells the end.

    Args:
        study: the study's record.
        ranking: all its trials, as `results.ranking.rank` orders them.
        epochs: its `epochs` table.
    """
    found = rung_epochs(study)
    name, reduction = _scheduler(study, "name", "none"), _reduction(study)
    finished = [trial for trial in ranking if trial.rank is not None]
    last = max((trial.epochs for trial in finished), default=study.max_epochs)
    candidates = found or _geometric(1, 2, last)
    rungs = tuple(_rung(epoch, finished, epochs, reduction) for epoch in candidates if epoch < last)
    stopped = sum(trial.repeats is None and trial.state in ("pruned", "paused") for trial in ranking)
    warning = _warning(rungs, name, reduction, last) if found else ""
    return Fidelity(name, bool(found), reduction, stopped, rungs, warning)


def rung_epochs(study: StudyRecord) -> list[int]:
    """The epochs after which the study's scheduler compares trials; none if it stops nobody."""
    name, grace = _scheduler(study, "name", "none"), _scheduler(study, "grace_epochs", 1)
    if name in HALVING:
        return _geometric(grace, _reduction(study), study.max_epochs)
    return _geometric(grace, 2, study.max_epochs) if name == "median" else []  # of its every epoch, a few


def ser_at(epochs: pa.Table, epoch: int) -> dict[str, float]:
    """SER after an epoch, by trial_id; without the trials that have none."""
    rows = epochs.filter((pc.field("epoch") == epoch) & pc.field("ser").is_valid())
    return dict(zip(rows["trial_id"].to_pylist(), rows["ser"].to_pylist(), strict=True))


def ranks(values: Floats) -> Floats:
    """Rank of each value from 1; equal ones share their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    shared: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return shared


def _scheduler(study: StudyRecord, field: str, default: Any) -> Any:
    return study.config.get("scheduler", {}).get(field, default)


def _reduction(study: StudyRecord) -> int:
    """One trial in so many goes on; the median lets half of them."""
    return _scheduler(study, "reduction_factor", 2) if _scheduler(study, "name", "none") in HALVING else 2


def _geometric(first: int, factor: int, end: int) -> list[int]:
    found = []
    while first < end:
        found.append(first)
        first *= factor
    return found


def _rung(epoch: int, finished: Sequence[RankedTrial], epochs: pa.Table, reduction: int) -> Rung:
    then = ser_at(epochs, epoch)
    pairs = [(then[trial.trial_id], trial.ser) for trial in finished if trial.trial_id in then]
    if len(pairs) < LEAST_TRIALS:
        return Rung(epoch, len(pairs), np.nan, np.nan, np.nan, np.nan, 0, 0)
    early_N, final_N = np.array(pairs, dtype=np.float64).T
    tau, (low, high) = _kendall(early_N, final_N)
    rank_N, final_rank_N = ranks(early_N), ranks(final_N)
    constant = 0 in (np.ptp(rank_N), np.ptp(final_rank_N))
    rho = np.nan if constant else float(np.corrcoef(rank_N, final_rank_N)[0, 1])
    kept = -(-len(pairs) // reduction)
    best = min(len(pairs) // 3, kept)
    better_N = np.searchsorted(np.sort(early_N), early_N)  # trials ahead of each; equal ones pass together
    lost = int((better_N[np.argsort(final_N, kind="stable")[:best]] >= kept).sum())
    return Rung(epoch, len(pairs), tau, low, high, rho, best, lost)


def _kendall(x_N: Floats, y_N: Floats) -> tuple[float, Interval]:
    """Tau-b and its interval: trials drawn several times count several times, and are ties with themselves.

    Of more than `MOST_TRIALS` so many are drawn by chance: all pairs of 10,000 are gigabytes.
    """
    if len(x_N) > MOST_TRIALS:
        kept = np.random.default_rng(0).choice(len(x_N), MOST_TRIALS, replace=False)
        x_N, y_N = x_N[kept], y_N[kept]
    x_NN, y_NN = (np.sign(np.subtract.outer(values, values)) for values in (x_N, y_N))
    count = len(x_N)
    drawn_RN = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    weights_RN = np.vstack([np.ones(count), drawn_RN])

    def summed(pairs_NN: Floats) -> Floats:
        total: Floats = np.einsum("rn,rn->r", weights_RN @ pairs_NN, weights_RN)
        return total

    with np.errstate(invalid="ignore"):  # nothing but ties
        taus = summed(x_NN * y_NN) / np.sqrt(summed(np.abs(x_NN)) * summed(np.abs(y_NN)))
    told = taus[1:][np.isfinite(taus[1:])]
    if not len(told):
        return float(taus[0]), NO_INTERVAL
    low, high = np.quantile(told, [0.025, 0.975])
    return float(taus[0]), (float(low), float(high))


def _warning(rungs: Sequence[Rung], scheduler: str, reduction: int, last: int) -> str:
    """For the last rung that misleads: what comes before it does no better."""
    bad = [rung for rung in rungs if rung.misleads]
    if not bad:
        return ""
    worst = bad[-1]
    tau = f"tau {worst.tau:.2f}, 95 % interval {worst.low:.2f} to {worst.high:.2f}"
    if worst.turned:
        lost = f"{worst.lost} of the {worst.best} finally best would have been stopped there"
        seen = f"The order after epoch {worst.epoch} is not the one at the end ({tau}; {lost}). "
    else:
        lost = f"Of the {worst.best} finally best, {worst.lost} would have been stopped after epoch {worst.epoch}"
        seen = f"{lost}, though the order then is partly that at the end ({tau}). "
    later = worst.epoch * reduction
    advice = f"scheduler.grace_epochs={later} compares later" if later < last else "scheduler=none stops nobody"
    if scheduler in ADAPTING:
        advice += ", and scheduler.adapt=true drops the first rung once this is seen"
    return f"{seen}{advice}."
