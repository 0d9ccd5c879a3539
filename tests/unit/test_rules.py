"""Who goes on, stops or waits: compared with Tune's own schedulers, with the paper's words, and told twice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence, Set
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from search.config import SchedulerConfig
from search.rules import RULES, Action, Rule, build_rule, describe, rungs
from search.rung_order import Agreement, Standing
from search.rungs import brackets

CONTINUE, STOP, PAUSE = Action.CONTINUE, Action.STOP, Action.PAUSE
EPOCHS = 9
STOPPING = ("asha", "hyperband", "median")
TELLING = tuple(name for name, rule in RULES.items() if rule)
Step: TypeAlias = tuple[int, float]  # who reports next, of those that may; and the SER


def built(name: str, epochs: int = EPOCHS, grace: int = 2, **more: Any) -> Rule:
    rule = build_rule(SchedulerConfig(name=name, grace_epochs=grace, **more), epochs)
    assert rule is not None
    return rule


# few values, so that some tie; and binary fractions, so that means are the same in whichever order they are summed
steps = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 32).map(lambda value: value / 32)), min_size=30, max_size=150
)
shapes = st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(2, 4))  # epochs, grace, factor


TO_THE_END = "every trial is trained to the end"


def test_a_population_has_no_rule() -> None:
    assert build_rule(SchedulerConfig(name="pbt"), 9) is None


@pytest.mark.parametrize(
    ("name", "epochs", "expected", "text"),
    [
        ("asha", 9, [4, 8], "asha stops weak trials after epochs 4 and 8"),
        ("asha", 4, [], TO_THE_END),
        ("promotion", 9, [4, 8], "promotion pauses trials after epochs 4 and 8, and the best go on"),
        ("promotion", 4, [], TO_THE_END),
        ("hyperband", 9, [4, 8], "hyperband stops weak trials after epochs 4 and 8, in 2 brackets"),
        ("hyperband", 8, [4], "hyperband stops weak trials after epoch 4"),
        ("hyperband", 2, [], TO_THE_END),
        ("median", 9, [], "median stops who is behind the median, from epoch 4 on"),
        ("median", 4, [], TO_THE_END),
        ("pbt", 9, [], "pbt exchanges settings every 4 epochs"),
        ("pbt", 4, [], TO_THE_END),
        ("none", 9, [], TO_THE_END),
    ],
)
def test_when_trials_are_compared(name: str, epochs: int, expected: list[int], text: str) -> None:
    config = SchedulerConfig(name=name)
    assert rungs(config, epochs) == expected
    assert describe(config, epochs) == text


# as Tune decides


class TuneTrial:
    """All that Tune's schedulers ask of a trial."""

    def __init__(self, number: int) -> None:
        self.trial_id = str(number)


def tunes(name: str, epochs: int, grace: int, factor: int) -> Any:
    fields: dict[str, Any] = {"time_attr": "epoch", "metric": "ser", "mode": "min"}
    if name == "median":
        return MedianStoppingRule(
            **fields, grace_period=grace, min_samples_required=3, min_time_slice=math.inf, hard_stop=True
        )
    count = brackets(SchedulerConfig(name=name, grace_epochs=grace, reduction_factor=factor), epochs)
    return AsyncHyperBandScheduler(
        **fields,
        max_t=epochs,
        grace_period=min(grace, epochs),
        reduction_factor=factor,
        brackets=count if name == "hyperband" else 1,
    )


@settings(max_examples=50)
@given(shape=shapes, told=steps)
@pytest.mark.parametrize("name", STOPPING)
def test_decisions_are_tunes(name: str, shape: tuple[int, int, int], told: Sequence[Step]) -> None:
    epochs, grace, factor = shape
    ours, theirs = built(name, epochs, grace, reduction_factor=factor), tunes(name, epochs, grace, factor)
    trials = [TuneTrial(number) for number in range(200)]
    for number, trial in enumerate(trials):
        if name != "median":  # Tune draws the bracket
            theirs._trial_info[trial.trial_id] = theirs._brackets[number % len(theirs._brackets)]
    alive, last = list(range(6)), dict.fromkeys(range(200), 0)
    for position, ser in told:
        number = alive[position]
        last[number] += 1
        result = {"epoch": last[number], "ser": ser}
        theirs_says = theirs.on_trial_result(None, trials[number], result)
        ours_says = ours.report(number, last[number], ser)
        if last[number] == epochs:  # where Tune ends a trial that ends by itself
            assert ours_says == CONTINUE
        else:
            assert ours_says == {TrialScheduler.CONTINUE: CONTINUE, TrialScheduler.STOP: STOP}[theirs_says]
        if last[number] == epochs or ours_says == STOP:
            if name != "median":  # which counts the last epoch twice then
                theirs.on_trial_complete(None, trials[number], result)
            alive[position] = max(alive) + 1


