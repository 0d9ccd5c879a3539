"""Symbol error rate, by hand and against the edit distance."""

from __future__ import annotations

import math
from collections import Counter

import editdistance
import pytest
from hypothesis import given

from datasets.errors import CorpusError
from datasets.notation import Symbol, parse
from omr_model.metrics import (
    Edits,
    ErrorClass,
    StaffScore,
    align,
    by_source,
    edits,
    error_class,
    score_staff,
    summarize,
)
from tests.strategies import symbol_salad

STAFF = "clef-G2 keySignature-DM note-F4_quarter note-G4_quarter tie barline rest-half note-A4_half|note-C4_half"


def score(prediction: str, reference: str) -> StaffScore:
    return score_staff(parse(prediction), parse(reference))


def test_a_perfect_prediction_has_no_errors() -> None:
    perfect = score(STAFF, STAFF)

    assert (perfect.distance, perfect.reference_length) == (0, 10)
    assert perfect.pitch == perfect.lift == Edits(0, 4)
    assert perfect.log == Edits(0, 8)
    assert not perfect.by_class


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("note-F4_quarter", "note-F#4_quarter", "accidentals"),
        ("note-F4_quarter", "note-F4_eighth", "rhythm"),
        ("note-F4_quarter", "gracenote-F4_quarter", "rhythm"),
        ("note-F4_quarter", "note-E#4_eighth", "pitch"),
        ("note-F4_quarter", "", "notes"),
        ("note-F4_quarter", "rest-quarter", "notes"),
        ("note-F4_quarter", "note-F4_quarter note-F4_quarter", "notes"),
        ("rest-half", "rest-quarter", "rests"),
        ("rest-half", "note-B4_half", "rests"),
        ("barline", "", "barlines"),
        ("clef-G2", "clef-F4", "signatures"),
        ("keySignature-DM", "keySignature-DM timeSignature-3/4", "signatures"),
        ("tie", "", "ties"),
        ("|", " ", "chords"),
    ],
)
def test_every_edit_has_one_class(right: str, wrong: str, error: str) -> None:
    one_wrong = score(STAFF.replace(right, wrong, 1), STAFF)

    assert one_wrong.by_class == {ErrorClass(error): 1}


def test_the_alignment_prefers_like_with_like() -> None:
    prediction, reference = "note-C4_half note-D4_half", "rest-half note-C4_quarter note-D4_half"

    assert score(prediction, reference).by_class == {ErrorClass.RHYTHM: 1, ErrorClass.RESTS: 1}


def test_branches_are_measured_on_their_own_symbols() -> None:
    result = score("note-F#4_quarter barline note-G4_half", "note-F4_quarter barline note-A4_half rest-half")

    assert result.total == Edits(3, 4)
    assert result.rhythm == Edits(1, 4)
    assert result.pitch == Edits(1, 2)
    assert result.lift == Edits(1, 2)


def test_the_log_counts_a_chord_once_and_no_time_signature_that_was_read() -> None:
    result = score(
        "timeSignature-3/4 note-G4_half|note-E4_half|note-C4_half",
        "note-A4_half|note-F4_half|note-C4_half barline",
    )

    assert result.log == Edits(2, 2)
    assert result.total == Edits(4, 6)
    assert score("timeSignature-3/4 barline", "timeSignature-3/4 barline").log == Edits(1, 2)


def test_corpus_level_weighs_staves_by_length_and_the_log_does_not() -> None:
    long, short = score(STAFF, STAFF), score("barline barline barline", "rest-half")

    summary = summarize([long, short])

    assert summary.ser == pytest.approx(3 / 11)
    assert summary.log_ser == pytest.approx((0 + 3) / 2)
    assert sum(summary.by_class.values()) == pytest.approx(summary.ser)
    assert set(summary.by_class) == set(ErrorClass)


def test_a_rate_may_exceed_one() -> None:
    assert summarize([score("barline barline barline", "rest-half")]).ser == 3


def test_what_is_read_into_a_strip_without_music_counts() -> None:
    read, strips = score("barline", "rest-half"), [score("", ""), score("barline barline", "")]
    summary = summarize([*strips, read])

    assert summary.ser == 3
    assert summary.log_ser == summarize([read]).log_ser == 1
    assert math.isnan(summary.ser_pitch)


def test_each_corpus_has_its_own_rate_and_strips_are_told_by_what_is_written_on_them() -> None:
    long, short = score(STAFF, STAFF), score("barline barline barline", "rest-half")
    strips = [score("", ""), score("barline", "")]
    scores = by_source([("diw", strips[0]), ("b", long), ("diw", strips[1]), ("b", short), ("a", short)])

    assert list(scores) == ["a", "b", "diw"]
    assert scores["b"].edits.rate == summarize([long, short]).ser
    assert str(scores["b"]) == "27.3 % on 2 staves"
    assert str(scores["diw"]) == "0.50 symbols written per strip, on 2 without music"


@pytest.mark.parametrize("scores", [[], [score("barline", "")]])
def test_without_a_symbol_to_read_there_is_no_rate(scores: list[StaffScore]) -> None:
    with pytest.raises(CorpusError, match="needs some"):
        summarize(scores)


@given(symbol_salad(), symbol_salad())
def test_the_classes_add_up_to_the_edit_distance(prediction: list[Symbol], reference: list[Symbol]) -> None:
    result = score_staff(prediction, reference)

    assert sum(result.by_class.values()) == result.distance == editdistance.eval(prediction, reference)


@given(symbol_salad(), symbol_salad())
def test_no_branch_is_further_off_than_the_whole(prediction: list[Symbol], reference: list[Symbol]) -> None:
    result = score_staff(prediction, reference)

    assert max(result.rhythm.distance, result.pitch.distance, result.lift.distance) <= result.distance


@given(symbol_salad(), symbol_salad())
def test_an_alignment_has_every_symbol_once_in_its_order_and_its_edits_are_the_distance(
    prediction: list[Symbol], reference: list[Symbol]
) -> None:
    pairs = align(prediction, reference)

    assert [i for i, _ in pairs if i is not None] == list(range(len(prediction)))
    assert [j for _, j in pairs if j is not None] == list(range(len(reference)))
    assert (None, None) not in pairs
    wrong = [pair for pair in pairs if None in pair or prediction[pair[0]] != reference[pair[1]]]
    assert len(wrong) == len(edits(prediction, reference)) == editdistance.eval(prediction, reference)


@given(symbol_salad(), symbol_salad())
def test_the_edits_have_the_classes_that_a_staff_is_scored_by(
    prediction: list[Symbol], reference: list[Symbol]
) -> None:
    classes = Counter(error_class(read, true) for read, true in edits(prediction, reference))

    assert classes == score_staff(prediction, reference).by_class


def test_an_alignment_says_what_was_missed_made_up_and_taken_for_something_else() -> None:
    prediction = parse("clef-G2 note-C4_half barline note-E4_quarter tie")
    reference = parse("clef-G2 rest-half note-D4_half barline note-E4_quarter")

    assert align(prediction, reference) == [(0, 0), (None, 1), (1, 2), (2, 3), (3, 4), (4, None)]
