from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import StudyError
from results.ranking import base, best, chosen, rank
from results.replay import Replay
from results.tables import StandingEpochs, trials_table
from tests.studies import FakeTrial, events_of


def table(*trials: FakeTrial) -> pa.Table:
    replay = Replay(event for trial in trials for event in events_of(trial))
    return trials_table(StandingEpochs(replay), "demo", [], {})


def test_the_lowest_rate_wins() -> None:
    ranking = rank(table(FakeTrial(0, (0.9, 0.5)), FakeTrial(1, (0.9, 0.3)), FakeTrial(2, (0.9, 0.4))))
    assert [(trial.rank, trial.number) for trial in ranking] == [(1, 1), (2, 2), (3, 0)]
    assert best(ranking).params == {"model.decoder.dropout": 0.1}


@pytest.mark.parametrize("state", ["pruned", "paused", "failed", "diverged", None])
def test_a_lucky_rate_without_a_completed_training_never_wins(state: str) -> None:
    ranking = rank(table(FakeTrial(0, (0.1, 0.05), state), FakeTrial(1, (0.9, 0.8))))  # type: ignore[arg-type]
    assert best(ranking).number == 1
    assert ranking[1].rank is None


def test_a_trial_completed_with_fewer_epochs_is_not_compared() -> None:
    ranking = rank(table(FakeTrial(0, (0.1,)), FakeTrial(1, (0.9, 0.8))))
    assert [(trial.rank, trial.number) for trial in ranking] == [(1, 1), (None, 0)]


def test_of_those_that_were_stopped_the_one_that_came_furthest_is_first_then_the_lowest_rate() -> None:
    rates = [(0.5, 0.4), (0.3,), (0.2,), (0.5, 0.35), (float("nan"),), (float("nan"),)]
    stopped = [FakeTrial(number, sers, "pruned") for number, sers in enumerate(rates)]
    assert [trial.number for trial in rank(table(*stopped))] == [3, 0, 2, 1, 4, 5]


def test_the_earlier_of_two_equals_is_first() -> None:
    assert best(rank(table(FakeTrial(3, (0.5,)), FakeTrial(2, (0.5,))))).number == 2


def test_a_rate_that_is_no_number_is_not_compared() -> None:
    assert best(rank(table(FakeTrial(0, (float("nan"),)), FakeTrial(1, (0.9,))))).number == 1


@pytest.mark.parametrize("state", ["completed", "pruned", "failed", None])
def test_the_base_is_found_whatever_became_of_it(state: str | None) -> None:
    others = [FakeTrial(0, (0.3,)), FakeTrial(1, (0.2,), origin="training log, run 56")]
    found = base(rank(table(*others, FakeTrial(2, (0.5,), state, origin="base"))))  # type: ignore[arg-type]
    assert found is not None
    assert (found.number, found.origin, found.state) == (2, "base", state or "running")
    assert base(rank(table(*others))) is None


@pytest.mark.parametrize(
    ("numbers", "there"), [(range(16), "0 to 15"), ((0, 1, 2, 4, 6, 7), "0 to 2, 4, 6 to 7"), ((), "none yet")]
)
def test_a_trial_is_chosen_by_number_or_id_and_another_is_refused(numbers: Sequence[int], there: str) -> None:
    ranking = rank(table(*(FakeTrial(number, (0.5,)) for number in numbers)))
    for trial in ranking:
        assert chosen(ranking, str(trial.number)) is chosen(ranking, trial.trial_id) is trial
    with pytest.raises(StudyError, match=f"trial=99: no such trial; there are {there}$"):
        chosen(ranking, "99")


def test_nothing_finished_says_what_there_is() -> None:
    ranking = rank(table(FakeTrial(0, (0.5,), None), FakeTrial(1, (), "failed"), FakeTrial(2, (0.4,), None)))
    with pytest.raises(StudyError, match="2 running, 1 failed"):
        best(ranking)
    with pytest.raises(StudyError, match="none"):
        best(rank(table()))


rates = st.lists(st.floats(0, 2), min_size=1, max_size=3).map(tuple)
states = st.sampled_from(["completed", "pruned", "failed", None])


@given(st.lists(st.tuples(rates, states), max_size=8))
def test_every_trial_is_listed_once_and_no_comparable_one_beats_the_first(drawn: list[tuple]) -> None:  # type: ignore[type-arg]
    trials = [FakeTrial(number, sers, state) for number, (sers, state) in enumerate(drawn)]
    ranking = rank(table(*trials))
    assert sorted(trial.number for trial in ranking) == list(range(len(trials)))
    completed = [trial for trial in trials if trial.state == "completed"]
    assert (ranking[0].rank == 1 if ranking else False) == bool(completed)
    if completed:
        effort = max(len(trial.sers) for trial in completed)
        assert ranking[0].ser == min(trial.sers[-1] for trial in completed if len(trial.sers) == effort)
