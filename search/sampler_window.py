"""What a sampler sees of a long search: not all of its trials, or each suggestion would cost more than the one before.

With fewer trials than the numbers below, a sampler sees all of them, and nothing here changes what it suggests. Beyond:

    tpe      the trials that make up its good ones, and of all others, running ones included, a sample drawn anew for
             each suggestion. TPE takes a tenth of the trials as good, but 25 at the most, and so the very same ones as
             it would without the bound; of the others it needs the density alone, which a sample has, too
    gp       the best half, and a sample of the others: its cost grows with the cube. Of those that run, the latest
    cmaes    the latest: its state is kept with them
    others   look at no result

Samples are drawn with the seed of the trial that the suggestion is for: an interrupted search goes on as it would have.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from optuna.trial import FrozenTrial, TrialState

Trials: TypeAlias = Sequence[FrozenTrial]
Bound: TypeAlias = Callable[[Trials, np.random.Generator], list[FrozenTrial]]
"""Some of the trials that have parameters, in their order."""

TPE_SEES, TPE_GOOD = 800, 25
GP_SEES, GP_RUNNING = 200, 50
CMAES_SEES = 2_000
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def all_of_them(trials: Trials, rng: np.random.Generator) -> list[FrozenTrial]:  # noqa: ARG001
    """No bound."""
    return list(trials)


def for_tpe(trials: Trials, rng: np.random.Generator) -> list[FrozenTrial]:
    """See the module."""
    told = [trial for trial in trials if trial.state in FINISHED or trial.state == TrialState.RUNNING]
    if len(told) <= TPE_SEES:
        return list(trials)
    return best_and_sample(told, TPE_GOOD, TPE_SEES, rng)


def for_gp(trials: Trials, rng: np.random.Generator) -> list[FrozenTrial]:
    """See the module. It looks at none that was stopped early."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    if len(complete) > GP_SEES:
        complete = best_and_sample(complete, GP_SEES // 2, GP_SEES, rng)
    elif len(running) <= GP_RUNNING:
        return list(trials)
    return sorted([*complete, *running[-GP_RUNNING:]], key=lambda trial: trial.number)


def for_cmaes(trials: Trials, rng: np.random.Generator) -> list[FrozenTrial]:  # noqa: ARG001
    """See the module."""
    return list(trials[-CMAES_SEES:])


def best_and_sample(trials: Trials, best: int, most: int, rng: np.random.Generator) -> list[FrozenTrial]:
    """The best so many, and of the others as many as make up the most, drawn evenly; all in their order."""
    chosen = {trial.number for trial in heapq.nsmallest(best, trials, key=standing)}
    others = [trial.number for trial in trials if trial.number not in chosen]
    chosen.update(rng.choice(others, size=most - len(chosen), replace=False).tolist())
    return [trial for trial in trials if trial.number in chosen]


def standing(trial: FrozenTrial) -> tuple[int, float, float]:
    """What TPE orders trials by: complete ones by their SER; then those that were stopped early, the later the better,
    and of one epoch by their SER; then those that run."""
    if trial.state == TrialState.COMPLETE:
        return 0, 0.0, trial.value if trial.value is not None else math.inf
    if trial.state != TrialState.PRUNED:
        return 2, 0.0, 0.0
    if not trial.intermediate_values:
        return 1, 1.0, 0.0
    step, value = max(trial.intermediate_values.items())
    return 1, -float(step), math.inf if math.isnan(value) else value
