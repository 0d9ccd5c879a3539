"""Which knob moves which kind of error: parameters against the SER, its branches and its error classes.

    share        PED-ANOVA (Watanabe et al., arXiv 2304.10255), Optuna's: how far the best third of the trials lies
                 elsewhere in a parameter than all of them, as a share of what that comes to over the parameters
    difference   SER (or the class's part of it) in the worst third of the range less that in the best third
    chance       how often the table as a whole shows anything as strong when the trials' results are shuffled

The chance is of the whole table (the largest statistic of each shuffle: Westfall & Young, 1993), so a study of pure
noise shows something in one table of twenty, however many parameters and classes there are. Holm's correction of the
single cells would need thousands of shuffles and would not know that the classes add up to the SER. The statistic is
Kruskal's and Wallis' between the thirds, which uses the order of all trials; PED-ANOVA's own looks at the best alone.

The chance is that of one knob among random settings. A sampler that learns moves knobs together once one of them
matters: beside one that does, one that does nothing was called real in 5 % of simulated studies of 20 trials and 12 %
of 40 with TPE, and in 1 to 2 % with random settings.

Trials are compared at equal effort: at the end, if enough came there and nobody was stopped; else after the first rung,
where nobody had been stopped. Those that reach the end of a study that stops trials were chosen by their early SER.
Of more than `MOST_TRIALS` so many are drawn by chance, which the text says. The intervals of the shares come from
resamples of `MOST_DRAWN` trials, narrowed to what as many as there are would spread (m out of n: Bickel, Götze & van
Zwet, Statistica Sinica 7, 1997): Optuna's time for each grows with its trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.fidelity import ranks, rung_epochs
from results.journal import Parameter
from results.ranking import RankedTrial
from results.roles import PARTS, Range, in_thirds, level_name, together, value_text
from results.schema import ERROR_CLASSES, SER_BRANCHES
from results.statistics import Floats
from results.study import StudyRecord

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

METRICS = ("ser", *(f"ser_{name}" for name in SER_BRANCHES), *(f"ser_class_{name}" for name in ERROR_CLASSES))
LEAST_TRIALS, ENOUGH_TRIALS = 10, 20  # to tell anything; to prefer the end to a first rung
LEAST_IN_LEVEL = 3
MOST_TRIALS, MOST_DRAWN = 1000, 250  # that are compared; in a resample for the intervals of the shares
REACHED = 0.8  # of the trials, by the epoch that stands in for a first rung
BEST_SHARE = 1 / 3  # PED-ANOVA's target quantile; Optuna's own tenth is one trial of ten
SHUFFLES, BATCH, EFFECT_RESAMPLES, SHARE_RESAMPLES = 1000, 50, 1000, 60
FAMILY_ERROR = 0.05


@dataclass(frozen=True)
class Cell:
    """A parameter's part in one kind of error.

    Attributes:
        metric: a column of `epochs`: `ser`, a branch's or an error class's.
        share: of the importance of all parameters.
        share_low, share_high: its 95 % interval (bootstrap over trials); NaN where chance explains the cell.
        divergence: PED-ANOVA's importance as it is, before it becomes a share.
        chance: that a table of noise has a cell as strong.
        difference: SER in the worst level less that in the best, a fraction.
        difference_low, difference_high: its 95 % interval, with these two levels.
        best, worst: those levels: thirds of the range, or values.
    """

    metric: str
    share: float
    share_low: float
    share_high: float
    divergence: float
    chance: float
    difference: float
    difference_low: float
    difference_high: float
    best: str
    worst: str

    @property
    def real(self) -> bool:
        """Whether it is more than noise explains."""
        return self.chance <= FAMILY_ERROR


@dataclass(frozen=True)
class Knob:
    """A parameter, `targets` being all that it moves alike, and the `trials` that had it."""

    targets: tuple[str, ...]
    trials: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Importance:
    """The table.

    Attributes:
        basis: `early` (after the first rung) or `final`; "" if there is nothing to go by.
        when: what that epoch is, in words.
        epoch: that the trials are compared after.
        trials: that are compared.
        knobs: in the order of the space; without those that never varied, or of which no two levels have
            `LEAST_IN_LEVEL` trials.
    """

    basis: str
    epoch: int
    trials: int
    knobs: tuple[Knob, ...]
    when: str = ""


def importance(
    study: StudyRecord, ranking: Sequence[RankedTrial], epochs: pa.Table, *, resamples: int = SHARE_RESAMPLES
) -> Importance:
    """What each searched parameter moves.

    Args:
        study: the study's record.
        ranking: all its trials, as `results.ranking.rank` orders them.
        epochs: its `epochs` table.
        resamples: for the intervals of the shares, which take most of the time.
    """
    basis, epoch, trials, rows, when = _thinned(*_basis(study, ranking, epochs))
    metrics = [name for name in METRICS if _varies([row[name] for row in rows])]
    if not basis or not metrics:
        return Importance(basis if metrics else "", epoch, len(trials), (), when)
    found = [_Values.of(study, targets, trials) for targets in together(study, study.parameters, trials)]
    values = [one for one in found if len(one.levels) > 1]
    if not values:
        return Importance(basis, epoch, len(trials), (), when)
    results_NC = np.array([[row[name] for name in metrics] for row in rows], dtype=np.float64)
    chance_KC = _chances(values, results_NC)
    divergence_KC = _divergences(values, results_NC, range(len(trials)))
    share_KC = _shares(divergence_KC)
    interval_KC2 = _share_intervals(values, results_NC, chance_KC, share_KC, resamples)
    knobs = []
    for k, one in enumerate(values):
        effects = one.effects(results_NC)
        cells = [
            Cell(
                metric=metric,
                share=float(share_KC[k, c]),
                share_low=float(interval_KC2[k, c, 0]),
                share_high=float(interval_KC2[k, c, 1]),
                divergence=float(divergence_KC[k, c]),
                chance=float(chance_KC[k, c]),
                **effects[c],
            )
            for c, metric in enumerate(metrics)
        ]
        knobs.append(Knob(one.targets, int(one.having.sum()), tuple(cells)))
    return Importance(basis, epoch, len(trials), tuple(knobs), when)


def _basis(
    study: StudyRecord, ranking: Sequence[RankedTrial], epochs: pa.Table
) -> tuple[str, int, list[RankedTrial], list[Mapping[str, Any]], str]:
    """Where trials are compared, the rows of `epochs` there, and what that epoch is, in words.

    A population changes settings on the way, so that only its end belongs to them.
    """
    own = [trial for trial in ranking if trial.repeats is None]
    final = [trial for trial in own if trial.rank is not None]
    stopped = any(trial.state in ("pruned", "paused") for trial in own)
    ending = "the end, for which trials were chosen by how they had begun" if stopped else "the end"
    choices = [("final", final[0].epochs, final, ending)] if final else []
    if study.config.get("scheduler", {}).get("name") != "pbt":
        early, rungs = _early_epoch(study, own), rung_epochs(study)
        when = "the first rung, where nobody had been stopped" if rungs else "which nearly all trials reached"
        reached = [trial for trial in own if trial.epochs >= early]
        prefer_end = not rungs or (len(final) >= ENOUGH_TRIALS and not stopped)
        choices.insert(prefer_end, ("early", early, reached, when))
    for basis, epoch, trials, when in choices:
        told_then = epochs.filter((pc.field("epoch") == epoch) & pc.is_finite(pc.field("ser")))
        rows = {row["trial_id"]: row for row in told_then.to_pylist()}
        told = [trial for trial in trials if trial.trial_id in rows]
        if len(told) >= LEAST_TRIALS:
            told.sort(key=lambda trial: trial.number)
            return basis, epoch, told, [rows[trial.trial_id] for trial in told], when
    return "", 0, [], [], ""


def _thinned(
    basis: str, epoch: int, trials: list[RankedTrial], rows: list[Mapping[str, Any]], when: str
) -> tuple[str, int, list[RankedTrial], list[Mapping[str, Any]], str]:
    """The same with `MOST_TRIALS` at most."""
    if len(trials) <= MOST_TRIALS:
        return basis, epoch, trials, rows, when
    kept = np.sort(np.random.default_rng(0).choice(len(trials), MOST_TRIALS, replace=False)).tolist()
    when = f"{when}; drawn by chance from {len(trials)} trials"
    return basis, epoch, [trials[place] for place in kept], [rows[place] for place in kept], when


def _early_epoch(study: StudyRecord, trials: Sequence[RankedTrial]) -> int:
    """The first rung, or else the last epoch that nearly all trials reached."""
    rungs = rung_epochs(study)
    if rungs:
        return rungs[0]
    reached = sorted((trial.epochs for trial in trials if trial.state not in ("failed", "running")), reverse=True)
    return max(reached[int(np.ceil(REACHED * len(reached))) - 1], 1) if reached else 1


def _varies(values: Sequence[float | None]) -> bool:
    return None not in values and len(set(values)) > 1


@dataclass(frozen=True)
class _Values:
    """A parameter's values in N trials.

    Attributes:
        levels: their names, of those that have trials enough.
        members: which trials each level has, [L, N].
        having: which trials have the parameter at all, [N].
    """

    targets: tuple[str, ...]
    values: list[Parameter]
    drawn_from: Range | None
    levels: list[str]
    members: Floats
    having: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, study: StudyRecord, targets: tuple[str, ...], trials: Sequence[RankedTrial]) -> _Values:
        values = [trial.params.get(targets[0]) for trial in trials]
        drawn_from = in_thirds(study, targets[0], PARTS)
        names = np.array([level_name(value, drawn_from) for value in values])
        having = np.array([value is not None for value in values])
        levels = [name for name in dict.fromkeys(names[having].tolist()) if sum(names == name) >= LEAST_IN_LEVEL]
        members = np.array([names == name for name in levels], dtype=np.float64).reshape(len(levels), len(names))
        return cls(targets, values, drawn_from, levels, members, having)

    def strength(self, ranks_NC: Floats) -> Floats:
        """Kruskal's and Wallis' H of each column between the levels, as a normal deviate (Wilson & Hilferty, 1931).

        Further axes may stand before the two.
        """
        size_L, inside_N = self.members.sum(axis=1), self.members.sum(axis=0)
        mean_C = inside_N @ ranks_NC / inside_N.sum()
        centred_NC = (ranks_NC - mean_C[..., None, :]) * inside_N[:, None]
        total_C = (centred_NC**2).sum(axis=-2)
        between_C = ((self.members @ centred_NC) ** 2 / size_L[:, None]).sum(axis=-2)
        h_C = (inside_N.sum() - 1) * between_C / np.where(total_C > 0, total_C, np.inf)
        freedom = len(self.levels) - 1
        spread = 2 / (9 * freedom)
        deviate: Floats = (np.cbrt(h_C / freedom) - (1 - spread)) / np.sqrt(spread)
        return deviate

    def effects(self, results_NC: Floats) -> list[dict[str, Any]]:
        """For each column the best and the worst level, how far they are apart, and its interval."""
        count = len(self.values)
        drawn_RN = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=EFFECT_RESAMPLES)
        weights_LRN = self.members[:, None, :] * np.vstack([np.ones(count), drawn_RN])
        with np.errstate(invalid="ignore"):  # a level that was not drawn has no mean
            means_LRC = weights_LRN @ results_NC / weights_LRN.sum(axis=2)[:, :, None]
        found = []
        for means_LR in np.moveaxis(means_LRC, 2, 0):
            best, worst = int(means_LR[:, 0].argmin()), int(means_LR[:, 0].argmax())
            difference_R = means_LR[worst] - means_LR[best]
            low, high = np.nanquantile(difference_R[1:], [0.025, 0.975])
            ends = {"difference_low": float(low), "difference_high": float(high)}
            levels = {"best": self.levels[best], "worst": self.levels[worst]}
            found.append({"difference": float(difference_R[0]), **ends, **levels})
        return found

    def distribution(self) -> tuple[BaseDistribution, list[Any]]:
        """What Optuna is told: the range, widened to what was tried, or single values; and the value of each trial."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        used: list[Any] = [value for value in self.values if value is not None]
        if self.drawn_from is None or str in set(map(type, used)):
            return CategoricalDistribution(sorted({*map(value_text, used)})), list(map(value_text, self.values))
        low, high = min(self.drawn_from.low, *used), max(self.drawn_from.high, *used)
        log = self.drawn_from.log and low > 0
        if self.drawn_from.whole:
            return IntDistribution(int(low), int(high), log=log), self.values
        return FloatDistribution(low, high, log=log), self.values


