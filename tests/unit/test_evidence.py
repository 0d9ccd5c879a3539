"""Adopt, reject or undecided: what the decision follows from, and what is trained for it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.seeds import seed_from
from results.evidence import Decision, Repeat, decide, decisions_of, next_repeats
from results.gather import Tables
from results.journal import SessionStarted
from results.samples import LoadedSamples, Samples
from results.schema import EPOCHS
from tests.benchmarks.verdict_trust import Run, Search
from tests.studies import study_record

WORKS, LENGTH, WORTHWHILE = 40, 100, 0.01
FEW = settings(max_examples=15, deadline=None)
Train = Callable[[int], np.ndarray]


def trainer(rates: list[float], seed: int = 0, spread: float = 0.002, by_work: float = 0.02) -> Train:
    """Trains a setting by number: its rate, and luck with the seed and with each work."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(seed + 1000).normal(0, 0.1, WORKS)

    def train(number: int) -> np.ndarray:
        return LENGTH * (rates[number] + hard + rng.normal(0, spread) + rng.normal(0, by_work, WORKS))

    return train


def begun(train: Train, count: int) -> Search:
    """A search of so many settings, the base first, before any is trained again."""
    search = Search(np.full(WORKS, float(LENGTH)))
    search.begin(np.array([train(number) for number in range(count)]))
    return search


def confirmed(rates: list[float], top: int = 1, rounds: int = 4, **luck: float) -> tuple[list[Decision], Search]:
    train = trainer(rates, **luck)  # type: ignore[arg-type]
    search = begun(train, len(rates))
    return search.confirm(train, top, rounds, WORTHWHILE)[0], search


def repeats_of(search: Search, number: int) -> int:
    return sum(run.repeats == number for run in search.runs)


def test_a_huge_difference_is_adopted_at_the_first_look() -> None:
    [decision], search = confirmed([0.5, 0.2, 0.5, 0.5])
    assert (decision.candidate, decision.base, decision.verdict, decision.needed) == (1, 0, "adopt", "")
    assert decision.low < decision.difference < decision.high < 0
    assert decision.difference == pytest.approx(-0.3, abs=0.01)
    assert (decision.rounds, decision.seeds, decision.base_seeds, decision.contenders) == (2, 2, 3, 3)
    assert (repeats_of(search, 0), repeats_of(search, 1)) == (2, 2)


def test_what_is_much_worse_is_rejected() -> None:
    [decision], _ = confirmed([0.2, 0.5])
    assert (decision.verdict, decision.rounds, decision.needed) == ("reject", 2, "")
    assert decision.low > 0


def test_a_gain_that_is_not_worth_it_is_rejected() -> None:
    [decision], _ = confirmed([0.3, 0.299], spread=0.0005, by_work=0.001)
    assert decision.verdict == "reject"
    assert -WORTHWHILE < decision.low < decision.difference < 0


def test_what_drowns_in_the_spread_of_seeds_is_undecided() -> None:
    [decision], search = confirmed([0.3, 0.28], spread=0.03)
    assert (decision.verdict, decision.rounds) == ("undecided", 4)
    assert decision.low < -WORTHWHILE < 0 < decision.high
    assert decision.seed_spread == pytest.approx(0.03, rel=0.6)
    assert " of each" in decision.needed
    assert len(search.runs) == 2 + 2 * 4


def test_more_seeds_are_asked_for_where_they_would_do() -> None:
    rates, luck = [0.3, 0.28], {"spread": 0.006, "seed": 4}
    [decision], _ = confirmed(rates, rounds=2, **luck)
    assert decision.verdict == "undecided"
    wanted = int(decision.needed.split()[2])
    assert decision.needed.startswith(
        f"train about {wanted} more seed{'s' * (wanted > 1)} of each, if the difference stays what it is "
        f"(`python -m search.run resume=played extend=+{wanted}rounds`; a verdict after unplanned rounds errs more"
    )
    [later], _ = confirmed(rates, rounds=2 + 2 * wanted, **luck)
    assert later.verdict == "adopt"