def test_asha_lets_those_go_on_that_are_among_the_best_half_before_them() -> None:
    rule = built("asha")
    answers = [rule.report(trial, 2, ser) for trial, ser in enumerate((0.5, 0.6, 0.4, 0.45, 0.475, 0.48))]
    # after 0.5 (nobody to compare with); medians 0.5, 0.55, 0.5, 0.475, 0.475
    assert answers == [CONTINUE, STOP, CONTINUE, CONTINUE, CONTINUE, STOP]


def test_median_needs_three_others() -> None:
    rule = built("median")
    assert [rule.report(trial, 2, 0.1) for trial in (0, 1)] == [CONTINUE, CONTINUE]
    assert rule.report(2, 2, 0.9) == CONTINUE
    assert rule.report(3, 2, 0.9) == STOP


def test_median_knows_nothing_of_what_came_before_its_first_epoch() -> None:
    rule = built("median")
    for trial in range(4):
        rule.report(trial, 1, 0.875)
    assert [rule.report(trial, 2, 0.25) for trial in range(3)] == [CONTINUE] * 3
    assert rule.report(3, 2, 0.5) == STOP  # the others' means are 0.25 each


# promotion


def test_promotion_has_every_trial_wait_and_promotes_the_best_where_there_is_room() -> None:
    rule = built("promotion")  # rungs 2, 4, 8
    assert rule.report(0, 1, 0.9) == CONTINUE
    assert rule.report(0, 2, 0.5) == PAUSE
    assert rule.next_promoted() is None  # floor(1 / 2)
    assert rule.report(1, 2, 0.6) == PAUSE
    assert rule.next_promoted() == 0
    assert rule.next_promoted() is None
    assert rule.waiting == {1}
    assert rule.report(2, 2, 0.7) == PAUSE
    assert rule.report(3, 2, 0.8) == PAUSE
    assert rule.next_promoted() == 1  # the second best of four: stopped trials would be lost
    assert rule.report(0, 3, 0.4) == CONTINUE
    assert rule.report(0, 4, 0.4) == PAUSE
    assert rule.report(1, 4, 0.3) == PAUSE
    assert rule.report(4, 2, 0.1) == PAUSE
    assert rule.report(5, 2, 0.2) == PAUSE
    # the highest rung first, and there the better one; then the lower rung, where half of six may go on
    assert [rule.next_promoted() for _ in range(4)] == [1, 4, 5, None]
    assert rule.waiting == {0, 2, 3}
    assert [rule.report(1, epoch, 0.2) for epoch in (5, 6, 7, 8)] == [CONTINUE] * 3 + [PAUSE]


def test_promotion_takes_the_earlier_trial_of_two_that_are_as_good() -> None:
    rule = built("promotion")
    for trial in (3, 1, 2):
        rule.report(trial, 2, 0.5)
    assert rule.next_promoted() == 1


def test_a_trial_that_waits_for_a_higher_rung_is_not_promoted_for_a_lower_one() -> None:
    rule = built("promotion")
    rule.report(0, 2, 0.1)
    rule.report(1, 2, 0.2)
    rule.next_promoted()
    assert rule.report(0, 4, 0.1) == PAUSE
    assert rule.next_promoted() is None


def test_a_promoted_trial_that_comes_to_its_rung_again_goes_on() -> None:
    """Its checkpoint there was lost, and it had to begin at an earlier one."""
    rule = built("promotion")
    rule.report(0, 2, 0.1)
    rule.report(1, 2, 0.2)
    assert rule.report(0, 2, 0.1) == PAUSE
    rule.next_promoted()
    assert rule.report(0, 2, 0.15) == CONTINUE
    assert rule.report(1, 2, 0.2) == PAUSE


def test_a_waiting_trial_that_crashed_on_its_way_to_pause_waits_again() -> None:
    rule = built("promotion")
    rule.report(0, 2, 0.1)
    assert rule.report(0, 3, 0.1) == PAUSE
    assert rule.waiting == {0}


# all of them


@pytest.mark.parametrize("name", TELLING)
def test_the_base_goes_on_whatever_it_does_and_counts_for_others(name: str) -> None:
    rule = built(name)
    rule.spare(0)
    for trial in (1, 2, 3, 4):
        for epoch in (1, 2):
            rule.report(trial, epoch, 0.1)
    assert [rule.report(0, epoch, 0.9) for epoch in range(1, EPOCHS + 1)] == [CONTINUE] * EPOCHS
    assert 0 not in rule.waiting
    if name in ("asha", "promotion"):
        assert rule.rungs == [2, 4, 8]
        assert rule.report(5, 4, 0.95) == (STOP if name == "asha" else PAUSE)  # the base alone is recorded there


