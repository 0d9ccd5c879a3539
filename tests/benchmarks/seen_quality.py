"""Whether TPE searches as well where it sees a part of a long search: `python -m tests.benchmarks.seen_quality`.

Searches of `space=dropout` on the landscape of `tests.benchmarks.scale`, with luck, one with each bound and each seed:
all bounds face the same landscape and the same luck. A trial that is behind the median after epoch 4 is stopped there.
Told are the true final SER, without luck, of the best trial by its reported SER and of the last 200 suggestions on
average; and the seconds of CPU that suggestions took.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from bisect import insort
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
from optuna.trial import TrialState

from datasets.command_line import check_range, main
from search import sampler_window
from search.samplers import build_sampler
from search.study import space_of
from tests.benchmarks.scale import Landscape, ScaleConfig

LAST, RUNG, EPOCHS = 200, 4, 50


@dataclass(frozen=True, kw_only=True)
class SeenConfig:
    """What is simulated.

    Attributes:
        trials, seeds: of each search, and how many searches.
        bounds: trials that TPE sees, with commas between; 0 is all.
        processes: that simulate.
    """

    trials: int = 2_100
    seeds: int = 3
    bounds: str = "0,800,400"
    processes: int = 2

    def __post_init__(self) -> None:
        check_range("trials", self.trials, LAST)
        check_range("seeds", self.seeds, 1)


@dataclass(frozen=True)
class Found:
    """How a search ended: true SER of its answer and of its last suggestions, and seconds of CPU a suggestion."""

    bound: int
    seed: int
    answer: float
    last: float
    seconds: float


def search(job: tuple[int, int, int]) -> Found:
    """One search with one bound: trials, bound, seed."""
    trials, bound, seed = job
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = ScaleConfig(trials=trials, seed=seed).search(Path("unused"))
    space, landscape = space_of(config), Landscape(config)
    sers, truths, early = list[float](), list[float](), list[float]()
    spent = 0.0
    with mock.patch.object(sampler_window, "TPE_SEES", bound or 10**9):
        study = optuna.create_study(sampler=build_sampler(config.sampler, seed, space))
        for number in range(trials):
            began = time.process_time()
            trial = study.ask()
            settings = space.suggest(trial)
            spent += time.process_time() - began
            trained = {"settings": settings, "number": number}
            truths.append(landscape.end(settings))
            at_rung, final = landscape(trained, RUNG), landscape(trained, EPOCHS)
            stopped = bool(early) and at_rung > early[len(early) // 2]
            insort(early, at_rung)
            trial.report(at_rung, RUNG)
            sers.append(math.inf if stopped else final)
            if stopped:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, final)
    return Found(bound, seed, truths[int(np.argmin(sers))], float(np.mean(truths[-LAST:])), spent / trials)


def compare(config: SeenConfig) -> None:
    """Run all searches and print how they ended."""
    bounds = [int(bound) for bound in config.bounds.split(",")]
    jobs = [(config.trials, bound, seed) for seed in range(config.seeds) for bound in bounds]
    with multiprocessing.get_context("spawn").Pool(config.processes) as pool:
        found = []
        for one in pool.imap(search, jobs, chunksize=1):
            found.append(one)
            print(f"seed {one.seed}, sees {one.bound or 'all'}: {one.answer:.4f}, {one.last:.4f}", flush=True)
    print(f"\n{config.trials:,} trials, {config.seeds} seeds; true final SER, mean (least to most)\n")
    print(f"| sees | answer | last {LAST} suggestions | ms a suggestion |\n|---|---|---|---|")
    for bound in bounds:
        own = [one for one in found if one.bound == bound]
        cells = [_spread([one.answer for one in own]), _spread([one.last for one in own])]
        print(f"| {bound or 'all'} | {' | '.join(cells)} | {1000 * np.mean([one.seconds for one in own]):.1f} |")


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main(compare, SeenConfig())
