"""Several trials side by side, and how far one errs less than another: only where that can be told.

Two trials are compared staff by staff, on the staves that both were validated on. D = SER of the other less that of the
first, each a mean over the runs that count (`results.evidence`), or of its own run where it was not trained again.

    decision    The two are base and candidate of one study: what the study decided, with its allowances for picking
                and for looking more than once. There is one answer to one question.
    seeds       Else, if settings of the two studies were trained again: V_seeds = s^2 (1/n + 1/m), s pooled over these
                and taken to be the same for all, and V_works by the bootstrap; the interval is
                D -+ sqrt(t^2 V_seeds + c^2 V_works), each with its quantile of Student's t.
    one seed    Else a bootstrap over works, paired, of one run each. What other seeds would give is open, so it never
                tells two settings apart: of recorded runs of one setting, six pairs in ten look different
                (`tests/benchmarks/comparison_trust.py`).

The last two allow neither for picking nor for many pairs. So one that may have been picked by the very run that is
compared is not told apart either: of recorded runs of one setting, the best of 12 looks different from the mean of five
others in one study of ten. What cannot be compared is refused with the reason, and nothing is said about it; what only
has to be borne in mind is a note.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from datasets.errors import ConfigError
from results.contestants import Contestant, OpenStudy, RunContestant, TrialContestant, find
from results.evidence import LEAST_FREEDOM, Decision
from results.journal import Parameter
from results.ranking import BASE
from results.roles import value_text
from results.statistics import Floats, difference_interval, rate_margin, student_quantile, sums_by_work
from results.verdict import decision_text

Basis: TypeAlias = Literal["one seed", "seeds", "decision"]

ALPHA = 0.05
UNKNOWN, NOT_SET = "not known", "not set"
VOCABULARY, SCORED_IN = "model.vocabulary", "train.scored_in"
PICTURE = ("model.height", "model.width")
HASH_DIGITS = 12


@dataclass(frozen=True)
class Difference:
    """How much more the other errs than the first.

    Attributes:
        difference, low, high: SER of the other less that of the first, a fraction, and its 95 % interval.
        basis: see the module.
        picked: whether one of the two may have been picked by the run that is compared, for its luck.
        clear: whether the two settings are told apart: the interval holds seeds and leaves out zero, none was picked,
            and the better one has not diverged with any.
        seeds, other_seeds: runs that count.
        seed_spread: standard deviation of the SER of one setting over seeds; NaN if unknown.
        staves, works: that both read.
    """

    difference: float
    low: float
    high: float
    basis: Basis
    picked: bool
    clear: bool
    seeds: int
    other_seeds: int
    seed_spread: float
    staves: int
    works: int


@dataclass(frozen=True)
class Pair:
    """The first contestant and another one: the difference, or why none is told; and what to bear in mind."""

    first: str
    other: str
    difference: Difference | None
    refusals: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SettingDifference:
    """A place of the configuration where contestants differ, and what each has there, as text."""

    place: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Contestants side by side, and each of the others against the first.

    Shown in a notebook as tables, and as text by `print`.
    """

    contestants: tuple[Contestant, ...]
    settings: tuple[SettingDifference, ...]
    pairs: tuple[Pair, ...]

    def __str__(self) -> str:
        from results.page.plain import text
        from results.side_by_side import sections

        return text(sections(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from results.page.plain import fragment
        from results.side_by_side import sections

        return fragment(sections(self))


def compare(names: Sequence[str], studies: Path | str, log: Path) -> Comparison:
    """Compare what has these names (`results.contestants`).

    Raises:
        ConfigError: fewer than two names, or one of them twice.
        StudyError, LogError: there is none of a name; the message names those there are.
    """
    opened: dict[Path, OpenStudy] = {}
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(f"{', '.join(twice)}: named twice; name different ones")
    return compared([find(name, studies, log, opened) for name in names])


def compared(contestants: Sequence[Contestant]) -> Comparison:
    """Compare what has been found already.

    Raises:
        ConfigError: fewer than two.
    """
    if len(contestants) < 2:
        raise ConfigError(
            "there is nothing to compare with: name two or more, which are studies, trials as STUDY/NUMBER, or runs of "
            "the log as run:63"
        )
    first, *others = contestants
    return Comparison(
        tuple(contestants), tuple(_setting_differences(contestants)), tuple(_pair(first, other) for other in others)
    )


def corpus_text(contestant: TrialContestant) -> str:
    """The corpus that it was trained on, with the beginning of its content hash."""
    corpus = contestant.study.record.corpus
    return f"{corpus.name} {corpus.hash[:HASH_DIGITS]}"


def _setting_differences(contestants: Sequence[Contestant]) -> list[SettingDifference]:
    """Places with two values at least; what the log does not know of a run is no other value."""
    places = dict.fromkeys(place for one in contestants for place in one.settings)
    found = []
    for place in places:
        values = [_value(one, place, exact=True) for one in contestants]
        if len(set(values) - {UNKNOWN}) > 1:
            short = [_value(one, place, exact=False) for one in contestants]
            told = short if len(set(short)) == len(set(values)) else values
            found.append(SettingDifference(place, tuple(told)))
    return found


def _value(contestant: Contestant, place: str, exact: bool) -> str:
    """As text; a fraction with all its digits, or with four."""
    if place not in contestant.settings:
        return UNKNOWN if isinstance(contestant, RunContestant) else NOT_SET
    value: Parameter = contestant.settings[place]
    if value is None or value == "":
        return "none"
    return repr(value) if exact and isinstance(value, float) and not value.is_integer() else value_text(value)


def _pair(first: Contestant, other: Contestant) -> Pair:
    if isinstance(first, RunContestant) or isinstance(other, RunContestant):
        runs = [one.name for one in (first, other) if isinstance(one, RunContestant)]
        reason = f"the training log has no counts by staff of {' and '.join(runs)}, only a mean"
        return Pair(first.name, other.name, None, (reason,), tuple(_notes_on_log(first, other)))
    refusals = _refusals(first, other)
    if refusals:
        return Pair(first.name, other.name, None, tuple(refusals), ())
    decision = _decision(first, other)
    difference = _decided(first, decision) if decision else _measured(first, other)
    notes = [*([decision_text(decision)] if decision else []), *_notes(first, other, difference)]
    return Pair(first.name, other.name, difference, (), tuple(notes))


def _notes_on_log(first: Contestant, other: Contestant) -> list[str]:
    trials = [one for one in (first, other) if isinstance(one, TrialContestant)]
    return [
        f"The log's SER is a mean over its own photographed staves; {one.name} was not validated on them, so its SER "
        "is another quantity, and the two may not be held against each other."
        for one in trials
        if one.figures.log_ser is None
    ]


def _refusals(first: TrialContestant, other: TrialContestant) -> list[str]:
    """Why a difference would be false; none if it can be told."""
    both = (first, other)
    if _setting(first) == _setting(other) and first.trial.number == other.trial.number:
        return [f"both are trial {first.trial.number} of {first.study.record.name}"]
    if _setting(first) == _setting(other):
        return ["both are trainings of one setting, which differ in the seed alone"]
    found = [
        f"{one.name} was not trained to its end ({one.trial.state}, epochs: {one.trial.epochs})"
        for one in both
        if one.trial.state != "completed"
    ]
    found += [
        f"what {one.name} read after its last epoch is lost, with its checkpoint"
        for one in both
        if one.trial.state == "completed" and not len(one.samples)
    ]
    vocabularies = [_scored_in(one) for one in both]
    if len(set(vocabularies)) > 1:
        found.append(
            f"{first.name} is scored in the {vocabularies[0]} vocabulary, {other.name} in the {vocabularies[1]} one; "
            f"a search with {SCORED_IN}=reduced scores all in one"
        )
    return found or _other_staves(first, other)


def _setting(one: TrialContestant) -> tuple[Path, int]:
    """What it trains: a repeat trains the setting of another trial."""
    trial = one.trial
    return one.study.folder.resolve(), trial.number if trial.repeats is None else trial.repeats


def _scored_in(one: TrialContestant) -> str:
    return str(one.settings.get(SCORED_IN) or one.settings.get(VOCABULARY, NOT_SET))


def _other_staves(first: TrialContestant, other: TrialContestant) -> list[str]:
    own, others = (set(one.samples["staff_id"].to_pylist()) for one in (first, other))
    if own != others or len(first.samples) != len(other.samples):
        return [
            f"they were validated on different staves: {len(first.samples)} of {corpus_text(first)} and "
            f"{len(other.samples)} of {corpus_text(other)}, of which {len(own & others)} have the same name"
        ]
    labels = [one.samples.select(["reference", "reference_length"]).to_pylist() for one in (first, other)]
    differing = sum(one != another for one, another in zip(*labels, strict=True))
    if differing:
        return [f"{differing} of the {len(own)} staves that they were validated on have another label in each"]
    if len(set(first.samples["work"].to_pylist())) < 2 or not sum(first.samples["reference_length"].to_pylist()):
        return ["there are no staves of two works at least, which it takes to say how sure a difference is"]
    return []


def _decision(first: TrialContestant, other: TrialContestant) -> Decision | None:
    """What their study decided about just these two."""
    if first.study.folder.resolve() != other.study.folder.resolve():
        return None
    numbers = {first.trial.number, other.trial.number}
    about = [one for one in first.study.decisions if {one.base, one.candidate} == numbers]
    return next((one for one in about if not math.isnan(one.difference)), None)


def _decided(first: TrialContestant, decision: Decision) -> Difference:
    """The study's figures, seen from the first."""
    ends, seeds = (decision.difference, decision.low, decision.high), (decision.base_seeds, decision.seeds)
    if first.trial.number == decision.candidate:
        ends, seeds = (-ends[0], -ends[2], -ends[1]), (seeds[1], seeds[0])
    clear = decision.verdict != "undecided" and not ends[1] <= 0 <= ends[2]
    staves, works = len(first.samples), first.figures.works or 0
    return Difference(*ends, "decision", False, clear, *seeds, decision.seed_spread, staves, works)


def _measured(first: TrialContestant, other: TrialContestant) -> Difference:
    """On the same staves: of means over the seeds that count, of its own run where there are none."""
    spread, freedom = _seed_spread(first.study, other.study)
    several = freedom >= LEAST_FREEDOM
    runs, other_runs = ((_counted(one) if several else []) or [_distances(one.samples)] for one in (first, other))
    length_S, works = _numbers(first.samples, "reference_length"), first.samples["work"].to_pylist()
    own_S, other_S = np.mean(runs, axis=0), np.mean(other_runs, axis=0)
    difference = float((other_S - own_S).sum() / length_S.sum())
    if several:
        by_seeds = student_quantile(ALPHA / 2, freedom) * spread * math.sqrt(1 / len(runs) + 1 / len(other_runs))
        half = math.hypot(by_seeds, rate_margin(*sums_by_work(works, other_S - own_S, length_S)))
        low, high = difference - half, difference + half
    else:
        low, high = difference_interval(own_S.astype(int), other_S.astype(int), length_S.astype(int), works)
    picked = _may_be_picked(first) or _may_be_picked(other)
    apart = several and not picked and not low <= 0 <= high
    return Difference(
        difference=difference,
        low=low,
        high=high,
        basis="seeds" if several else "one seed",
        picked=picked,
        clear=apart and not _diverged(other if high < 0 else first),
        seeds=len(runs),
        other_seeds=len(other_runs),
        seed_spread=spread,
        staves=len(length_S),
        works=len(set(works)),
    )


def _counted(one: TrialContestant) -> list[Floats]:
    """Distances by staff of the runs that count, of those that read all of its staves."""
    staves = one.samples["staff_id"].to_pylist()
    return [_distances(table) for table in one.counted if table["staff_id"].to_pylist() == staves]


def _seed_spread(*studies: OpenStudy) -> tuple[float, int]:
    """Standard deviation of a setting's SER over seeds, pooled over all that were trained again; degrees of freedom."""
    by_folder = {study.folder.resolve(): study for study in studies}
    groups = [group for study in by_folder.values() for group in study.rates_over_seeds()]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def _distances(samples: pa.Table) -> Floats:
    return _numbers(samples, "distance")


def _numbers(samples: pa.Table, column: str) -> Floats:
    numbers: Floats = samples[column].to_numpy().astype(np.float64)
    return numbers


def _notes(first: TrialContestant, other: TrialContestant, difference: Difference) -> list[str]:
    """What does not forbid the comparison, and has to be said beside it."""
    both, notes = (first, other), []
    if first.study.codes() != other.study.codes():
        codes = [f"{one.name}: {', then '.join(one.study.codes())}" for one in both]
        notes.append(f"DIFFERENT CODE trained them ({'; '.join(codes)}): the difference may be the code's.")
    if first.study.record.corpus.hash != other.study.record.corpus.hash:
        notes.append(
            f"They were trained on different corpora ({corpus_text(first)}, {corpus_text(other)}). The validation "
            "staves and their labels are the same; whether their pictures are is not recorded."
        )
    sizes = [" x ".join(str(one.settings.get(side, NOT_SET)) for side in PICTURE) for one in both]
    if sizes[0] != sizes[1]:
        notes.append(f"They see the staves in different sizes: {sizes[0]} and {sizes[1]} pixels.")
    if first.trial.epochs != other.trial.epochs:
        notes.append(f"They were trained for different numbers of epochs: {first.trial.epochs}, {other.trial.epochs}.")
    if difference.basis == "one seed":
        notes.append(
            "Each was trained with one seed, and the interval is for other pieces alone. Trainings of one and the same "
            "setting often differ by more than that."
        )
    if difference.basis == "seeds":
        notes.append(
            "The interval allows for other pieces and other seeds, over which the SER of one setting spreads by "
            f"{100 * difference.seed_spread:.1f} points (standard deviation, of the settings that were trained again). "
            "It does not allow for having picked these two to be compared."
        )
    if difference.basis != "decision":
        notes += [
            f"{one.name} diverged with {count} more seed{'s' if count > 1 else ''}: those that are left flatter it."
            for one in both
            if (count := _diverged(one))
        ]
        told = [one for one in both if one.trial.rank == 1 or difference.basis == "seeds"]
        notes += [_luck(one) for one in told if _may_be_picked(one)]
    return notes


def _diverged(one: TrialContestant) -> int:
    return sum(trial.state == "diverged" for trial in one.study.repeats(one.trial))


def _may_be_picked(one: TrialContestant) -> bool:
    """Whether the run that is compared may be what it was picked by, among several; a base is where a search begins."""
    candidate = one.trial.origin != BASE or one.trial.rank == 1
    return candidate and not one.counted and sum(trial.ser is not None for trial in one.study.ranking) > 1


def _luck(one: TrialContestant) -> str:
    tried = sum(trial.repeats is None and trial.ser is not None for trial in one.study.ranking)
    if one.trial.rank == 1 and tried > 1:
        return f"{one.name} is the best of {tried} trials, chosen on these very staves, which flatters it."
    return f"One run of {one.name} is compared: if it was picked by this one, its luck was picked with it."
