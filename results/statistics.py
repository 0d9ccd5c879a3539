"""How far a symbol error rate can be trusted.

The staves of one piece share its notation, its engraving and its difficulty, so they are not independent:
resampling staves would give intervals that are too narrow. Whole works are resampled instead.

    percentile bootstrap   Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
    of clusters            Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8

Two settings that were scored on the same staves are compared on the same resamples: what makes a work hard
then cancels out, and far smaller differences show.

Whoever picks the best of many and tests it on the data that it was picked on must allow for the largest of as many
differences, not for one:

    reality check          White, A Reality Check for Data Snooping, Econometrica 68, 2000
    max statistic          Romano & Wolf, Exact and Approximate Stepdown Methods, JASA 100, 2005
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Interval: TypeAlias = tuple[float, float]
Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = Sequence[int] | npt.NDArray[np.integer]
Works: TypeAlias = Sequence[str] | npt.NDArray[np.object_]

LEAST_BEYOND = 10  # resamples that show where a tail begins
NO_INTERVAL: Interval = (float("nan"), float("nan"))


def ser_interval(
    distances: Counts,
    lengths: Counts,
    works: Works,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the corpus-level SER, sum of distances over sum of lengths, as fractions.

    Args:
        distances: edit distance of each staff, in symbols.
        lengths: reference length of each staff, in symbols.
        works: the piece of each staff.
        level: coverage.
        resamples: of the works; with 2000, chance moves an end by some 1.5 % of the interval's width.
        seed: of the resampling; one seed and one number of works give the same resamples.

    Returns:
        Low and high; both NaN where there is no telling: fewer than two works, or nothing to read.
    """
    distance_W, length_W = sums_by_work(works, distances, lengths)
    return percentiles(_resampled_ser(distance_W, length_W, resamples, seed), level)


