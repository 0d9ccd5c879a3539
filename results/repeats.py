"""What a study's tables hold for and against its best trials: which errors the base, they and their repeats made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.ranking import RankedTrial, base, rank
from results.samples import Samples
from results.statistics import Floats, largest_deviations, resampled_rates, simultaneous_quantile


@dataclass(frozen=True)
class Evidence:
    """What the tables say, by work. The first repeat of a trial is of round 1, the second of round 2, and so on.

    Attributes:
        study: its name, for the commands that are told.
        base: number of the base.
        candidates: numbers of the trials to be judged, best first.
        contenders, unseen: trials in the running beside the base; and those of them whose samples are not known.
        seeds: of the repeats that were begun, by (number, round).
        ended: how those that are over did, by (number, round).
        first_run: distance of the base's first run, by work.
        repeated_runs: distance of each repeat that counts, by (number, round).
        lengths: symbols of each work.
        deviations: of the contenders' first runs against the base's (`largest_deviations`).
    """

    study: str
    base: int
    candidates: tuple[int, ...]
    contenders: int
    unseen: int
    seeds: dict[tuple[int, int], int]
    ended: dict[tuple[int, int], str]
    first_run: Floats
    repeated_runs: dict[tuple[int, int], Floats]
    lengths: Floats
    deviations: Floats

    @classmethod
    def of(cls, trials: pa.Table, samples: Samples, top: int) -> Evidence | None:
        """None where nothing can be decided."""
        ranking = rank(trials)
        foundation = base(ranking)
        ranked = [trial for trial in ranking if trial.rank is not None and trial is not foundation]
        repeats = _by_round(ranking)
        repeated = {number for number, _ in repeats}
        candidates = [
            trial.number for place, trial in enumerate(ranked) if place < top or trial.number in repeated
        ]  # one that was overtaken since stays a candidate
        if foundation is None or foundation.rank is None or not candidates:
            return None
        trained = {place: trial for place, trial in repeats.items() if trial.state == "completed"}
        read_W, length_W = _by_work(samples, foundation, [*ranked, *trained.values()])
        if foundation.trial_id not in read_W or len(length_W) < 2 or not length_W.sum():
            return None
        first_run = read_W[foundation.trial_id]
        others = [read_W[trial.trial_id] - first_run for trial in ranked if trial.trial_id in read_W]
        running = sum(trial.repeats is None and trial.epochs > 0 for trial in ranking) - 1
        rates = resampled_rates(np.array(others).reshape(-1, len(length_W)), length_W)
        return cls(
            study=trials["study"][0].as_py() or "NAME",
            base=foundation.number,
            candidates=tuple(candidates),
            contenders=running,
            unseen=running - len(others),
            seeds={place: trial.seed for place, trial in repeats.items()},
            ended={at: trial.state for at, trial in repeats.items() if trial.state not in ("running", "paused")},
            first_run=first_run,
            repeated_runs={at: read_W[trial.trial_id] for at, trial in trained.items() if trial.trial_id in read_W},
            lengths=length_W,
            deviations=largest_deviations(rates),
        )

    def runs(self, number: int, rounds: int) -> list[Floats]:
        """Distances by work of the runs of a setting that count, after so many rounds."""
        first = [self.first_run] if number == self.base else []
        places = [(number, turn) for turn in range(1, rounds + 1)]
        return first + [self.repeated_runs[place] for place in places if place in self.repeated_runs]

    def rate(self, runs: Sequence[Floats]) -> float:
        """Mean SER of some runs; NaN of none."""
        return float(np.sum(runs) / len(runs) / self.lengths.sum()) if runs else math.nan

    def diverged(self, number: int, rounds: int) -> int:
        """How many repeats of a setting did, in so many rounds."""
        return sum(self.ended.get((number, turn)) == "diverged" for turn in range(1, rounds + 1))

    def quantile(self, alpha: float) -> float:
        """Of the works, for all contenders at once."""
        seen = self.contenders - self.unseen
        return simultaneous_quantile(self.deviations, seen, self.unseen, alpha, len(self.lengths))

    def works_error(self, difference_W: Floats) -> float:
        """Standard error of a difference by the choice of works."""
        rates = resampled_rates(difference_W[None], self.lengths)
        works = len(self.lengths)
        return float(rates.std() * math.sqrt(works / (works - 1)))

    def seed_spread(self, rounds: int) -> tuple[float, int]:
        """Standard deviation of a setting's SER over seeds, pooled over settings, and its degrees of freedom."""
        rates = [
            [run_W.sum() / self.lengths.sum() for run_W in self.runs(number, rounds)]
            for number in (self.base, *self.candidates)
        ]
        freedom = sum(len(group) - 1 for group in rates if group)
        squares = sum(float(np.var(group)) * len(group) for group in rates if group)
        return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def _by_round(ranking: Sequence[RankedTrial]) -> dict[tuple[int, int], RankedTrial]:
    """The repeats by the number of the trial that they repeat and their round."""
    repeats = sorted((trial for trial in ranking if trial.repeats is not None), key=lambda trial: trial.number)
    turns: Counter[int] = Counter()
    found = {}
    for trial in repeats:
        number = trial.repeats or 0
        turns[number] += 1
        found[number, turns[number]] = trial
    return found


def _by_work(
    samples: Samples, foundation: RankedTrial, others: Sequence[RankedTrial]
) -> tuple[dict[str, Floats], Floats]:
    """Distances by work of the base and of each other trial that was trained as far and read all of its staves.

    Returns:
        Them by trial_id, and the symbols of each work.
    """
    own = samples.of(foundation.trial_id, foundation.epochs, ["staff_id", "work", "reference_length"])
    names, work_S = np.unique(np.asarray(own["work"].to_pylist(), dtype=np.str_), return_inverse=True)
    length_W = np.bincount(work_S, weights=own["reference_length"].to_numpy(), minlength=len(names))
    read_W = {}
    for trial in (foundation, *others):
        read = samples.of(trial.trial_id, foundation.epochs, ["staff_id", "distance"])
        staff = pc.index_in(read["staff_id"], own["staff_id"].combine_chunks())
        shared = pc.is_valid(staff).to_numpy()
        if trial.epochs == foundation.epochs and shared.sum() == len(own):
            work = work_S[staff.drop_null().to_numpy()]
            read_W[trial.trial_id] = np.bincount(work, read["distance"].to_numpy()[shared], len(names)).astype(float)
    return read_W, length_W.astype(float)
