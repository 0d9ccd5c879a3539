"""Whether a setting is better than the base: adopt, reject, or undecided and what it would take.

A search picks the best of many, each trained with one seed, on the validation staves. Its SER is then low for three
reasons: the setting, luck with the seed, luck with these staves. So the `top` of them are trained again with other
seeds, a seed a round, and beside them the base with the same seeds. D = SER of the candidate less that of the base,
each a mean over seeds, on the same staves.

    runs     The candidate's first run does not count: it was picked for its luck. The base's does: whether a trial is
             a candidate does not depend on how the base did. That is also why one that did worse than the base is
             trained again all the same, and why one seed never rejects: nobody knows yet how far seeds spread.
    seeds    V_seeds = s^2 (1/n_candidate + 1/n_base), s^2 pooled over all settings with several runs; Student's t,
             Bonferroni over the candidates, as their new seeds were not picked.
    works    V_works = variance of D in a cluster bootstrap of works. The candidate was picked on these very works, so
             its quantile is that of the largest deviation among all trials that were in the running (White 2000;
             Romano & Wolf 2005). Trials that were stopped early were in the running, too.
    both     D -+ sqrt(t^2 V_seeds + c^2 V_works). V_works holds the luck of these seeds with these works, which
             V_seeds holds too: the interval is rather too wide than too narrow.
    looks    Stopping when it is clear is looking several times. The last look is after all rounds, the one before after
             half as many, and so on: few looks leave more to each. All looks up to round j of L may err with
             probability 0.05 (j/L)^2 (the power family of Kim & DeMets, Biometrika 74, 1987), and each with what it
             adds to that: a union bound. An interval is at the level of its look; the first clear verdict stands.

    reject   D lies above -worthwhile: no gain that would be worth having
    adopt    else, D lies below 0

A candidate that diverges with another seed is never adopted: the runs that are left would flatter it. Not covered are
settings whose seeds spread differently from each other (s is pooled), and rounds that are added because the verdict was
not clear after those that were planned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.seeds import seed_from
from results.ranking import RankedTrial, base, rank
from results.statistics import (
    Floats,
    largest_deviations,
    resampled_rates,
    simultaneous_quantile,
    student_quantile,
)
from results.study import StudyRecord

Verdict: TypeAlias = Literal["adopt", "reject", "undecided"]

ALPHA = 0.05
LEAST_ROUNDS = 2  # one new seed of each says too little of how far seeds spread
LEAST_FREEDOM = 2
CONFIRM: dict[str, Any] = {"top": 1, "rounds": 4, "worthwhile": 0.01}  # of studies older than their own
MOST_ROUNDS = 50  # nobody trains more to tell two settings apart
MOST_WORKS = 10  # times as many as there are, likewise
SEEDS = 2**31


@dataclass(frozen=True)
class Decision:
    """What the repeats of one candidate say.

    Attributes:
        candidate, base: numbers of the trials.
        verdict: see the module.
        difference, low, high: SER of the candidate less that of the base, a fraction, and its simultaneous 95 %
            interval; NaN as long as there are too few seeds to have one.
        rounds: that it was trained again in, by the look.
        needed: what a clear verdict would take; empty if it is clear.
        seeds, base_seeds: runs that count.
        contenders: trials beside the base that were in the running.
        seed_spread: standard deviation of the SER of one setting over seeds (s); NaN if unknown.
        works_error: standard error of the difference by the choice of works.
    """

    candidate: int
    base: int
    verdict: Verdict
    difference: float
    low: float
    high: float
    rounds: int
    needed: str
    seeds: int
    base_seeds: int
    contenders: int
    seed_spread: float
    works_error: float


@dataclass(frozen=True)
class Repeat:
    """A training to be done: of trial `number` with another seed, in round `round`."""

    number: int
    seed: int
    round: int


def decide(trials: pa.Table, samples: pa.Table, top: int, rounds: int, worthwhile: float) -> list[Decision]:
    """The verdicts on those that were trained again, as of the last look; best ranked first.

    Args:
        trials, samples: the tables of the study.
        top, rounds, worthwhile: as in `search.config.ConfirmConfig`.

    Returns:
        Nothing where there is nothing to decide: no base that was trained as far as the others, no samples of its
        staves, no other trial, or no look yet.
    """
    evidence = _Evidence.of(trials, samples, top)
    return [] if evidence is None else _progress(evidence, evidence.seeds[:rounds], rounds, worthwhile)[0]


def next_repeats(
    trials: pa.Table, samples: pa.Table, top: int, rounds: int, worthwhile: float, seed: int
) -> list[Repeat]:
    """What is still to be trained in the current round, the base first; nothing once all is clear or all rounds done.

    Those that ended count as trained whatever became of them. The arguments are those of `decide`.

    Args:
        seed: of the first runs; those of rounds not begun yet follow from it.
    """
    evidence = _Evidence.of(trials, samples, top)
    if evidence is None:
        return []
    begun = evidence.seeds
    new = [seed_from(seed, f"repeat {number}") % SEEDS for number in range(len(begun) + 1, rounds + 1)]
    return _progress(evidence, [*begun, *new][:rounds], rounds, worthwhile)[1]


def decisions_of(study: StudyRecord, trials: pa.Table, samples: pa.Table) -> list[Decision]:
    """`decide`, as the study is configured."""
    own = study.config.get("confirm", {})
    return decide(trials, samples, **{name: own.get(name, value) for name, value in CONFIRM.items()})


@dataclass(frozen=True)
class _Evidence:
    """What the tables say, by work.

    Attributes:
        base: number of the base.
        candidates: numbers of the trials to be judged, best first.
        contenders, unseen: trials in the running beside the base; and those of them whose samples are not known.
        seeds: of the rounds that were begun, in order.
        ended: (number, seed) of the repeats that are over, and how each ended.
        first_run: distance of the base's first run, by work.
        repeated_runs: distance of each repeat that counts, by (number, seed).
        lengths: symbols of each work.
        deviations: of the contenders' first runs against the base's (`largest_deviations`).
    """

    base: int
    candidates: tuple[int, ...]
    contenders: int
    unseen: int
    seeds: list[int]
    ended: dict[tuple[int, int], str]
    first_run: Floats
    repeated_runs: dict[tuple[int, int], Floats]
    lengths: Floats
    deviations: Floats

    @classmethod
    def of(cls, trials: pa.Table, samples: pa.Table, top: int) -> _Evidence | None:
        """None where nothing can be decided."""
        ranking = rank(trials)
        foundation = base(ranking)
        ranked = [trial for trial in ranking if trial.rank is not None and trial is not foundation]
        repeats = sorted((trial for trial in ranking if trial.repeats is not None), key=lambda trial: trial.number)
        repeated = {trial.repeats for trial in repeats}
        candidates = [
            trial.number for place, trial in enumerate(ranked) if place < top or trial.number in repeated
        ]  # one that was overtaken since stays a candidate
        if foundation is None or foundation.rank is None or not candidates:
            return None
        trained = [trial for trial in repeats if trial.state == "completed"]
        read_W, length_W = _by_work(samples, foundation, [*ranked, *trained])
        if foundation.trial_id not in read_W or len(length_W) < 2 or not length_W.sum():
            return None
        first_run = read_W[foundation.trial_id]
        others = [read_W[trial.trial_id] - first_run for trial in ranked if trial.trial_id in read_W]
        running = sum(trial.repeats is None and trial.epochs > 0 for trial in ranking) - 1
        again = {
            (trial.repeats or 0, trial.seed): read_W[trial.trial_id] for trial in trained if trial.trial_id in read_W
        }
        rates = resampled_rates(np.array(others).reshape(-1, len(length_W)), length_W)
        return cls(
            base=foundation.number,
            candidates=tuple(candidates),
            contenders=running,
            unseen=running - len(others),
            seeds=list(dict.fromkeys(trial.seed for trial in repeats if trial.repeats == foundation.number)),
            ended={(t.repeats or 0, t.seed): t.state for t in repeats if t.state not in ("running", "paused")},
            first_run=first_run,
            repeated_runs=again,
            lengths=length_W,
            deviations=largest_deviations(rates),
        )

    def runs(self, number: int, seeds: Sequence[int]) -> list[Floats]:
        """Distances by work of the runs of a setting that count, after the rounds of these seeds."""
        first = [self.first_run] if number == self.base else []
        return first + [self.repeated_runs[number, seed] for seed in seeds if (number, seed) in self.repeated_runs]

    def quantile(self, alpha: float) -> float:
        """Of the works, for all contenders at once."""
        seen = self.contenders - self.unseen
        return simultaneous_quantile(self.deviations, seen, self.unseen, alpha, len(self.lengths))

    def works_error(self, difference_W: Floats) -> float:
        """Standard error of a difference by the choice of works."""
        rates = resampled_rates(difference_W[None], self.lengths)
        works = len(self.lengths)
        return float(rates.std() * math.sqrt(works / (works - 1)))

    def seed_spread(self, seeds: Sequence[int]) -> tuple[float, int]:
        """Standard deviation of a setting's SER over seeds, pooled over settings, and its degrees of freedom."""
        rates = [
            [run_W.sum() / self.lengths.sum() for run_W in self.runs(number, seeds)]
            for number in (self.base, *self.candidates)
        ]
        freedom = sum(len(group) - 1 for group in rates if group)
        squares = sum(float(np.var(group)) * len(group) for group in rates if group)
        return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