def _chances(values: Sequence[_Values], results_NC: Floats) -> Floats:
    """For each cell, the share of shuffles of whole rows in which any cell of the table is as strong."""
    ranks_NC = np.column_stack([ranks(column) for column in results_NC.T])
    found_KC = np.array([one.strength(ranks_NC) for one in values])
    rng, rows = np.random.default_rng(0), np.arange(len(ranks_NC))
    strongest: list[float] = []
    for _ in range(SHUFFLES // BATCH):
        mixed_BNC = ranks_NC[rng.permuted(np.tile(rows, (BATCH, 1)), axis=1)]
        strongest.extend(np.max([one.strength(mixed_BNC).max(axis=1) for one in values], axis=0))
    strongest_S = np.array(strongest)
    as_strong_KC = (strongest_S[:, None, None] >= found_KC).sum(axis=0)
    chances: Floats = (1 + as_strong_KC) / (1 + SHUFFLES)
    return chances


def _share_intervals(
    values: Sequence[_Values], results_NC: Floats, chance_KC: Floats, share_KC: Floats, resamples: int
) -> Floats:
    """Intervals of the shares [K, C, 2]; NaN for cells that noise explains, which would tell nothing.

    Trials that are drawn twice make more noise of every parameter, and so the shares more alike: the interval is moved
    by that bias.
    """
    found = np.full((*chance_KC.shape, 2), np.nan)
    columns = np.flatnonzero((chance_KC <= FAMILY_ERROR).any(axis=0))
    if not len(columns) or not resamples:
        return found
    rng, count = np.random.default_rng(0), len(results_NC)
    size = min(count, MOST_DRAWN)
    draws = [rng.integers(count, size=size) for _ in range(resamples)]
    shares_RKC = np.array([_shares(_divergences(values, results_NC[:, columns], draw.tolist())) for draw in draws])
    low_KC, middle_KC, high_KC = np.quantile(shares_RKC, [0.025, 0.5, 0.975], axis=0)
    spread_KC2 = (np.stack([low_KC, high_KC], axis=2) - middle_KC[..., None]) * np.sqrt(size / count)
    moved_KC2 = share_KC[:, columns, None] + spread_KC2
    found[:, columns] = np.clip(moved_KC2, 0, 1)
    found[chance_KC > FAMILY_ERROR] = np.nan
    return found


def _shares(divergence_KC: Floats) -> Floats:
    total_C = divergence_KC.sum(axis=0)
    shares: Floats = divergence_KC / np.where(total_C > 0, total_C, 1)
    return shares


def _divergences(values: Sequence[_Values], results_NC: Floats, drawn: Sequence[int]) -> Floats:
    """PED-ANOVA of each parameter and column [K, C], over those of the drawn trials that have the parameter."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    found_KC = np.zeros((len(values), results_NC.shape[1]))
    told = [one.distribution() for one in values]
    groups: dict[bytes, list[int]] = {}
    for k, one in enumerate(values):
        groups.setdefault(one.having.tobytes(), []).append(k)
    with _quiet_optuna():
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        for members in groups.values():
            kept = [n for n in drawn if values[members[0]].having[n]]
            if len(kept) < LEAST_IN_LEVEL:
                continue
            study = _optuna_study({str(k): told[k] for k in members}, kept)
            for c, result_N in enumerate(results_NC[kept].T):
                found = get_param_importances(
                    study,
                    evaluator=evaluator,
                    target=lambda trial, result_N=result_N: float(result_N[trial.number]),  # type: ignore[misc]
                    normalize=False,
                )
                for name, divergence in found.items():
                    found_KC[int(name), c] = divergence
    return found_KC


def _optuna_study(told: Mapping[str, tuple[BaseDistribution, list[Any]]], trials: Sequence[int]) -> Study:
    import optuna

    study = optuna.create_study()
    distributions = {name: distribution for name, (distribution, _) in told.items()}
    for n in trials:
        params = {name: values[n] for name, (_, values) in told.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.0))
    return study


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without word of each study made, and the warning that a `target` is to be minimised, as it is."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
