"""How often `results.compare` tells two alike settings apart: `python -m tests.benchmarks.comparison_trust`.

Every run is one of the recorded runs of the same setting (`record_curves.py`), in random order, so there is nothing to
find: what is told apart is told wrongly, and 5 % of that is allowed. Two studies are made of them, with so many trials,
the best of which is trained again so many times, and what they end with is compared on works that are drawn with
replacement from those of the recording. Nothing is told apart with one seed each, nor what was picked and not trained
again; how often the interval leaves out zero all the same is what would be told wrongly if it were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import binomtest

from datasets.command_line import check_range, main
from results.comparison import compared
from results.contestants import OpenStudy, TrialContestant
from results.gather import Tables
from results.ranking import BASE, rank
from results.samples import LoadedSamples
from results.schema import EPOCHS, SAMPLES, TRIALS
from tests.benchmarks.record_curves import BASE as BASE_SETTING
from tests.benchmarks.record_curves import RECORDED
from tests.studies import study_record

BASE_ALONE, BASE_OF_FIVE = (1, 0), (1, 4)
STUDIES = (  # (trials, trainings of the best one again) of each; the only trial is the base
    (BASE_ALONE, BASE_ALONE),
    (BASE_OF_FIVE, BASE_ALONE),
    ((1, 1), (1, 1)),
    ((1, 2), (1, 2)),
    (BASE_OF_FIVE, BASE_OF_FIVE),
    (BASE_OF_FIVE, (3, 0)),
    (BASE_OF_FIVE, (8, 0)),
    (BASE_OF_FIVE, (12, 0)),
    (BASE_OF_FIVE, (8, 4)),
)


@dataclass(frozen=True)
class ComparisonTrustConfig:
    """Attributes.

    pairs: that are compared, of each kind.
    recorded: the table of works that `record_curves.py` makes.
    """

    pairs: int = 500
    recorded: str = str(RECORDED / "works.parquet")

    def __post_init__(self) -> None:
        check_range("pairs", self.pairs, 1)


def comparison_trust(config: ComparisonTrustConfig) -> None:
    """Compare alike settings, and say how often they look different."""
    works = pd.read_parquet(config.recorded)
    works = works[(works[list(BASE_SETTING)] == pd.Series(BASE_SETTING)).all(axis=1)]
    distance_RW = works.pivot_table(index="seed", columns="work", values="distance").to_numpy()
    length_W = works.groupby("work")["length"].first().to_numpy()
    rng = np.random.default_rng(0)
    for counts in STUDIES:
        beside_zero, apart = 0, 0
        for _ in range(config.pairs):
            runs = rng.permutation(len(distance_RW))[: sum(map(sum, counts))]
            drawn = rng.integers(0, len(length_W), len(length_W))
            studies = np.split(distance_RW[runs][:, drawn], [sum(counts[0])])
            contestants = [
                _contestant(name, rows, length_W[drawn], trials)
                for name, rows, (trials, _) in zip("ab", studies, counts, strict=True)
            ]
            difference = compared(contestants).pairs[0].difference
            assert difference is not None
            beside_zero += not difference.low <= 0 <= difference.high
            apart += difference.clear
        told = " against ".join(f"best of {trials}, trained again {again} times" for trials, again in counts)
        shares = f"leaves out zero {_share(beside_zero, config.pairs)}, told apart {_share(apart, config.pairs)}"
        print(f"{told}, {difference.basis}: {shares}", flush=True)


def _share(count: int, pairs: int) -> str:
    low, high = binomtest(count, pairs).proportion_ci()
    return f"{count / pairs:.1%} ({low:.1%} to {high:.1%})"


def _contestant(name: str, distance_RW: np.ndarray, length_W: Sequence[int], tried: int) -> TrialContestant:
    """The best of a study: the first rows are its trials, the others train the best of these again."""
    trials, samples = [], []
    best = int(distance_RW[:tried].sum(axis=1).argmin())
    for number, distance_W in enumerate(distance_RW):
        run = {"study": name, "trial_id": str(number)}
        kind = {"origin": BASE if tried == 1 and number == 0 else "", "repeats": None if number < tried else best}
        ser = float(distance_W.sum() / np.sum(length_W))
        trials.append(run | kind | {"number": number, "state": "completed", "ser": ser, "epochs": 1, "seed": number})
        samples += [
            run
            | {"epoch": 1, "staff_id": f"{work:06}", "work": f"{work:06}", "source": "", "reference": ""}
            | {"distance": int(distance), "reference_length": int(length)}
            for work, (distance, length) in enumerate(zip(distance_W, length_W, strict=True))
        ]
    table = pa.Table.from_pylist(trials, TRIALS)
    tables = Tables(
        table, EPOCHS.empty_table(), LoadedSamples(pa.Table.from_pylist(samples, SAMPLES)), missing_samples=0
    )
    study = OpenStudy(Path(name), study_record(name), tables, tuple(rank(table)), ())
    return TrialContestant(name, study, study.winner())


if __name__ == "__main__":
    main(comparison_trust, ComparisonTrustConfig())