def difference_interval(
    distances: Counts,
    other_distances: Counts,
    lengths: Counts,
    works: Works,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Paired interval of how much larger the second SER is than the first, on the same staves.

    Wholly above zero: the first setting is better on works like these. The rest is as in `ser_interval`.
    """
    first_W, second_W, length_W = sums_by_work(works, distances, other_distances, lengths)
    return percentiles(_resampled_ser(second_W - first_W, length_W, resamples, seed), level)


def share_interval(hits: Counts, works: Works, *, level: float = 0.95) -> Interval:
    """Interval of the share of staves that something is true of (0 or 1 each).

    Wilson's score interval, which keeps its level near 0 and 1 where a bootstrap has nothing to resample, on as many
    staves as would tell as much if they were independent: n over the design effect of whole works (Kish, Survey
    Sampling, 1965, section 8.2). Where all staves agree, a work counts as one.

    Returns:
        Low and high; both NaN with fewer than two works.
    """
    hit_W, staves_W = sums_by_work(works, hits, np.ones(len(hits), dtype=np.int64))
    count, staves = len(staves_W), float(staves_W.sum())
    if count < 2:
        return NO_INTERVAL
    share = float(hit_W.sum()) / staves
    by_chance = share * (1 - share) / (staves - 1)
    observed = count / (count - 1) * float(((hit_W - share * staves_W) ** 2).sum()) / staves**2
    effective = staves / max(1.0, observed / by_chance) if by_chance else count
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * float(np.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def resampled_rates(count_XW: Floats, length_W: Floats, *, resamples: int = 2000, seed: int = 0) -> Floats:
    """Rows of counts by work over the length, in resamples of the works that all rows share, [X, R].

    Resamples without a symbol to read are left out; with fewer than two works, all are.
    """
    if len(length_W) < 2:
        return np.empty((len(count_XW), 0))
    times_drawn_RW = _times_drawn(len(length_W), resamples, seed)
    length_R = times_drawn_RW @ length_W
    readable_R = length_R > 0
    rate_XR: Floats = (count_XW @ times_drawn_RW.T)[:, readable_R] / length_R[readable_R]
    return rate_XR


def rate_margin(count_W: Floats, length_W: Floats, *, level: float = 0.95) -> float:
    """Half the width of the interval of a rate by the choice of works; NaN with fewer than two.

    The bootstrap's standard error and Student's t: with few works percentiles are too near each other.
    """
    works = len(length_W)
    if works < 2:
        return float("nan")
    error = float(resampled_rates(count_W[None], length_W)[0].std()) * float(np.sqrt(works / (works - 1)))
    return student_quantile((1 - level) / 2, works - 1) * error


def largest_deviations(resampled_XR: Floats) -> Floats:
    """The largest |deviation from its mean| among the rows, in standard errors, of each resample; ascending, [R].

    Rows that do not vary are left out.
    """
    error_X = resampled_XR.std(axis=1)
    varying = resampled_XR[error_X > 0]
    if not len(varying):
        return np.empty(0)
    standardised = (varying - varying.mean(axis=1, keepdims=True)) / error_X[error_X > 0, None]
    return np.sort(np.abs(standardised).max(axis=0))


def simultaneous_quantile(deviations: Floats, seen: int, unseen: int, alpha: float, works: int) -> float:
    """How many standard errors the largest of many differences exceeds by chance, with probability `alpha`.

    Args:
        deviations: of the settings whose counts are known (`largest_deviations`).
        seen: how many settings these are.
        unseen: settings whose counts are not known: each may exceed as a normal variate does, and the chances add up.
        alpha: of the largest of all; where fewer than `LEAST_BEYOND` resamples lie beyond, all settings may be taken as
            unseen, if that gives less.
        works: few of them spread more than a normal variate; the quantile is stretched as Student's t is so far out.
    """
    normal = NormalDist()
    quantile = -normal.inv_cdf(alpha / 2 / (seen + unseen))
    beyond = np.arange(len(deviations), 0, -1) / len(deviations)  # the share of resamples at or above each
    tail = np.array([2 * unseen * normal.cdf(-value) for value in deviations]) if unseen else 0.0
    enough = np.flatnonzero(beyond + tail <= alpha)
    if len(enough):
        largest = float(deviations[enough[0]])
        quantile = largest if len(deviations) - enough[0] >= LEAST_BEYOND else min(quantile, largest)
    return student_quantile(normal.cdf(-quantile), works - 1)


def student_quantile(upper_tail: float, freedom: int) -> float:
    """What a Student's t of so many degrees of freedom exceeds with this probability."""
    from scipy.special import stdtrit  # slow to import, and not always needed

    return -float(stdtrit(freedom, upper_tail))


def sums_by_work(works: Works, *counts: Counts | Floats) -> list[Floats]:
    """Each count summed over the staves of a work, [W]."""
    _, work_of_staff = np.unique(np.asarray(works, dtype=np.str_), return_inverse=True)
    return [np.bincount(work_of_staff, weights=np.asarray(count)).astype(np.float64) for count in counts]


def _resampled_ser(distance_W: Floats, length_W: Floats, resamples: int, seed: int) -> Floats:
    """SER of each resample of W works; those without a symbol to read are left out."""
    rate_R: Floats = resampled_rates(distance_W[None], length_W, resamples=resamples, seed=seed)[0]
    return rate_R


@lru_cache(maxsize=1)  # the trials of a study are scored on the same works
def _times_drawn(works: int, resamples: int, seed: int) -> Floats:
    """How often each work is drawn in each resample, [R, W]."""
    drawn_RW = np.random.default_rng(seed).multinomial(works, np.full(works, 1 / works), size=resamples)
    return drawn_RW.astype(np.float64)  # whole numbers, as floats for a quick matrix product


def percentiles(values: Floats, level: float = 0.95) -> Interval:
    """The interval that leaves out as many of the values on either side; NaN without any."""
    if not len(values):
        return NO_INTERVAL
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
