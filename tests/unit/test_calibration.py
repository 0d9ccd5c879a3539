"""Whether confidence is told apart from truth: on made-up symbols whose probability of being right is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.notation import parse_written
from omr_model.metrics import align
from results.page.blocks import Chart, Fold, Grid, Prose, Row
from results.page.calibration import BINS, Calibration, calibrate, calibration_blocks
from results.page.readings import ReadStaff

WORKS, SYMBOLS = 120, 30


def made_up(too_sure: float, seed: int = 0) -> Calibration:
    """Of symbols that are right with a probability `too_sure` below their confidence."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, WORKS * SYMBOLS)
    right = rng.random(len(confidence)) < confidence - too_sure
    return calibrate(confidence, right, [f"work {number}" for number in range(WORKS)] * SYMBOLS)


def staff(read: str, printed: str, confidences: list[float] | None, work: str = "w") -> ReadStaff:
    prediction, reference = parse_written(read), parse_written(printed)
    return ReadStaff(work, work, "diw", prediction, reference, align(prediction, reference), confidences)


def test_a_calibrated_model_shows_no_more_error_than_chance() -> None:
    found = made_up(0.0)

    assert found.error < 0.03
    assert found.error == pytest.approx(found.error_by_chance, abs=0.01)
    assert found.error_interval[0] == 0
    assert found.surplus_interval[0] < 0 < found.surplus_interval[1]
    assert sum(one.low <= one.confidence <= one.high for one in found.bins) >= BINS - 2


def test_a_model_that_is_too_sure_is_told_by_how_much() -> None:
    found = made_up(0.2)

    assert found.error_interval[0] < 0.2 < found.error_interval[1]
    assert found.error_interval[0] > found.error_by_chance
    assert found.surplus_interval[0] < 0.2 < found.surplus_interval[1]
    assert all(one.high < one.confidence for one in found.bins)


def test_the_interval_holds_no_error_in_nearly_all_calibrated_studies() -> None:
    assert sum(made_up(0.0, seed).error_interval[0] == 0 for seed in range(100)) >= 90


@pytest.mark.parametrize("works", [3, 8])
def test_no_habit_is_seen_in_calibrated_models_that_read_few_works(works: int) -> None:
    """Works are hard or easy as a whole; of three, percentiles of a bootstrap see a habit in one model of five."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.3, 0.9, works * SYMBOLS)
        harder = np.tile(rng.uniform(-0.1, 0.1, works), SYMBOLS)
        right = rng.random(len(confidence)) < confidence + harder
        low, high = calibrate(confidence, right, [str(work) for work in range(works)] * SYMBOLS).surplus_interval
        held += low < 0 < high
    assert held >= 180


def test_one_work_tells_of_no_habit() -> None:
    confidence = np.full(1000, 0.9)
    low, high = calibrate(confidence, confidence > 1, ["w"] * 1000).surplus_interval
    assert np.isnan(low)
    assert np.isnan(high)


def test_checking_the_least_sure_finds_the_errors_first() -> None:
    confidence = np.arange(1000) / 1000
    found = calibrate(confidence, confidence >= 0.05, [f"{number % 7}" for number in range(1000)])

    assert found.found_in_tenth == 1
    assert found.wrong_below == 0.5
    assert found.threshold == pytest.approx(0.099)
    assert dict(found.found)[0.03] == pytest.approx(0.6)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 5)), min_size=BINS, max_size=60))
def test_every_symbol_is_in_one_bin_and_every_error_is_found_at_last(symbols: list[tuple[float, bool, int]]) -> None:
    confidence, right, works = zip(*symbols, strict=True)
    found = calibrate(np.array(confidence), np.array(right), [str(work) for work in works])

    assert sum(one.count for one in found.bins) == len(symbols)
    assert found.right == pytest.approx(sum(right) / len(symbols))
    assert sum(one.count * one.right for one in found.bins) == pytest.approx(sum(right))
    assert 0 <= found.error <= 1
    assert abs(found.surplus) <= found.error + 1e-9
    shares = [share for _, share in found.found]
    assert shares == sorted(shares)
    assert (shares[:1], shares[-1:]) == (([0.0], [1.0]) if not all(right) else ([], []))


def test_a_symbol_is_right_where_the_alignment_says_so_and_missed_ones_have_no_part() -> None:
    read = "clef-G2 note-D4_quarter barline"
    staves = [staff(read, "clef-G2 rest-half note-C4_quarter barline", [0.9, 0.2, 0.8], f"w{n}") for n in range(100)]

    text, row, fold = calibration_blocks(staves)

    assert isinstance(text, Prose)
    assert "66.7 % of them are right" in text.paragraphs[0]
    assert "The 100 printed symbols that were missed" in text.paragraphs[0]
    assert "checking the least sure 10 % finds 15.0 % of all errors" in text.paragraphs[0]
    assert isinstance(row, Row)
    assert [type(block) for block in row.blocks] == [Chart, Chart]
    found = row.blocks[1]
    assert isinstance(found, Chart)
    assert found.spec["data"]["values"][-1] == {"checked": 1.0, "found": 0.5}
    assert found.spec["layer"][0]["data"]["values"][-1] == {"checked": 1, "found": 0.5}
    assert "all of the symbols hold 50.0 %" in found.description
    assert isinstance(fold, Fold)
    (grid,) = fold.blocks
    assert isinstance(grid, Grid)
    assert len(grid.rows) == BINS


def test_without_an_error_there_is_nothing_to_find() -> None:
    staves = [staff("clef-G2 tie barline", "clef-G2 tie barline", [0.9, 0.9, 0.8], f"w{n}") for n in range(100)]

    text, row, _ = calibration_blocks(staves)

    assert isinstance(text, Prose)
    assert "less sure than it could be" in text.paragraphs[0]
    assert "checking" not in text.paragraphs[0]
    assert isinstance(row, Row)
    assert len(row.blocks) == 1


@pytest.mark.parametrize(
    ("confidences", "reason"), [(None, "did not record the confidence"), ([0.5], "from 1 predicted symbols")]
)
def test_what_was_not_recorded_or_is_too_little_is_said(confidences: list[float] | None, reason: str) -> None:
    (text,) = calibration_blocks([staff("barline", "barline", confidences)])

    assert isinstance(text, Prose)
    assert reason in text.paragraphs[0]