@dataclass(frozen=True)
class _Spread:
    """What the interval of one candidate is made of, now and if there were more rounds.

    Attributes:
        evidence: where it is from.
        seeds, freedom: standard deviation over seeds, and its degrees of freedom after `rounds` rounds.
        works: standard error by the choice of works.
        rounds: so far.
    """

    evidence: _Evidence
    seeds: float
    freedom: int
    works: float
    rounds: int

    def half_width(self, alpha: float, runs: int, base_runs: int, freedom: int) -> float:
        """Of the interval at this level."""
        by_seeds = student_quantile(alpha / 2 / len(self.evidence.candidates), freedom) * self.seeds
        return math.hypot(by_seeds * math.sqrt(1 / runs + 1 / base_runs), self.evidence.quantile(alpha) * self.works)

    def after(self, rounds: int) -> float:
        """Half the width after the last one of so many rounds, with a seed more for the candidate and the base each."""
        freedom = self.freedom + 2 * (rounds - self.rounds)
        return self.half_width(_levels(rounds)[rounds], rounds, rounds + 1, freedom)


def _levels(rounds: int) -> dict[int, float]:
    """The rounds after which is looked, and the probability of error of each look."""
    looks = [rounds]
    while looks[0] > LEAST_ROUNDS:
        looks.insert(0, math.ceil(looks[0] / 2))
    return {look: ALPHA * (look**2 - before**2) / rounds**2 for before, look in itertools.pairwise([0, *looks])}


