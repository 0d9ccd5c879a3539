"""How often `results.compare` tells two alike settings apart: `python -m tests.benchmarks.comparison_trust`.

Every run is one of the recorded runs of the same setting (`record_curves.py`), in random order, so there is nothing to
find: what is told apart is told wrongly, and 5 % of that is allowed. Two studies are made of them, with so many runs
each, and their trials compared on works that are drawn with replacement from those of the recording. Where there is
one seed each, nothing is told apart; counted is how often the interval leaves out zero all the same.
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
from results.ranking import BASE, base, rank
from results.schema import EPOCHS, SAMPLES, TRIALS
from tests.benchmarks.record_curves import BASE as BASE_SETTING
from tests.benchmarks.record_curves import RECORDED
from tests.studies import study_record

RUNS = ((1, 1), (5, 1), (2, 2), (3, 3), (5, 5))  # of the two studies


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
    for counts in RUNS:
        wrong = 0
        for _ in range(config.pairs):
            runs = rng.permutation(len(distance_RW))[: sum(counts)]
            drawn = rng.integers(0, len(length_W), len(length_W))
            studies = np.split(distance_RW[runs][:, drawn], [counts[0]])
            contestants = [_contestant(name, rows, length_W[drawn]) for name, rows in zip("ab", studies, strict=True)]
            difference = compared(contestants).pairs[0].difference
            assert difference is not None
            wrong += not difference.low <= 0 <= difference.high
        low, high = binomtest(wrong, config.pairs).proportion_ci()
        share = f"{wrong / config.pairs:.1%} ({low:.1%} to {high:.1%})"
        print(f"{counts[0]} runs against {counts[1]}, {difference.basis}: {share}")


def _contestant(name: str, distance_RW: np.ndarray, length_W: Sequence[int]) -> TrialContestant:
    """The base of a study whose first run is the first row, and whose repeats are the others; a work is one staff."""
    trials, samples = [], []
    for number, distance_W in enumerate(distance_RW):
        run = {"study": name, "trial_id": str(number)}
        first = {"origin": BASE, "repeats": None} if number == 0 else {"origin": "", "repeats": 0}
        ser = float(distance_W.sum() / np.sum(length_W))
        trials.append(run | first | {"number": number, "state": "completed", "ser": ser, "epochs": 1, "seed": number})
        samples += [
            run
            | {"epoch": 1, "staff_id": f"{work:06}", "work": f"{work:06}", "source": "", "reference": ""}
            | {"distance": int(distance), "reference_length": int(length)}
            for work, (distance, length) in enumerate(zip(distance_W, length_W, strict=True))
        ]
    table = pa.Table.from_pylist(trials, TRIALS)
    tables = Tables(table, EPOCHS.empty_table(), pa.Table.from_pylist(samples, SAMPLES), missing_samples=0)
    study = OpenStudy(Path(name), study_record(name), tables, tuple(rank(table)), ())
    foundation = base(study.ranking)
    assert foundation is not None
    return TrialContestant(name, study, foundation)


if __name__ == "__main__":
    main(comparison_trust, ComparisonTrustConfig())