def test_more_works_are_asked_for_where_seeds_do_not_help() -> None:
    """A setting that reads every other work better and the rest worse, whatever the seed."""
    uneven = np.tile([0.13, -0.18], WORKS // 2)
    luck = np.random.default_rng(0)

    def train(number: int) -> np.ndarray:
        return LENGTH * (0.4 + number * uneven + luck.normal(0, 0.0005))

    [decision] = begun(train, 2).confirm(train, 1, 4, WORTHWHILE)[0]
    assert decision.verdict == "undecided"
    words = decision.needed.split()
    assert words[:3] == ["validate", "on", "about"]
    assert int(words[3]) > WORKS
    assert " ".join(words[4:]) == f"pieces instead of {WORKS}"


def test_identical_runs_are_never_adopted() -> None:
    distance = np.random.default_rng(0).integers(0, LENGTH, WORKS).astype(float)
    [decision] = begun(lambda _: distance, 3).confirm(lambda _: distance, 1, 4, WORTHWHILE)[0]
    assert (decision.verdict, decision.difference, decision.low, decision.high) == ("reject", 0, 0, 0)


def test_the_run_that_a_trial_was_picked_by_does_not_count_and_the_bases_does() -> None:
    _, search = confirmed([0.3, 0.28], rounds=2)
    [before] = decide(*search.tables(), 1, 2, WORTHWHILE)
    first_base, first, *others = search.runs
    search.runs = [first_base, dataclasses.replace(first, distance=first.distance / 2), *others]
    [after] = decide(*search.tables(), 1, 2, WORTHWHILE)
    assert after.difference == before.difference
    search.runs = [dataclasses.replace(first_base, distance=first_base.distance * 1.1), first, *others]
    [worse_base] = decide(*search.tables(), 1, 2, WORTHWHILE)
    assert worse_base.difference < before.difference


def test_swapping_base_and_candidate_mirrors_the_interval() -> None:
    """As far as both are treated alike: their repeats are, and the base's first run is made the mean of its others."""
    _, search = confirmed([0.3, 0.3], rounds=2, spread=0.01)
    base, candidate, *again = search.runs
    seeds = sorted({run.seed for run in again})
    means = [np.mean([run.distance for run in again if run.repeats == number], axis=0) for number in (0, 1)]

    def decided(swapped: bool) -> Decision:
        own = [1, 0] if swapped else [0, 1]
        search.runs = [
            dataclasses.replace(base, distance=means[own[0]]),
            dataclasses.replace(candidate, distance=means[own[1]]),
            *(dataclasses.replace(run, repeats=own[run.repeats or 0]) for run in again),
        ]
        search.runs.sort(key=lambda run: run.repeats is not None)
        return decide(*search.tables(), 1, len(seeds), WORTHWHILE)[0]

    one, other = decided(False), decided(True)
    assert one.difference == pytest.approx(-other.difference)
    center = (one.low + one.high) / 2
    assert center == pytest.approx(-(other.low + other.high) / 2)
    assert one.works_error == pytest.approx(other.works_error)


@FEW
@given(added=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_constant_shifts_nothing(added: int, seed: int) -> None:
    _, search = confirmed([0.3, 0.29, 0.31], rounds=2, seed=seed, spread=0.01)
    before = decide(*search.tables(), 1, 2, WORTHWHILE)
    search.runs = [dataclasses.replace(run, distance=run.distance + added) for run in search.runs]
    after = decide(*search.tables(), 1, 2, WORTHWHILE)
    for one, other in zip(before, after, strict=True):
        assert (one.difference, one.low, one.high) == pytest.approx((other.difference, other.low, other.high), abs=1e-9)
        assert one.verdict == other.verdict


@FEW
@given(
    rates=st.lists(st.floats(0.2, 0.4), min_size=2, max_size=5),
    top=st.integers(1, 3),
    rounds=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_the_rounds_come_to_an_end_and_ask_twice_for_the_same(
    rates: list[float], top: int, rounds: int, seed: int
) -> None:
    train = trainer(rates, seed, spread=0.01)
    search, asked = begun(train, len(rates)), []
    while repeats := next_repeats(*search.tables(), top, rounds, WORTHWHILE, 7):
        assert repeats == next_repeats(*search.tables(), top, rounds, WORTHWHILE, 7)
        assert repeats[0].number == 0
        asked += repeats
        for repeat in repeats:
            search.runs.append(Run(len(search.runs), repeat.seed, train(repeat.number), repeat.number))
    assert len(asked) == len(set(asked)) <= rounds * (top + 1)
    assert len({repeat.seed for repeat in asked}) == len(asked)
    assert all(one.seed == seed_from(7, f"repeat {one.round} of {one.number}") % 2**31 for one in asked)
    decisions = decide(*search.tables(), top, rounds, WORTHWHILE)
    assert len(decisions) == min(top, len(rates) - 1)


def test_no_two_trainings_share_a_seed() -> None:
    """Their luck with it would not be independent, as the interval takes it to be."""
    _, search = confirmed([0.3, 0.29, 0.295], top=2, spread=0.02)
    repeats = [run for run in search.runs if run.repeats is not None]
    assert len(repeats) == 12
    assert len({run.seed for run in repeats}) == 12


def test_rounds_are_told_by_their_order_whatever_the_seeds() -> None:
    """Studies of old share a seed in a round, and a person may have set one twice."""
    decisions, search = confirmed([0.3, 0.29, 0.295], top=2, spread=0.02)
    search.runs = [dataclasses.replace(run, seed=0) for run in search.runs]
    assert decide(*search.tables(), 2, 4, WORTHWHILE) == decisions


def test_what_is_decided_is_not_trained_again() -> None:
    decisions, search = confirmed([0.3, 0.1, 0.28], top=2, spread=0.02)
    assert [(one.candidate, one.verdict) for one in decisions] == [(1, "adopt"), (2, "undecided")]
    assert [repeats_of(search, number) for number in (0, 1, 2)] == [4, 2, 4]


@pytest.mark.parametrize("state", ["running", "paused"])
def test_what_is_still_trained_is_still_to_be_trained(state: str) -> None:
    train = trainer([0.3, 0.28])
    search = begun(train, 2)
    [base, own] = next_repeats(*search.tables(), 1, 4, WORTHWHILE, 0)
    assert (base.number, own.number, base.round, own.round) == (0, 1, 1, 1)
    search.runs.append(Run(2, base.seed, train(0), 0))
    assert next_repeats(*search.tables(), 1, 4, WORTHWHILE, 0) == [own]
    search.runs.append(Run(3, own.seed, train(1), 1, state=state))
    assert next_repeats(*search.tables(), 1, 4, WORTHWHILE, 0) == [own]
    assert decide(*search.tables(), 1, 4, WORTHWHILE) == []


def test_a_repeat_that_was_begun_keeps_its_seed_whatever_the_seed_is_now() -> None:
    train = trainer([0.3, 0.28])
    search = begun(train, 2)
    [base, own] = next_repeats(*search.tables(), 1, 4, WORTHWHILE, 0)
    search.runs += [Run(2, base.seed, train(0), 0), Run(3, own.seed, train(1), 1, state="paused")]
    assert next_repeats(*search.tables(), 1, 4, WORTHWHILE, 123) == [own]


def test_a_repeat_that_failed_was_tried_and_does_not_count() -> None:
    _, search = confirmed([0.3, 0.28], rounds=2, spread=0.01)
    broken = next(run for run in search.runs if run.repeats == 1)
    search.runs = [dataclasses.replace(run, state="failed") if run is broken else run for run in search.runs]
    assert next_repeats(*search.tables(), 1, 2, WORTHWHILE, 0) == []
    [decision] = decide(*search.tables(), 1, 2, WORTHWHILE)
    assert (decision.rounds, decision.seeds, decision.base_seeds) == (2, 1, 3)


def test_without_any_repeat_that_can_be_used_there_is_no_telling() -> None:
    _, search = confirmed([0.3, 0.1], rounds=2)
    trials, samples = search.tables()
    lost = {str(run.number) for run in search.runs if run.repeats == 1}
    samples = samples.table()
    kept = LoadedSamples(samples.filter(pa.array([trial not in lost for trial in samples["trial_id"].to_pylist()])))
    [decision] = decide(trials, kept, 1, 2, WORTHWHILE)
    assert (decision.verdict, decision.seeds) == ("undecided", 0)
    assert math.isnan(decision.difference)
    assert "samples are lost" in decision.needed


def test_a_repeat_that_read_other_staves_does_not_count() -> None:
    _, search = confirmed([0.3, 0.28], rounds=2, spread=0.01)
    trials, samples = search.tables()
    [decision] = decide(trials, LoadedSamples(samples.table().slice(0, len(samples) - 1)), 1, 2, WORTHWHILE)
    assert (decision.seeds, decision.base_seeds) == (1, 3)


def test_what_diverges_with_another_seed_is_not_adopted() -> None:
    _, search = confirmed([0.3, 0.1], rounds=3)
    last = next(run for run in reversed(search.runs) if run.repeats == 1)
    search.runs = [dataclasses.replace(run, state="diverged") if run is last else run for run in search.runs]
    [decision] = decide(*search.tables(), 1, 3, WORTHWHILE)
    assert (decision.verdict, decision.seeds) == ("undecided", 1)
    assert f"diverge, as this one did with seed {last.seed}" in decision.needed
    assert next_repeats(*search.tables(), 1, 3, WORTHWHILE, 0) == []


def test_beside_a_base_that_diverges_nothing_is_rejected() -> None:
    """The seeds that are left of it are its good ones."""
    [decision], search = confirmed([0.2, 0.5], rounds=3)
    assert (decision.verdict, decision.base_diverged) == ("reject", 0)
    lost = next(run for run in search.runs if run.repeats == 0)
    search.runs = [dataclasses.replace(run, state="diverged") if run is lost else run for run in search.runs]
    [decision] = decide(*search.tables(), 1, 2, WORTHWHILE)
    assert (decision.verdict, decision.base_diverged, decision.base_seeds) == ("undecided", 1, 2)
    assert "a base that does not diverge" in decision.needed
    assert decision.low > 0
    [better], search = confirmed([0.5, 0.2], rounds=2)
    search.runs = [
        dataclasses.replace(run, state="diverged") if run.repeats == 0 and run.number == 2 else run
        for run in search.runs
    ]
    [adopted] = decide(*search.tables(), 1, 2, WORTHWHILE)
    assert (better.verdict, adopted.verdict, adopted.base_diverged) == ("adopt", "adopt", 1)


def test_one_may_be_rejected_beside_one_that_is_adopted() -> None:
    decisions, _ = confirmed([0.3, 0.1, 0.5], top=2)
    assert [(one.candidate, one.verdict) for one in decisions] == [(1, "adopt"), (2, "reject")]
    assert decisions[0].ser < decisions[0].base_ser < decisions[1].ser
    for one in decisions:
        assert one.ser - one.base_ser == pytest.approx(one.difference)


@pytest.mark.parametrize(
    ("spread", "by_work", "limit"),
    [
        (0.2, 0.0, "train more than 50 seeds of each"),
        (0.0005, 0.9, "validate on more than 10 times as many pieces"),
        (0.2, 0.9, "validate on more than 10 times as many pieces and train more than 50 seeds of each"),
    ],
)
def test_what_limits_is_named_be_it_seeds_or_pieces_or_both(spread: float, by_work: float, limit: str) -> None:
    shift = np.random.default_rng(3).normal(0, by_work, WORKS)
    luck = np.random.default_rng(0)

    def train(number: int) -> np.ndarray:
        return LENGTH * (0.4 + number * (shift - shift.mean() - 0.005) + luck.normal(0, spread))

    [decision] = begun(train, 2).confirm(train, 1, 4, WORTHWHILE)[0]
    assert decision.verdict == "undecided"
    assert decision.needed == limit


def test_where_pieces_are_not_enough_the_seeds_that_it_takes_beside_them_are_named() -> None:
    shift = np.random.default_rng(3).normal(0, 0.9, WORKS)
    luck = np.random.default_rng(0)

    def train(number: int) -> np.ndarray:
        return LENGTH * (0.4 + number * (shift - shift.mean() - 0.005) + luck.normal(0, 0.015))

    [decision] = begun(train, 2).confirm(train, 1, 2, WORTHWHILE)[0]
    assert re.fullmatch(
        r"validate on more than 10 times as many pieces and train about \d+ more seeds of each", decision.needed
    )


@pytest.mark.parametrize("why", ["no base", "the base was stopped", "alone", "no samples", "one work"])
def test_where_there_is_nothing_to_decide_nothing_is_trained(why: str) -> None:
    train = trainer([0.3, 0.1])
    search = begun(train, 1 if why == "alone" else 2)
    if why == "no base":
        search.runs[0] = dataclasses.replace(search.runs[0], origin="")
    if why == "the base was stopped":
        search.runs[0] = dataclasses.replace(search.runs[0], state="pruned")
    trials, samples = search.tables()
    if why == "no samples":
        samples = Samples("demo", {})
    if why == "one work":
        samples = samples.table()
        place = samples.column_names.index("work")
        samples = LoadedSamples(samples.set_column(place, "work", pa.array(["the same"] * len(samples))))
    assert decide(trials, samples, 1, 4, WORTHWHILE) == []
    assert next_repeats(trials, samples, 1, 4, WORTHWHILE, 0) == []


def test_none_is_trained_again_where_none_is_wanted() -> None:
    search = begun(trainer([0.3, 0.1]), 2)
    assert next_repeats(*search.tables(), 0, 4, WORTHWHILE, 0) == []


def test_more_in_the_running_make_the_interval_wider() -> None:
    """The same repeats, picked out of two and out of twelve; and of twelve of which ten were stopped early."""
    train = trainer([0.3] * 13, by_work=0.1)
    search = begun(train, 13)
    best = min(search.runs[1:], key=lambda run: run.distance.sum())
    repeats = [
        Run(13 + place, seed, train(number), number)
        for place, (seed, number) in enumerate(itertools.product((1, 2), (0, best.number)))
    ]
    others = [run for run in search.runs[1:] if run is not best]
    widths = []
    for state, kept in (("completed", others[:1]), ("completed", others), ("pruned", others)):
        rest = [dataclasses.replace(run, state=state) for run in kept]
        search.runs = [search.runs[0], best, *rest, *repeats]
        [decision] = decide(*search.tables(), 1, 2, WORTHWHILE)
        assert decision.contenders == len(kept) + 1
        widths.append(decision.high - decision.low)
    assert widths[0] < widths[1] < widths[2]


def test_one_that_was_overtaken_stays_a_candidate() -> None:
    _, search = confirmed([0.3, 0.28], rounds=2, spread=0.02)
    number = len(search.runs)
    search.runs.append(Run(number, 0, trainer([0.2])(0)))
    asked = next_repeats(*search.tables(), 1, 2, WORTHWHILE, 0)
    assert [(one.number, one.round) for one in asked] == [(number, 1)]  # the base has been trained with that seed
    assert isinstance(asked[0], Repeat)


def test_a_study_says_how_it_is_to_be_judged() -> None:
    _, search = confirmed([0.3, 0.1, 0.12], top=2, rounds=2)
    record = study_record()
    trials, samples = search.tables()
    tables = Tables(trials, EPOCHS.empty_table(), samples, 0)
    configured = dataclasses.replace(record, config={"confirm": {"top": 2, "rounds": 2, "worthwhile": 0.3}})
    assert [one.verdict for one in decisions_of(configured, tables)] == ["reject", "reject"]
    assert {one.verdict for one in decisions_of(record, tables)} == {"adopt"}


def test_rounds_that_a_later_session_added_count() -> None:
    _, search = confirmed([0.3, 0.28], rounds=4, spread=0.03)
    trials, samples = search.tables()
    record = dataclasses.replace(study_record(), config={"confirm": {"top": 1, "rounds": 2, "worthwhile": 0.01}})
    tables = Tables(trials, EPOCHS.empty_table(), samples, 0)
    assert [one.rounds for one in decisions_of(record, tables)] == [2]
    later = SessionStarted(2, "", "", {}, [], 0.0, confirm={"top": 1, "rounds": 4, "worthwhile": 0.01})
    assert [one.rounds for one in decisions_of(record, dataclasses.replace(tables, sessions=(later,)))] == [4]