@pytest.mark.parametrize("name", TELLING)
def test_the_last_epoch_stops_nobody(name: str) -> None:
    rule = built(name, epochs=4, grace=4)
    assert [rule.report(trial, 4, 0.1 * trial) for trial in range(6)] == [CONTINUE] * 6


def test_a_trial_that_was_stopped_stays_stopped() -> None:
    """A crash may come between the decision and the trial's end."""
    rule = built("asha")
    rule.report(0, 2, 0.1)
    rule.report(1, 1, 0.3)
    assert rule.report(1, 2, 0.2) == STOP
    assert rule.report(1, 1, 0.3) == CONTINUE  # on its way to the same end again
    assert rule.report(1, 3, 0.05) == STOP
    assert rule.report(1, 4, 0.05) == STOP
    assert rule.report(0, 3, 0.1) == CONTINUE
    assert rule.report(0, 4, 0.1) == CONTINUE  # nobody was there before it


Call: TypeAlias = tuple[str, int, int, float]


def live(rule: Rule, told: Sequence[Step]) -> tuple[list[Call], list[Action]]:
    """A search: six slots, in which trials report in any order; those that wait are promoted when a slot is free."""
    calls: list[Call] = []
    answers = []
    slots, last, begun = list(range(6)), dict.fromkeys(range(200), 0), 6
    rule.spare(0)
    for position, ser in told:
        number = slots[position]
        last[number] += 1
        calls.append(("report", number, last[number], ser))
        answers.append(rule.report(number, last[number], ser))
        if answers[-1] != CONTINUE or last[number] == rule.epochs:
            promoted = rule.next_promoted()
            if promoted is None:
                promoted, begun = begun, begun + 1
            else:
                calls.append(("promote", promoted, 0, 0.0))
            slots[position] = promoted
    return calls, answers


def tell(rule: Rule, calls: Sequence[Call]) -> list[Action]:
    answers = []
    for kind, number, epoch, ser in calls:
        if kind == "report":
            answers.append(rule.report(number, epoch, ser))
        else:
            rule.promote(number)
    return answers


def state(rule: Rule) -> dict[str, Any]:
    """All that a rule knows, but for heaps that still name trials which went on: `_held` says who waits where."""
    kept = {name: value for name, value in vars(rule).items() if name != "_candidates"}
    return {name: [vars(one) for one in value] if name == "_brackets" else value for name, value in kept.items()}


@settings(max_examples=30)
@given(shape=shapes, told=steps, data=st.data(), adapt=st.booleans())
@pytest.mark.parametrize("name", TELLING)
def test_told_again_in_parts_it_is_where_it_was(
    name: str, shape: tuple[int, int, int], told: Sequence[Step], data: st.DataObject, adapt: bool
) -> None:
    epochs, grace, factor = shape
    first, second = (built(name, epochs, grace, reduction_factor=factor, adapt=adapt) for _ in range(2))
    calls, answers = live(first, told)
    second.spare(0)
    cut = data.draw(st.integers(0, len(calls)))
    found = tell(second, calls[:cut])
    for _, number, epoch, _ in data.draw(st.lists(st.sampled_from(calls[:cut]), max_size=8)) if cut else []:
        if epoch:  # an epoch that is trained again; its SER need not be the same to the last bit
            again = second.report(number, epoch, 0.3)
            promoted = ("promote", number, 0, 0.0) in calls[:cut]
            before = next(
                answer for call, answer in zip(reports(calls), answers, strict=True) if call[1:3] == (number, epoch)
            )
            assert again == before or (again == CONTINUE and before == PAUSE and promoted)
    assert found + tell(second, calls[cut:]) == answers
    assert state(second) == state(first)


def reports(calls: Sequence[Call]) -> list[Call]:
    return [call for call in calls if call[0] == "report"]


@settings(max_examples=60)
@given(shape=shapes, told=steps)
def test_promotion_promotes_whom_its_definition_names(shape: tuple[int, int, int], told: Sequence[Step]) -> None:
    epochs, grace, factor = shape
    rule = built("promotion", epochs, grace, reduction_factor=factor)
    slots, last, begun = list(range(6)), dict.fromkeys(range(200), 0), 6
    came: dict[int, dict[int, float]] = {rung: {} for rung in rule.rungs}
    for position, ser in told:
        number = slots[position]
        last[number] += 1
        if last[number] in came:
            came[last[number]][number] = ser
        if rule.report(number, last[number], ser) != CONTINUE or last[number] == epochs:
            expected = promoted_by_definition(came, rule.waiting, factor)
            assert rule.next_promoted() == expected
            slots[position] = begun if expected is None else expected
            begun += expected is None


