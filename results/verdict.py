"""The sentences that a search is run for: which setting is better than the base, and how sure that is.

What was trained again with other seeds gets the decision of `results.evidence`; of the rest is told how one run stands
against another on the same staves, and that one seed does not tell more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from omr_model.metrics import percent
from results.evidence import Decision
from results.ranking import BASE, RankedTrial, base
from results.samples import Samples
from results.statistics import difference_interval

Judgement: TypeAlias = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """A trial against another one, on the validation staves that both read. Below zero, the trial errs less.

    Attributes:
        difference: the trial's SER less the other's, a fraction.
        low, high: its paired 95 % interval (bootstrap over works).
        judgement: `better` if the trial errs less all over the interval, `worse` if it errs more all over it, else
            `undecided`.
    """

    difference: float
    low: float
    high: float
    judgement: Judgement


def verdict(
    trial: RankedTrial, ranking: Sequence[RankedTrial], samples: Samples, decisions: Sequence[Decision] = ()
) -> str:
    """All decisions of the study, and a trial's place among those of equal effort; `how_decided` has the small print.

    Where no decision is about the trial, a paired test of one run each: against the base, or for the base itself and in
    a study whose base was not trained as far against the best other trial. That test does not know that the best was
    chosen among many, which flatters it a little.

    Args:
        trial: one of `ranking`.
        ranking: as `results.ranking.rank` orders them.
        samples: what the trials of the study read.
        decisions: as `results.evidence.decide` gives them.
    """
    contenders = [other for other in ranking if other.rank is not None]
    about = [decision for decision in decisions if trial.number in (decision.candidate, decision.base)]
    sentences = [*map(decision_text, decisions), _place(trial, len(contenders), about)]
    if about and trial.origin == BASE and all(decision.verdict == "reject" for decision in decisions):
        sentences.append("It is the base, and nothing that was trained again is worth changing to.")
    if trial.rank is not None and not about:
        foundation = base(ranking)
        best_other = next((other for other in contenders if other.trial_id != trial.trial_id), None)
        rival = foundation if _comparable(trial, foundation) else best_other
        sentences.append(_about_base(trial, foundation, best_other))
        if rival is not None:
            sentences.append(_comparison(trial, rival, samples, len(contenders)))
    return " ".join(filter(None, sentences))


def decision_text(decision: Decision) -> str:
    """One decision, its figures, and what would make it a clear one."""
    figures = _figures(decision)
    needed = f" To decide, {decision.needed}." if decision.needed else ""
    return f"{_decided(decision)}{f' {figures}.' if figures else ''}{needed}"


def how_decided(decisions: Sequence[Decision]) -> str:
    """What the decisions' intervals allow for, and what is not counted; empty if none has an interval."""
    decision = next((one for one in decisions if not np.isnan(one.difference)), None)
    if decision is None:
        return ""
    many = f", for picking the best of {decision.contenders} trials" if decision.contenders > 1 else ""
    return (
        "The interval allows for other seeds, over which the SER of one setting varies by "
        f"{_points(decision.seed_spread)} points (standard deviation), for the choice of pieces{many}, and for looking "
        "more than once. The run that made a trial look best is not counted."
    )


def first_sentence(text: str) -> str:
    """Of a verdict: what a line has room for."""
    return f"{text.partition('. ')[0].rstrip('.')}." if text else ""


def _decided(decision: Decision) -> str:
    """The decision as a sentence: first what to do, then why in a word."""
    name, base_name = f"trial {decision.candidate}", f"the base (trial {decision.base})"
    if decision.verdict == "adopt":
        return f"Adopt {name}: it is better than {base_name}."
    if decision.verdict == "reject":
        why = "is worse than" if decision.low > 0 else "gains nothing worth having over"
        return f"Reject {name}: it {why} {base_name}."
    if decision.low < 0 < decision.high:
        return f"Undecided: {name} may be better or worse than {base_name}."
    return f"Undecided: {name} cannot be judged against {base_name} yet."