def _progress(
    evidence: _Evidence, seeds: Sequence[int], rounds: int, worthwhile: float
) -> tuple[list[Decision], list[Repeat]]:
    """The decisions of the last look, and what the round that is not complete lacks."""
    levels = _levels(rounds)
    decisions: dict[int, Decision] = {}
    missing: list[Repeat] = []
    undecided = list(evidence.candidates)
    for look, seed in enumerate(seeds, start=1):
        wanted = [evidence.base, *undecided] if undecided else []
        missing = [Repeat(number, seed, look) for number in wanted if (number, seed) not in evidence.ended]
        if missing or not wanted:
            break
        diverged = {number for number in undecided if evidence.ended[number, seed] == "diverged"}
        judged = undecided if look in levels else diverged
        for number in judged:
            alpha = next(level for upto, level in levels.items() if upto >= look)
            decisions[number] = _decision(evidence, number, seeds[:look], alpha, worthwhile)
        decided = {number for number in judged if decisions[number].verdict != "undecided"} | diverged
        undecided = [number for number in undecided if number not in decided]
    return [decisions[number] for number in evidence.candidates if number in decisions], missing


def _decision(evidence: _Evidence, number: int, seeds: Sequence[int], alpha: float, worthwhile: float) -> Decision:
    """The verdict on one candidate after the rounds of these seeds, at the level of the look."""
    own, bases = evidence.runs(number, seeds), evidence.runs(evidence.base, seeds)
    spread, freedom = evidence.seed_spread(seeds)
    difference = low = high = works = math.nan
    verdict: Verdict = "undecided"
    if not own:
        needed = "a repeat that can be used: those there are failed, or their samples are lost"
    elif freedom < LEAST_FREEDOM:
        needed = "a second seed of each, to know how far seeds spread"
    else:
        difference_W = np.mean(own, axis=0) - np.mean(bases, axis=0)
        difference = float(difference_W.sum() / evidence.lengths.sum())
        works = evidence.works_error(difference_W)
        parts = _Spread(evidence, spread, freedom, works, len(seeds))
        half = parts.half_width(alpha, len(own), len(bases), freedom)
        low, high = difference - half, difference + half
        verdict = "reject" if low > -worthwhile else "adopt" if high < 0 else "undecided"
        needed = "" if verdict != "undecided" else _needed(parts, max(-difference, difference + worthwhile))
    if evidence.ended[number, seeds[-1]] == "diverged" and verdict != "reject":
        verdict, needed = "undecided", f"a setting that does not diverge, as this one did with seed {seeds[-1]}"
    return Decision(
        candidate=number,
        base=evidence.base,
        verdict=verdict,
        difference=difference,
        low=low,
        high=high,
        rounds=len(seeds),
        needed=needed,
        seeds=len(own),
        base_seeds=len(bases),
        contenders=evidence.contenders,
        seed_spread=spread,
        works_error=works,
    )


