"""How long a search will still take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.forecast import Planned, Tally, about
from search.forecast import epochs_left as left


@dataclass(frozen=True)
class Row:
    """A trial."""

    state: str
    epoch: int
    repeats: int | None = None


PLAN = Planned(trials=4, epochs=8, early=True)
rows_of_any_kind = st.lists(
    st.builds(
        Row, st.sampled_from(["running", "pruned", "completed", "paused"]), st.integers(0, 8), st.none() | st.just(0)
    )
)


def epochs_left(planned: Planned, rows: list[Row]) -> tuple[float, float] | None:
    return left(planned, Tally.of([replace(row) for row in rows]))  # each of them a trial of its own


@given(rows_of_any_kind, st.lists(st.integers(0, 30), max_size=5))
def test_what_is_taken_out_and_put_in_again_adds_up_to_the_same(rows: list[Row], others: list[int]) -> None:
    rows = [replace(row) for row in rows]
    tally = Tally.of(rows)
    for place in others:
        if place < len(rows):
            tally.forget(rows[place])
            rows[place] = Row("pruned", 7)
            tally.count(rows[place])
    fresh = Tally.of(rows)
    assert left(PLAN, tally) == left(PLAN, fresh)
    assert (tally.searched, tally.again, set(tally.going)) == (fresh.searched, fresh.again, set(fresh.going))


def test_trials_to_come_are_expected_to_get_as_far_as_those_before() -> None:
    rows = [Row("completed", 8), Row("pruned", 2)]
    assert epochs_left(PLAN, rows) == (10, 10)


def test_one_that_runs_is_expected_to_go_as_far_as_those_that_went_further() -> None:
    ended = [Row("completed", 8), Row("pruned", 4), Row("pruned", 2)]
    assert epochs_left(PLAN, [*ended, Row("running", 1)]) == pytest.approx((14 / 3 - 1,) * 2)
    assert epochs_left(PLAN, [*ended, Row("running", 3)]) == (3, 3)  # to 6, the mean of 8 and 4
    assert epochs_left(PLAN, [Row("pruned", 2)] * 3 + [Row("running", 5)]) == (3, 3)  # nobody went further: to the end


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert epochs_left(PLAN, [Row("running", 3)]) is None
    assert epochs_left(Planned(trials=None, epochs=8, early=True), [Row("completed", 8)]) is None
    assert epochs_left(PLAN, [Row("running", 3)] * 4) == (20, 20)  # all are begun: at the most to their ends
    assert epochs_left(Planned(trials=4, epochs=8, early=False), [Row("running", 3)]) == (29, 29)


def test_other_seeds_are_trained_for_one_round_at_least_and_for_all_at_most() -> None:
    plan = Planned(trials=1, epochs=8, early=True, a_round=2, rounds=4)
    searched = Row("completed", 8)
    assert epochs_left(plan, [searched]) == (16, 64)
    assert epochs_left(plan, [searched, Row("running", 3, repeats=0)]) == (5 + 8, 5 + 56)
    assert epochs_left(plan, [searched, *[Row("completed", 8, repeats=0)] * 8]) == (0, 0)


@given(st.lists(st.builds(Row, st.sampled_from(["running", "pruned", "completed", "paused"]), st.integers(0, 8))))
def test_it_is_never_below_nothing_nor_above_every_epoch_that_may_come(rows: list[Row]) -> None:
    found = epochs_left(PLAN, rows)
    if found is not None:
        most = sum(8 - row.epoch for row in rows if row.state == "running") + 8 * max(0, 4 - len(rows))
        assert 0 <= found[0] <= found[1] <= most + 1e-9


def test_words_are_no_more_exact_than_the_estimate() -> None:
    assert about(10, 20) == "about 1 min left"
    assert about(700, 720) == "about 12 min left"
    assert about(1200, 2700) == "about 20 to 45 min left"
    assert about(3000, 10_000) == "about 1 to 3 h left"