def _figures(decision: Decision) -> str:
    """Difference and interval, with how many seeds they are from; "" if there are too few seeds to have them."""
    if np.isnan(decision.difference):
        return ""
    seeds = f"{'on average ' if decision.seeds > 1 else ''}over {_new_seeds(decision)}"
    diverged = f", and {decision.base_diverged} that diverged" if decision.base_diverged else ""
    link = ", but" if decision.low < 0 < decision.high and decision.verdict == "undecided" else ";"
    return (
        f"Its SER is {_points(decision.difference)} points {_side(decision.difference)} {seeds} (base: "
        f"{decision.base_seeds}{diverged}){link} the 95 % interval runs from {_span(decision.low, decision.high)}"
    )


def _new_seeds(decision: Decision) -> str:
    return f"{decision.seeds} new seed{'s' if decision.seeds != 1 else ''}"


def _side(difference: float) -> str:
    return "lower" if difference < 0 else "higher"


def _span(low: float, high: float) -> str:
    """As in `2.1 to 6.3 lower` or `1.2 lower to 0.4 higher`: without a sign that could be read the wrong way."""
    near, far = sorted((low, high), key=abs)
    if low < 0 < high:
        return f"{_points(low)} lower to {_points(high)} higher"
    return f"{_points(near)} to {_points(far)} {_side(far)}"


def against_base(trial: RankedTrial, ranking: Sequence[RankedTrial], samples: Samples) -> Comparison | None:
    """The numbers of a trial's verdict against the base; the arguments are those of `verdict`.

    Returns:
        None where there is no telling: the trial is the base, or one of the two was not trained to the end, or
        they have no staves of two works that both read.
    """
    foundation = base(ranking)
    if foundation is None or not _comparable(trial, foundation):
        return None
    return _compared(trial, foundation, samples)


def rate_of_seeds(trial: RankedTrial, decisions: Sequence[Decision]) -> tuple[str, float | None]:
    """Over which seeds, in words, a trial has a mean SER, and that; "" and None if it was not trained again.

    All seeds of the base, and of a candidate the new ones: its first run is the one that it was picked by.
    """
    for decision in sorted(decisions, key=lambda one: -one.rounds):
        if trial.number == decision.base:
            return f"{decision.base_seeds} seeds", decision.base_ser
        if trial.number == decision.candidate and decision.seeds:
            return _new_seeds(decision), decision.ser
    return "", None


def interval_text(trial: RankedTrial) -> str:
    """The 95 % interval of a trial's SER; empty where there is none."""
    if trial.ser_low is None or trial.ser_high is None:
        return ""
    return f"{100 * trial.ser_low:.1f} to {percent(trial.ser_high)}"


def _comparable(trial: RankedTrial, foundation: RankedTrial | None) -> bool:
    """Whether a trial can be tested against the base."""
    return (
        foundation is not None
        and foundation.rank is not None
        and trial.rank is not None
        and trial.trial_id != foundation.trial_id
    )


def _place(trial: RankedTrial, contenders: int, decisions: Sequence[Decision]) -> str:
    """Where the search had it, with one seed; and its mean SER over the seeds that count, if it was trained again."""
    effort = f"completed {trial.epochs} epoch{'s' if trial.epochs != 1 else ''}"
    verb = "was" if decisions else "is"
    if trial.rank is None:
        place = f"{'had' if decisions else 'has'} no rank ({trial.state}, epochs: {trial.epochs})"
    elif contenders == 1:
        place = f"{verb} the only trial that {effort}"
    elif trial.rank == 1:
        place = f"{verb} the best of the {contenders} trials that {effort}"
    else:
        place = f"{verb} number {trial.rank} of the {contenders} trials that {effort}"
    interval = f" (95 % interval {interval_text(trial)})" if interval_text(trial) else ""
    if not decisions:
        return f"Trial {trial.number} {place}. Its symbol error rate is {percent(trial.ser)}{interval}."
    seeds, ser = rate_of_seeds(trial, decisions)
    mean = f"; its mean over {seeds} is {percent(ser)}" if seeds else ""
    rate = f"a symbol error rate of {percent(trial.ser)}{interval}"
    return f"In the search, trial {trial.number} {place}, with {rate}{mean}."