def _needed(parts: _Spread, margin: float) -> str:
    """What would bring half the width below `margin`, if the difference and the spread stay as they are."""
    for rounds in range(parts.rounds + 1, MOST_ROUNDS + 1):
        if parts.after(rounds) <= margin:
            more = rounds - parts.rounds
            return f"about {more} more seed{'s' if more > 1 else ''} of each, if the difference stays what it is"
    works = len(parts.evidence.lengths)
    by_works = parts.evidence.quantile(_levels(MOST_ROUNDS)[MOST_ROUNDS]) * parts.works
    wanted = math.ceil(works * by_works**2 / (margin**2 / 2)) if margin > 0 else math.inf
    if by_works > margin and wanted <= MOST_WORKS * works:  # half of the margin is left to the seeds
        return f"some {wanted} works to validate on instead of {works}, and more seeds of each"
    return (
        f"more than {MOST_ROUNDS} seeds of each or {MOST_WORKS} times the works: the difference is too small against "
        f"what seeds ({100 * parts.seeds:.1f} points, standard deviation) and the choice of works "
        f"({100 * parts.works:.1f}) make of it"
    )


def _by_work(
    samples: pa.Table, foundation: RankedTrial, others: Sequence[RankedTrial]
) -> tuple[dict[str, Floats], Floats]:
    """Distances by work of the base and of each other trial that was trained as far and read all of its staves.

    Returns:
        Them by trial_id, and the symbols of each work.
    """
    wanted = [foundation, *(trial for trial in others if trial.epochs == foundation.epochs)]
    ids = pa.array([trial.trial_id for trial in wanted])
    final = samples.filter(pc.field("trial_id").isin(ids) & (pc.field("epoch") == foundation.epochs))
    own = final.filter(pc.field("trial_id") == foundation.trial_id)
    names, work_S = np.unique(np.asarray(own["work"].to_pylist(), dtype=np.str_), return_inverse=True)
    length_W = np.bincount(work_S, weights=own["reference_length"].to_numpy(), minlength=len(names))
    shared = final.filter(pc.field("staff_id").isin(own["staff_id"].combine_chunks()))
    run = pc.index_in(shared["trial_id"], ids).to_numpy()
    staff = pc.index_in(shared["staff_id"], own["staff_id"].combine_chunks()).to_numpy()
    staves_X = np.bincount(run, minlength=len(wanted))
    cell = run * len(names) + work_S[staff]
    count_XW = np.bincount(cell, weights=shared["distance"].to_numpy(), minlength=len(wanted) * len(names))
    complete = staves_X == own.num_rows
    by_trial = zip(wanted, count_XW.reshape(len(wanted), -1), complete, strict=True)
    return {trial.trial_id: row.astype(np.float64) for trial, row, whole in by_trial if whole}, length_W.astype(float)
