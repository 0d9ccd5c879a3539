"""Whether a setting is better than the base: adopt, reject, or undecided and what it would take.

A search picks the best of many, each trained with one seed, on the validation staves. Its SER is then low for three
reasons: the setting, luck with the seed, luck with these staves. So the `top` of them are trained again with other
seeds, a seed a round, and beside them the base. Each training has a seed of its own, so that no two share their luck.
D = SER of the candidate less that of the base, each a mean over seeds, on the same staves.

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

A candidate that diverges with another seed is never adopted: the runs that are left would flatter it; nor is one
rejected beside a base that diverged. Not covered are settings whose seeds spread differently from each other (s is
pooled), and rounds that are added because the verdict was not clear after those that were planned: with 4, then 8, up
to 8.8 % err.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from datasets.seeds import seed_from
from results.gather import Tables
from results.repeats import Evidence
from results.replay import latest_confirm
from results.samples import Samples
from results.statistics import student_quantile
from results.study import StudyRecord

Verdict: TypeAlias = Literal["adopt", "reject", "undecided"]

ALPHA = 0.05
LEAST_ROUNDS = 2  # one new seed of each says too little of how far seeds spread
LEAST_FREEDOM = 2
MOST_ROUNDS = 50  # nobody trains more to tell two settings apart
MOST_WORKS = 10  # times as many as there are, likewise
MANY_PIECES = f"more than {MOST_WORKS} times as many pieces"
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
        ser, base_ser: mean SER over these runs; NaN if there are none.
        base_diverged: of the base's repeats, which leaves a base that looks better than it is.
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
    ser: float
    base_ser: float
    base_diverged: int
    contenders: int
    seed_spread: float
    works_error: float


@dataclass(frozen=True)
class Repeat:
    """A training to be done: of trial `number` with another seed, in round `round`."""

    number: int
    seed: int
    round: int


def decide(trials: pa.Table, samples: Samples, top: int, rounds: int, worthwhile: float) -> list[Decision]:
    """The verdicts on those that were trained again, as of the last look; best ranked first.

    Args:
        trials: the study's table of them.
        samples: what they read.
        top: as in `search.config.ConfirmConfig`, and so are `rounds` and `worthwhile`.
        rounds: of repeats at most.
        worthwhile: the least difference of SER that matters, as a fraction.

    Returns:
        Nothing where there is nothing to decide: no base that was trained as far as the others, no samples of its
        staves, no other trial, or no look yet.
    """
    evidence = Evidence.of(trials, samples, top)
    return [] if evidence is None else _progress(evidence, rounds, worthwhile)[0]


def next_repeats(
    trials: pa.Table, samples: Samples, top: int, rounds: int, worthwhile: float, seed: int
) -> list[Repeat]:
    """What is still to be trained in the current round, the base first; nothing once all is clear or all rounds done.

    Those that ended count as trained whatever became of them. The arguments are those of `decide`.

    Args:
        seed: of the first runs; that of each repeat which has not begun follows from it.
    """
    evidence = Evidence.of(trials, samples, top)
    if evidence is None:
        return []
    repeats = []
    for number, turn in _progress(evidence, rounds, worthwhile)[1]:
        new = seed_from(seed, f"repeat {turn} of {number}") % SEEDS
        repeats.append(Repeat(number, evidence.seeds.get((number, turn), new), turn))
    return repeats


def decisions_of(study: StudyRecord, tables: Tables) -> list[Decision]:
    """`decide`, as the study was configured last: a later session may have added rounds."""
    return decide(tables.trials, tables.samples, **latest_confirm(tables.sessions, study.config))


@dataclass(frozen=True)
class _Spread:
    """What the interval of one candidate is made of, now and if there were more rounds.

    Attributes:
        evidence: where it is from.
        seeds, freedom: standard deviation over seeds, and its degrees of freedom after `rounds` rounds.
        works: standard error by the choice of works.
        rounds, planned: so far, and in all.
    """

    evidence: Evidence
    seeds: float
    freedom: int
    works: float
    rounds: int
    planned: int

    def by_works(self, alpha: float) -> float:
        """Half the width that the choice of works gives the interval, however many seeds there are."""
        return self.evidence.quantile(alpha) * self.works

    def by_seeds(self, alpha: float, runs: int, base_runs: int, freedom: int) -> float:
        """Half the width that the seeds give it."""
        t = student_quantile(alpha / 2 / len(self.evidence.candidates), freedom)
        return t * self.seeds * math.sqrt(1 / runs + 1 / base_runs)

    def half_width(self, alpha: float, runs: int, base_runs: int, freedom: int) -> float:
        """Of the interval at this level."""
        return math.hypot(self.by_seeds(alpha, runs, base_runs, freedom), self.by_works(alpha))

    def after(self, rounds: int) -> tuple[float, float]:
        """What seeds and works give after the last of so many rounds, with a seed more for the two of them in each."""
        alpha, freedom = _levels(rounds)[rounds], self.freedom + 2 * (rounds - self.rounds)
        return self.by_seeds(alpha, rounds, rounds + 1, freedom), self.by_works(alpha)


def _levels(rounds: int) -> dict[int, float]:
    """The rounds after which is looked, and the probability of error of each look."""
    looks = [rounds]
    while looks[0] > LEAST_ROUNDS:
        looks.insert(0, math.ceil(looks[0] / 2))
    return {look: ALPHA * (look**2 - before**2) / rounds**2 for before, look in itertools.pairwise([0, *looks])}


def _progress(evidence: Evidence, rounds: int, worthwhile: float) -> tuple[list[Decision], list[tuple[int, int]]]:
    """The decisions of the last look, and what the round that is not complete lacks: (number, round)."""
    levels = _levels(rounds)
    decisions: dict[int, Decision] = {}
    missing: list[tuple[int, int]] = []
    undecided = list(evidence.candidates)
    for look in range(1, rounds + 1):
        wanted = [evidence.base, *undecided] if undecided else []
        missing = [(number, look) for number in wanted if (number, look) not in evidence.ended]
        if missing or not wanted:
            break
        diverged = {number for number in undecided if evidence.ended[number, look] == "diverged"}
        judged = undecided if look in levels else diverged
        for number in judged:
            alpha = next(level for upto, level in levels.items() if upto >= look)
            decisions[number] = _decision(evidence, number, look, rounds, alpha, worthwhile)
        decided = {number for number in judged if decisions[number].verdict != "undecided"} | diverged
        undecided = [number for number in undecided if number not in decided]
    return [decisions[number] for number in evidence.candidates if number in decisions], missing


def _decision(evidence: Evidence, number: int, look: int, rounds: int, alpha: float, worthwhile: float) -> Decision:
    """The verdict on one candidate after so many of the rounds, at the level of the look."""
    own, bases = evidence.runs(number, look), evidence.runs(evidence.base, look)
    spread, freedom = evidence.seed_spread(look)
    difference = low = high = works = math.nan
    verdict: Verdict = "undecided"
    if not own:
        needed = "train it with another seed: what it was trained again failed, or its samples are lost"
    elif freedom < LEAST_FREEDOM:
        needed = "train a second new seed of each, which shows how far seeds spread"
    else:
        difference_W = np.mean(own, axis=0) - np.mean(bases, axis=0)
        difference = float(difference_W.sum() / evidence.lengths.sum())
        works = evidence.works_error(difference_W)
        parts = _Spread(evidence, spread, freedom, works, look, rounds)
        half = parts.half_width(alpha, len(own), len(bases), freedom)
        low, high = difference - half, difference + half
        verdict = "reject" if low > -worthwhile else "adopt" if high < 0 else "undecided"
        needed = "" if verdict != "undecided" else _needed(parts, max(-difference, difference + worthwhile))
    base_diverged = evidence.diverged(evidence.base, look)
    if base_diverged and verdict == "reject":
        verdict, needed = (
            "undecided",
            "take a base that does not diverge: the seeds that are left of this one flatter it",
        )
    if evidence.diverged(number, look) and verdict != "reject":
        seed = evidence.seeds[number, look]
        verdict, needed = "undecided", f"try a setting that does not diverge, as this one did with seed {seed}"
    return Decision(
        candidate=number,
        base=evidence.base,
        verdict=verdict,
        difference=difference,
        low=low,
        high=high,
        rounds=look,
        needed=needed,
        seeds=len(own),
        base_seeds=len(bases),
        ser=evidence.rate(own),
        base_ser=evidence.rate(bases),
        base_diverged=base_diverged,
        contenders=evidence.contenders,
        seed_spread=spread,
        works_error=works,
    )


def _needed(parts: _Spread, margin: float) -> str:
    """What would bring half the width below `margin`, if the difference and the spread stay as they are."""
    for rounds in range(parts.rounds + 1, MOST_ROUNDS + 1):
        if math.hypot(*parts.after(rounds)) <= margin:
            return _more_seeds(parts, rounds)
    share = margin / math.sqrt(2)  # half of what the interval may have is left to each of the two
    works, by_works = len(parts.evidence.lengths), parts.after(max(MOST_ROUNDS, parts.rounds))[1]
    wanted = math.ceil(works * (by_works / share) ** 2) if share > 0 else math.inf
    ways = []
    if wanted > works:
        few = wanted <= MOST_WORKS * works
        ways.append(f"validate on {f'about {wanted} pieces instead of {works}' if few else MANY_PIECES}")
    more = (rounds - parts.rounds for rounds in range(parts.rounds, MOST_ROUNDS + 1) if parts.after(rounds)[0] <= share)
    if (seeds := next(more, None)) is None:
        ways.append(f"train more than {MOST_ROUNDS} seeds of each")
    elif seeds:
        ways.append(f"train {_seeds_more(seeds)} of each")
    return " and ".join(ways)


def _seeds_more(count: int) -> str:
    return f"about {count} more seed{'s' if count > 1 else ''}"


def _more_seeds(parts: _Spread, rounds: int) -> str:
    """So many rounds in all, and the command that trains them."""
    more, unplanned = rounds - parts.rounds, rounds - parts.planned
    extend = f" extend=+{unplanned}rounds" if unplanned > 0 else ""
    beyond = "; a verdict after unplanned rounds errs more often, in up to 9 % of studies" if unplanned > 0 else ""
    return (
        f"train {_seeds_more(more)} of each, if the difference stays what it is "
        f"(`python -m search.run resume={parts.evidence.study}{extend}`{beyond})"
    )