def _about_base(trial: RankedTrial, foundation: RankedTrial | None, best_other: RankedTrial | None) -> str:
    """What is to be said before the comparison, unless that is with the base."""
    if foundation is None:
        return "The study has no trial of the base, so it gives no verdict against it."
    if foundation.rank is None:
        return (
            f"The base (trial {foundation.number}) was not trained as far ({foundation.state}, epochs: "
            f"{foundation.epochs}), so there is no verdict against it."
        )
    if trial.trial_id != foundation.trial_id:
        return ""
    if best_other is None:
        return "It is the base, and no other trial was trained as far: nothing has been shown to beat it."
    return "It is the base, and nothing that was trained as far beat it." if trial.rank == 1 else "It is the base."


def _comparison(trial: RankedTrial, rival: RankedTrial, samples: Samples, contenders: int) -> str:
    role = "base" if rival.origin == BASE else "best" if rival.rank == 1 else "next best"
    compared = _compared(trial, rival, samples)
    if compared is None:
        return (
            f"It cannot be tested against the {role} (trial {rival.number}): there are no samples of staves, of two "
            "pieces at least, that both read."
        )
    chosen = contenders > 2 and 1 in (trial.rank, rival.rank) and compared.judgement != "undecided"
    flattery = f" The best of {contenders} was chosen on these very staves, which flatters it a little."
    return (
        f"That of the {role} (trial {rival.number}), {percent(rival.ser)}, is {_seen_from_rival(compared)} on the same "
        f"staves (95 % interval, paired bootstrap over pieces): {_judgement(trial, role, compared)}. Each was trained "
        f"with one seed, so what another seed would give is open.{flattery if chosen else ''}"
    )


def _seen_from_rival(compared: Comparison) -> str:
    """How much the rival's SER lies above or below the trial's: without a sign that could be read the wrong way."""
    low, high = _points(compared.low), _points(compared.high)
    if compared.judgement == "better":
        return f"higher by {high} to {low} points"
    if compared.judgement == "worse":
        return f"lower by {low} to {high} points"
    return f"between {high} points lower and {low} points higher"


def _judgement(trial: RankedTrial, role: str, compared: Comparison) -> str:
    if compared.judgement == "undecided":
        return "these staves do not show which is better"
    return f"trial {trial.number} is {compared.judgement} than the {role}, by more than the choice of pieces explains"


def more_text(difference: float) -> str:
    """How much more or less, as in `4.2 points less`."""
    return f"{_points(difference)} points {'less' if difference < 0 else 'more'}"


def range_text(low: float, high: float) -> str:
    """As in `2.1 to 6.3 less` or `1.2 less to 0.4 more`: without a sign that could be read the wrong way."""
    if high < 0:
        return f"{_points(high)} to {_points(low)} less"
    return f"{_points(low)} to {_points(high)} more" if low > 0 else f"{_points(low)} less to {_points(high)} more"


def _points(difference: float) -> str:
    """How large a difference is, in percentage points; one that is not zero does not look like it."""
    points = 100 * abs(difference)
    text = f"{points:.1f}"
    return text if float(text) or not points else f"{points:.1g}"


def _compared(trial: RankedTrial, rival: RankedTrial, samples: Samples) -> Comparison | None:
    """The trial's SER less the rival's; None where there is no telling."""
    own, others = _read_at_the_end(trial, samples), _read_at_the_end(rival, samples).select(["staff_id", "distance"])
    both = own.join(others, "staff_id", join_type="inner", right_suffix="_rival").sort_by("staff_id")
    distance, rival_distance = both["distance"].to_numpy(), both["distance_rival"].to_numpy()
    length = both["reference_length"].to_numpy()
    low, high = difference_interval(rival_distance, distance, length, both["work"].to_pylist())
    if np.isnan(low):
        return None
    difference = float((distance.sum() - rival_distance.sum()) / length.sum())
    judgement: Judgement = "better" if high < 0 else "worse" if low > 0 else "undecided"
    return Comparison(difference, low, high, judgement)


def _read_at_the_end(trial: RankedTrial, samples: Samples) -> pa.Table:
    """The samples of a trial's last epoch: those of an earlier checkpoint would not be of equal effort."""
    return samples.of(trial.trial_id, trial.epochs, ["staff_id", "work", "distance", "reference_length"])
