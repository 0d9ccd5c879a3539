"""How good searches are, on recorded learning curves: `python -m tests.benchmarks.search_quality`.

The curves are those of `tests/benchmarks/recorded/`: 48 settings of four knobs, and the base with 17 seeds. Searches
see the knobs as whole numbers, 0 to 3 at the most, and a training as its curve plus the deviation of one of the base's
seeds, drawn for each setting and each seed of the simulation: the same for all contestants, so that they are compared
on equal luck. A search's answer is near if its setting is, without that deviation, within 0.01 of the best there is.

Everything but the trainings is real. Contestants (`tests.benchmarks.contestants`):

    Tune: ...   Tune with its OptunaSearch and its ASHAScheduler, as its documentation has them; their answer is that of
                `get_best_result`: the lowest SER that any trial reported last
    ours: ...   this project's studies by scheduler; the base is trained first; their answer is the lowest SER among the
                trials that were trained furthest

Counted are the trials begun and the epochs trained until the answer is near for good, in searches that end after as
many epochs as `trials` whole trainings have; one that is not near in the end counts as more. Then how good the answer
is in the end: after a number of trials, and after as many epochs as that many whole trainings have.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.command_line import check_range, main
from search.engine import keys
from tests.benchmarks.contestants import CONTESTANTS, NEAR, PLAIN, Answer, Landscape, Report, Task, quiet
from tests.benchmarks.record_curves import RECORDED


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """What is simulated.

    Attributes:
        curves: the recorded table.
        seeds: searches of each contestant.
        trials: of the longest search; others have half and a quarter of them.
        luck: how much seeds deviate, of what was recorded; 0 is a world without.
        slots: trials side by side.
        grace, factor: epochs before the first rung, and how many share a place on the next one.
        only: contestants whose name contains this.
        processes: that simulate.
    """

    curves: str = str(RECORDED / "curves.parquet")
    seeds: int = 50
    trials: int = 32
    luck: float = 1.0
    slots: int = 2
    grace: int = 2
    factor: int = 2
    only: str = ""
    processes: int = 2

    def __post_init__(self) -> None:
        check_range("seeds", self.seeds, 1)
        check_range("trials", self.trials, 4)
        check_range("slots", self.slots, 1)
        check_range("processes", self.processes, 1)


def needed(reports: Sequence[Report], answer: Answer, landscape: Landscape) -> tuple[float, float]:
    """Trials begun and epochs trained when the answer was near for good; infinite if it is not in the end."""
    first = len(reports)  # the first report after which it stays near
    while first and landscape.near(answer(reports[:first])):
        first -= 1
    if first == len(reports):
        return math.inf, math.inf
    return reports[first].begun, first + 1


@dataclass(frozen=True)
class End:
    """How a search ended: how much worse than the best its answer truly is, and the epochs that it trained."""

    above: float
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """What became of one contestant's searches with one seed.

    Attributes:
        trials, epochs: needed.
        ends: by limit, such as `8 trials`.
        run: trials run in all of the searches.
    """

    contestant: str
    seed: int
    trials: float
    epochs: float
    ends: dict[str, End]
    run: int


@dataclass(frozen=True)
class Job:
    """One contestant with one seed."""

    config: QualityConfig
    landscape: Landscape
    contestant: str
    seed: int


def simulate(job: Job) -> Outcome:
    """All searches of one contestant with one seed."""
    quiet()
    config, landscape, contestant = job.config, job.landscape, CONTESTANTS[job.contestant]
    limits = [config.trials // 4, config.trials // 2, config.trials]
    whole = config.trials * landscape.epochs
    task = Task(
        landscape=landscape,
        seed=job.seed,
        trials=None,
        epochs=None,
        slots=config.slots,
        grace=config.grace,
        factor=config.factor,
    )
    searches = {f"{trials} trials": contestant.search(replace(task, trials=trials)) for trials in limits}
    longest = contestant.search(replace(task, epochs=whole))[:whole]  # what ran beside its last epoch is left out
    searches |= {f"{epochs} epochs": longest[:epochs] for epochs in (trials * landscape.epochs for trials in limits)}
    ends = {
        limit: End(landscape.curves[contestant.answer(reports)][-1] - landscape.best, len(reports))
        for limit, reports in searches.items()
    }
    run = longest[-1].begun + sum(searches[f"{trials} trials"][-1].begun for trials in limits)
    return Outcome(job.contestant, job.seed, *needed(longest, contestant.answer, landscape), ends, run)


def compare(config: QualityConfig) -> None:
    """Run all searches and print what they needed."""
    landscape = Landscape.read(Path(config.curves), config.luck)
    print(described(config, landscape), flush=True)
    names = [name for name in CONTESTANTS if config.only in name]
    jobs = [Job(config, landscape, name, seed) for seed in range(config.seeds) for name in names]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(config.processes) as pool:
        outcomes = pool.map(simulate, jobs, chunksize=1)
    minutes, run = (time.monotonic() - began) / 60, sum(outcome.run for outcome in outcomes)
    by_name = {name: [outcome for outcome in outcomes if outcome.contestant == name] for name in names}
    print(table_of_needs(config.trials * landscape.epochs, by_name))
    print(table_of_ends(by_name))
    print(f"\n{run} trials in {minutes:.1f} minutes: {run / minutes:,.0f} a minute, {config.processes} processes")


def described(config: QualityConfig, landscape: Landscape) -> str:
    """What the searches search, and how often luck lets nobody find it."""
    finals = sorted(curve[-1] for curve in landscape.curves.values())
    spread = np.std([curve[-1] for curve in landscape.deviations], ddof=1)
    near = sum(landscape.near(place) for place in landscape.curves)
    everything = [
        landscape.near(min(landscape.curves, key=lambda place: landscape.training(place, seed)[-1].report[keys.METRIC]))
        for seed in range(config.seeds)
    ]
    return (
        f"{len(finals)} settings, final SER {finals[0]:.3f} to {finals[-1]:.3f}, {near} of them within {NEAR} of the "
        f"best; seeds spread by {spread:.3f}\n{config.seeds} seeds, {config.slots} trials side by side, first rung "
        f"after epoch {config.grace}, one in {config.factor} passes\n"
        f"who trains every setting to the end has a near answer in {np.mean(everything):.0%}\n"
    )


def table_of_needs(most: int, by_name: Mapping[str, Sequence[Outcome]]) -> str:
    """Trials and epochs until the answer is near for good."""
    lines = [
        f"until the answer is near for good, at most {most} epochs: 25 %, median, 75 %\n",
        f"| search | trials | epochs | never | sooner than {PLAIN} | later |",
        "|---|---|---|---|---|---|",
    ]
    plain = {outcome.seed: outcome.epochs for outcome in by_name.get(PLAIN, ())}
    for name, own in by_name.items():
        trials, epochs = (_quartiles([getattr(outcome, what) for outcome in own]) for what in ("trials", "epochs"))
        never = np.mean([math.isinf(outcome.epochs) for outcome in own])
        compared = ""
        if plain and name != PLAIN:
            sooner = np.mean([outcome.epochs < plain[outcome.seed] for outcome in own])
            later = np.mean([outcome.epochs > plain[outcome.seed] for outcome in own])
            compared = f"{sooner:.0%} | {later:.0%}"
        lines.append(f"| {name} | {trials} | {epochs} | {never:.0%} | {compared or ' | '} |")
    return "\n".join(lines)


def table_of_ends(by_name: Mapping[str, Sequence[Outcome]]) -> str:
    """How good the answers are in the end."""
    limits = list(next(iter(by_name.values()))[0].ends)
    lines = [
        "\nin the end: near answers; how far the answers truly are above the best SER, on average; epochs trained\n",
        f"| search | {' | '.join(limits)} |",
        "|---" * (len(limits) + 1) + "|",
    ]
    for name, own in by_name.items():
        cells = [_ended([outcome.ends[limit] for outcome in own]) for limit in limits]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _quartiles(needs: Sequence[float]) -> str:
    found = np.quantile(needs, (0.25, 0.5, 0.75), method="higher")
    return ", ".join("more" if math.isinf(one) else f"{one:.0f}" for one in found)


def _ended(ends: Sequence[End]) -> str:
    near = np.mean([end.above <= NEAR for end in ends])
    return f"{near:.0%}, {np.mean([end.above for end in ends]):.3f}, {np.mean([end.epochs for end in ends]):.0f}"


if __name__ == "__main__":
    main(compare, QualityConfig())