def promoted_by_definition(came: dict[int, dict[int, float]], waiting: Set[int], factor: int) -> int | None:
    """The first of those that wait at the highest rung where one is among the best one in `factor`."""
    above = set[int]()
    for sers in reversed(came.values()):
        best = sorted(sers, key=lambda trial: (sers[trial], trial))[: len(sers) // factor]
        for trial in best:
            if trial in waiting and trial not in above:
                return trial
        above.update(sers)
    return None


# a first rung that misleads


def finish(rule: Rule, pairs: Sequence[tuple[float, float]], first: int = 0) -> None:
    """Trials that had one SER after epoch 2 and another in the end."""
    for trial, (early, final) in enumerate(pairs, first):
        rule.spare(trial)  # to be trained to the end
        rule.report(trial, 2, early)
        rule.report(trial, EPOCHS, final)


MISLEADING = [(0.1, 0.5), (0.2, 0.4), (0.3, 0.3), (0.4, 0.2), (0.5, 0.1)]


def kendall(first: Sequence[float], last: Sequence[float]) -> float:
    agreement = Agreement()
    for pair in zip(first, last, strict=True):
        agreement.add(*pair)
    return agreement.tau


def test_kendall_counts_pairs() -> None:
    assert kendall((1, 2, 3, 4), (1, 2, 3, 4)) == 1
    assert kendall((1, 2, 3), (3, 2, 1)) == -1
    assert kendall((1, 2, 3, 4), (1, 3, 2, 4)) == pytest.approx(4 / 6)
    assert kendall((1, 1), (1, 2)) == 0


def test_a_cutoff_among_trials_without_a_ser_is_none_of_theirs() -> None:
    standing = Standing()
    for trial, ser in enumerate((0.5, math.nan, math.nan)):
        standing.add(trial, ser)
    assert standing.cutoff(0.5) == -math.inf
    assert standing.cutoff(1.0) == -0.5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40))
def test_kendall_counts_all_pairs(pairs: list[tuple[int, int]]) -> None:
    signs = [np.sign(a - c) * np.sign(b - d) for (a, b), (c, d) in itertools.combinations(pairs, 2)]
    assert kendall(*zip(*pairs, strict=True)) == float(np.mean(signs))


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60), st.integers(2, 9))
def test_the_cutoff_is_numpys_percentile_to_the_last_bit(sers: list[float], factor: int) -> None:
    standing = Standing()
    for trial, ser in enumerate(sers):
        standing.add(trial, ser)
    share = (1 - 1 / factor) * 100
    assert standing.cutoff(share / 100) == np.percentile([-ser for ser in sers], share)


def test_a_trial_without_a_ser_stands_last() -> None:
    standing = Standing()
    for trial, ser in enumerate((math.nan, 0.5, 0.2)):
        standing.add(trial, ser)
    assert [standing.place(trial) for trial in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("name", ["asha", "promotion"])
def test_a_first_rung_that_misleads_is_dropped_for_those_to_come(name: str) -> None:
    rule = built(name, adapt=True)
    assert rule.report(7, 2, 0.9) == (CONTINUE if name == "asha" else PAUSE)
    finish(rule, MISLEADING[:4])
    assert (rule.first_rung, rule.notes) == (2, [])  # four are too few
    finish(rule, MISLEADING[4:], first=4)
    assert (rule.first_rung, rule.rungs) == (4, [4, 8])
    assert rule.notes == [
        "after epoch 2 trials are compared no more: there the 5 that were trained to the end stood in another order "
        "than in the end (Kendall's tau -1.00); now first after epoch 4"
    ]
    assert rule.report(8, 2, 0.99) == CONTINUE
    if name == "promotion":  # who waits there still may be promoted, as the third of six
        assert rule.waiting == {7}
        rule.report(7, 2, 0.9)
        assert rule.next_promoted() is None


@pytest.mark.parametrize("name", ["asha", "promotion"])
def test_a_first_rung_that_does_not_mislead_is_kept(name: str) -> None:
    rule = built(name, adapt=True)
    # tau 0.6 at five: two pairs of ten stand otherwise
    finish(rule, [(0.1, 0.2), (0.2, 0.1), (0.3, 0.4), (0.4, 0.3), (0.5, 0.5)])
    assert (rule.first_rung, rule.notes) == (2, [])
    finish(rule, [(math.nan, math.nan)], first=5)  # says nothing either way
    assert (rule.first_rung, rule.notes) == (2, [])


def test_nothing_is_dropped_unasked() -> None:
    rule = built("asha")
    finish(rule, MISLEADING)
    assert rule.first_rung == 2


def test_without_any_rung_left_nobody_is_stopped() -> None:
    rule = built("asha", epochs=EPOCHS, grace=2, reduction_factor=5, adapt=True)
    finish(rule, MISLEADING)
    assert rule.first_rung is None
    assert rule.notes[0].endswith("now no more at all")
    assert [rule.report(trial, 2, 0.1 * trial) for trial in (6, 7, 8)] == [CONTINUE] * 3
