"""How often a verdict is wrong, and how often there is one: `python -m tests.benchmarks.verdict_trust`.

A search is played that trains nothing: a base and some contenders with one seed each, of which the best is trained
again round by round, by the loop that a study runs (`results.evidence`). Every search has other validation works, drawn
with replacement from those of the recording (`record_curves.py`).

    A/A, recorded     every run is one of the recorded runs of the same setting, in random order: there is nothing to
                      adopt. One search uses as many runs as were recorded, so there is but one size of it.
    A/A, simulated    SER on a work = works + seed + seed x work + setting x work, each with the variance that it has in
                      the recording. Settings are alike over all works, but not on the works of one search, which is
                      what picking the best of many exploits. In the rows "on works" that is made much worse than it
                      is: seeds do not differ but in the works that they read well, and settings do so as much.
    power             the same, and one contender is truly better. It is not always the one that is picked; the
                      verdicts are those on it where it was. Below, the same with seeds that spread less.

Counted as a false adoption is a search that adopts any setting that is no better. Its interval is the Monte-Carlo error
of so many searches, given the one recording: the rows "recorded" reshuffle the same runs again and again, so what other
runs would give is not in it. "picked and adopted" is the power of the whole search: what is not picked is not adopted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import binomtest

from datasets.command_line import check_range, main
from datasets.errors import ConfigError
from results.evidence import Decision, decide, next_repeats
from results.ranking import BASE
from results.samples import LoadedSamples, Samples
from results.schema import TRIALS
from tests.benchmarks.record_curves import BASE as BASE_SETTING
from tests.benchmarks.record_curves import RECORDED

SEED = 0  # of the first runs


@dataclass(frozen=True)
class TrustConfig:
    """Attributes.

    searches: of each kind.
    recorded: the table of works that `record_curves.py` makes.
    worthwhile: as in `search.config.ConfirmConfig`.
    """

    searches: int = 1000
    recorded: str = str(RECORDED / "works.parquet")
    worthwhile: float = 0.01

    def __post_init__(self) -> None:
        check_range("searches", self.searches, 1)


@dataclass(frozen=True)
class Run:
    """One training: whose setting, which seed, and its errors on each work."""

    number: int
    seed: int
    distance: np.ndarray
    repeats: int | None = None
    origin: str = ""
    state: str = "completed"


@dataclass
class Search:
    """A study's tables, as its runs come in; each work is one staff.

    Attributes:
        length: symbols of each work.
        runs: so far, the base first.
    """

    length: np.ndarray
    runs: list[Run] = field(default_factory=list)

    def begin(self, distance_XW: np.ndarray) -> None:
        """The search itself: one run of each setting."""
        for number, distance_W in enumerate(distance_XW):
            self.runs.append(Run(number, SEED, distance_W, origin="" if number else BASE))

    def confirm(
        self, again: Callable[[int], np.ndarray], top: int, rounds: int, worthwhile: float
    ) -> tuple[list[Decision], int]:
        """The rounds, until there is nothing to train: the decisions, and the trainings. `again` trains a setting."""
        searched = len(self.runs)
        while repeats := next_repeats(*self.tables(), top, rounds, worthwhile, SEED):
            for repeat in repeats:
                self.runs.append(Run(len(self.runs), repeat.seed, again(repeat.number), repeat.number))
        return decide(*self.tables(), top, rounds, worthwhile), len(self.runs) - searched

    def tables(self) -> tuple[pa.Table, Samples]:
        """`trials` and `samples`."""
        rows = [
            {
                "study": "played",
                "trial_id": str(run.number),
                "number": run.number,
                "state": run.state,
                "ser": float(run.distance.sum() / self.length.sum()),
                "epochs": 1,
                "seed": run.seed,
                "origin": run.origin,
                "repeats": run.repeats,
            }
            for run in self.runs
        ]
        works, count = len(self.length), len(self.runs)
        names = pa.array([f"{work}" for work in range(works)])
        samples = {
            "trial_id": pa.array([str(run.number) for run in self.runs]).take(np.repeat(np.arange(count), works)),
            "epoch": np.ones(count * works, dtype=np.int64),
            "staff_id": names.take(np.tile(np.arange(works), count)),
            "work": names.take(np.tile(np.arange(works), count)),
            "distance": np.concatenate([run.distance for run in self.runs]),
            "reference_length": np.tile(self.length, count),
        }
        return pa.Table.from_pylist(rows, schema=TRIALS), LoadedSamples(pa.table(samples))


@dataclass(frozen=True)
class Recording:
    """What was measured, as error rates by work.

    Attributes:
        rates: of the base, with K seeds.
        lengths: symbols of each work.
        seed, seed_work, setting_work: standard deviations of what is between seeds, between seeds on one work beyond
            that, and between settings on one work beyond what all works share.
    """

    rates: np.ndarray
    lengths: np.ndarray
    seed: float
    seed_work: float
    setting_work: float

    @classmethod
    def of(cls, path: Path) -> Recording:
        """Out of the table of works.

        Raises:
            ConfigError: there is none.
        """
        if not path.is_file():
            raise ConfigError(f"recorded={path}: no such file; tests.benchmarks.record_curves makes it")
        table = pd.read_parquet(path)
        length_W = table.groupby("work")["length"].first().sort_index().to_numpy(dtype=np.float64)
        wide = table.pivot_table(index=[*BASE_SETTING, "seed"], columns="work", values="distance").sort_index(axis=1)
        rates = wide / length_W
        is_base = (rates.index.droplevel("seed") == tuple(BASE_SETTING.values())).astype(bool)
        base_KW = rates[is_base].to_numpy()
        first_XW = rates[rates.index.get_level_values("seed") == SEED].to_numpy()
        seed_work, works = _interaction(base_KW), len(length_W)
        seed = np.sqrt(max(base_KW.mean(axis=1).var(ddof=1) - seed_work**2 / works, 0))
        setting_work = np.sqrt(max(_interaction(first_XW) ** 2 - seed_work**2, 0))
        return cls(base_KW, length_W, float(seed), seed_work, float(setting_work))


@dataclass(frozen=True)
class Tally:
    """What many searches came to: verdicts, trainings, and the spread of seeds and works at the end."""

    verdicts: Counter[str]
    picked: int
    trainings: float
    seed_spread: float
    works_error: float


def recorded_searches(recording: Recording, config: TrustConfig, rounds: int, top: int) -> Tally:
    """A/A on recorded runs: as many contenders as leave enough runs for the rounds."""
    rng = np.random.default_rng([1, rounds, top])
    contenders = len(recording.rates) - 1 - rounds * (top + 1)
    check_range("contenders for which there are recorded seeds", contenders, 2)

    def one() -> tuple[list[Decision], int]:
        work_W = rng.integers(len(recording.lengths), size=len(recording.lengths))
        length_W = recording.lengths[work_W]
        runs = list(rng.permutation(recording.rates)[:, work_W] * length_W)
        search = Search(length_W)
        search.begin(np.array(runs[: contenders + 1]))
        left = iter(runs[contenders + 1 :])
        return search.confirm(lambda _number: next(left), top, rounds, config.worthwhile)

    return tally(one() for _ in range(config.searches))


def simulated_searches(
    recording: Recording,
    config: TrustConfig,
    *,
    contenders: int,
    top: int,
    rounds: int,
    gain: float = 0.0,
    works: int | None = None,
) -> Tally:
    """Searches among settings that are alike, but for the first contender, which is better by `gain`."""
    rng = np.random.default_rng([2, contenders, top, rounds, round(1e4 * gain), works or 0])
    mean_W = recording.rates.mean(axis=0)

    def one() -> tuple[list[Decision], int]:
        work_W = rng.integers(len(mean_W), size=works or len(mean_W))
        length_W, rate_W = recording.lengths[work_W], mean_W[work_W]
        setting_XW = rng.normal(0, recording.setting_work, (contenders + 1, len(work_W)))
        setting_XW[1] -= gain

        def train(number: int) -> np.ndarray:
            noise_W = rng.normal(0, recording.seed) + rng.normal(0, recording.seed_work, len(work_W))
            return length_W * (rate_W + setting_XW[number] + noise_W)

        search = Search(length_W)
        search.begin(np.array([train(number) for number in range(contenders + 1)]))
        return search.confirm(train, top, rounds, config.worthwhile)

    return tally((one() for _ in range(config.searches)), only=1 if gain else None)


def tally(searches: Iterable[tuple[list[Decision], int]], only: int | None = None) -> Tally:
    """Count the verdicts: the boldest one of each search; or those on trial `only`, where it was picked."""
    verdicts: Counter[str] = Counter()
    trainings, spreads, errors = [], [], []
    for decisions, trained in searches:
        said = [decision.verdict for decision in decisions if only in (None, decision.candidate)]
        if said:
            verdicts[min(said, key=["adopt", "undecided", "reject"].index)] += 1
        trainings.append(trained)
        spreads += [decision.seed_spread**2 for decision in decisions]
        errors += [decision.works_error**2 for decision in decisions]
    spread, error = (float(np.sqrt(np.nanmean(squares))) for squares in (spreads, errors))
    return Tally(verdicts, verdicts.total(), float(np.mean(trainings)), spread, error)


def report(config: TrustConfig) -> None:
    """Print the tables."""
    recording = Recording.of(Path(config.recorded))
    seeds, works = recording.rates.shape
    print(
        f"{config.searches} searches of each kind, worthwhile {100 * config.worthwhile:g} points; recorded: {seeds} "
        f"seeds of one setting, {works} works, SER {recording.rates.mean():.3f};\nstandard deviations in points: seed "
        f"{100 * recording.seed:.2f}, seed x work {100 * recording.seed_work:.1f}, setting x work "
        f"{100 * recording.setting_work:.1f}\n"
    )
    print("A/A: nothing to adopt\n")
    print(
        "| runs | works | contenders | top | rounds | false adopt (95 % Monte-Carlo error, given the recording) | "
        "reject | undecided | trainings |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    if seeds >= 12:
        for rounds in (2, 3, 4):
            found = recorded_searches(recording, config, rounds, 1)
            print(_false_row(f"recorded | {works} | {seeds - 1 - 2 * rounds} | 1 | {rounds}", found), flush=True)
    for contenders, top, rounds in ((8, 1, 4), (8, 3, 4), (20, 1, 4), (20, 3, 4), (20, 1, 8)):
        found = simulated_searches(recording, config, contenders=contenders, top=top, rounds=rounds)
        print(_false_row(f"simulated | {works} | {contenders} | {top} | {rounds}", found), flush=True)
    on_works = replace(recording, seed=0.0, setting_work=recording.seed_work)
    for number in (works, 15):
        found = simulated_searches(on_works, config, contenders=20, top=3, rounds=4, works=number)
        print(_false_row(f"simulated, on works | {number} | 20 | 3 | 4", found), flush=True)
    print("\nPower: one of 8 contenders is better, the best one is trained again\n")
    print(
        "| better by | rounds | picked | adopt | undecided | reject | picked and adopted | trainings | spread of seeds "
        "| error by works |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    calmer = [replace(recording, seed=spread) for spread in (0.01, 0.005)]
    for gain, known in [*((gain, recording) for gain in (0.01, 0.02, 0.03, 0.05)), *((0.02, one) for one in calmer)]:
        for rounds in (4, 8):
            found = simulated_searches(known, config, contenders=8, top=1, rounds=rounds, gain=gain)
            shares = " | ".join(
                f"{found.verdicts[name] / max(found.picked, 1):.0%}" for name in ("adopt", "undecided", "reject")
            )
            print(
                f"| {100 * gain:g} points | {rounds} | {found.picked / config.searches:.0%} | {shares} | "
                f"{found.verdicts['adopt'] / config.searches:.0%} | {found.trainings:.1f} | "
                f"{100 * found.seed_spread:.2f} | {100 * found.works_error:.2f} |",
                flush=True,
            )


def _interaction(rate_XW: np.ndarray) -> float:
    """Standard deviation of what is left of a table without the means of its rows and columns."""
    rest = rate_XW - rate_XW.mean(axis=1, keepdims=True) - rate_XW.mean(axis=0) + rate_XW.mean()
    return float(np.sqrt((rest**2).sum() / ((len(rate_XW) - 1) * (rate_XW.shape[1] - 1))))


def _false_row(what: str, found: Tally) -> str:
    searches = found.verdicts.total()
    low, high = binomtest(found.verdicts["adopt"], searches).proportion_ci()
    false, reject, undecided = (found.verdicts[name] / searches for name in ("adopt", "reject", "undecided"))
    return (
        f"| {what} | {false:.1%} ({low:.1%} to {high:.1%}) | {reject:.0%} | {undecided:.0%} | {found.trainings:.1f} |"
    )


def timed(config: TrustConfig) -> None:
    """The tables, and how long they took."""
    begun = time.monotonic()
    report(config)
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main(timed, TrustConfig())
