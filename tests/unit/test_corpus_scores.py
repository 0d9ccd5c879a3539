"""Many staves at once: against the scores of one staff at a time, and against `editdistance`."""

from __future__ import annotations

import pickle

import editdistance
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.notation import Symbol, parse
from omr_model.corpus_scores import score_staves
from omr_model.edit_distances import distances
from omr_model.metrics import score_staff
from tests.rows import rows_of
from tests.strategies import printed_staves, symbol_salad

_few = st.lists(st.integers(0, 3), max_size=10)


@st.composite
def _misread(draw: st.DrawFn) -> tuple[list[Symbol], list[Symbol]]:
    """A staff, and the same with a few symbols taken out, put in and changed."""
    true = draw(st.one_of(symbol_salad(20), printed_staves()))
    read = list(true)
    for symbol in draw(symbol_salad(4)):
        start = draw(st.integers(0, len(read)))
        read[start : start + draw(st.integers(0, 2))] = draw(st.sampled_from(([], [symbol], [symbol, symbol])))
    return read, true


@given(st.lists(st.one_of(st.tuples(symbol_salad(), symbol_salad()), _misread()), max_size=6))
def test_all_staves_at_once_score_as_each_alone(staves: list[tuple[list[Symbol], list[Symbol]]]) -> None:
    read, true = [pair[0] for pair in staves], [pair[1] for pair in staves]
    alone = [score_staff(*pair) for pair in staves]

    together = score_staves(read, true)

    assert together.of_staves() == alone
    assert together.total.sum.distance == sum(editdistance.eval(*pair) for pair in staves)


@given(st.lists(st.tuples(_few, _few), max_size=8))
def test_distances_are_those_of_editdistance(pairs: list[tuple[list[int], list[int]]]) -> None:
    found = distances(rows_of([pair[0] for pair in pairs]), rows_of([pair[1] for pair in pairs]))

    assert found.tolist() == [editdistance.eval(*pair) for pair in pairs]


@pytest.mark.parametrize("longest", [63, 64, 65, 200])
def test_distances_of_long_sequences_are_those_of_editdistance(longest: int) -> None:
    """Around the length of a machine word, on either side and on both."""
    rng = np.random.default_rng(longest)
    pairs = [[rng.integers(0, 4, length).tolist() for length in rng.integers(longest - 4, longest + 4, 2)]]
    pairs += [[rng.integers(0, 4, length).tolist() for length in (longest, other)] for other in (0, 1, 30, longest)]
    pairs += [[other, one] for one, other in pairs]

    found = distances(rows_of([one for one, _ in pairs]), rows_of([other for _, other in pairs]))

    assert found.tolist() == [editdistance.eval(*pair) for pair in pairs]


def test_no_staves_have_no_scores() -> None:
    assert score_staves([], []).of_staves() == []


def test_a_prediction_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        score_staves([[], []], [[]])


def test_the_scores_of_staves_can_be_sent_elsewhere() -> None:
    staves = score_staves([parse("barline")], [parse("barline tie")]).of_staves()

    assert pickle.loads(pickle.dumps(staves)) == staves
