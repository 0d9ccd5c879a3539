"""Sounding alterations to printed accidentals and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from datasets.accidentals import printed_to_sounding, sounding_to_printed
from datasets.errors import NotationError
from datasets.notation import Symbol, format_semantic, parse
from tests.strategies import sounding_staves, symbol_salad

# name: (what sounds, what is printed), as one letter code per note of a quarter: "F#4" is note-F#4_quarter
CASES = {
    "no key, no memory": ("C4 F#4", "C4 F#4"),
    "the key signature is not repeated": ("keySignature-DM F#4 C#5 G4", "keySignature-DM F4 C5 G4"),
    "the key signature holds in every octave": ("keySignature-DM F#2 F#6", "keySignature-DM F2 F6"),
    "a natural against the key": ("keySignature-GM F4 F4", "keySignature-GM FN4 F4"),
    "back to the key within the bar": ("keySignature-GM F4 F#4", "keySignature-GM FN4 F#4"),
    "an accidental holds until the barline": ("F#4 F#4 barline F#4", "F#4 F4 barline F#4"),
    "the barline takes it back silently": ("F#4 barline F4", "F#4 barline F4"),
    "within the bar it takes a natural": ("F#4 F4", "F#4 FN4"),
    "an accidental holds in its octave only": ("F#4 F5 F#5", "F#4 F5 F#5"),
    "double sharp, then sharp": ("F##4 F#4 F4", "F##4 F#4 FN4"),
    "double flat in a flat key": ("keySignature-EbM Bbb4 Bb4", "keySignature-EbM Bbb4 Bb4"),
    "a tie carries over the barline": ("F#4 tie barline F#4", "F#4 tie barline F4"),
    "and leaves no mark on the new bar": ("F#4 tie barline F#4 F#4 F4", "F#4 tie barline F4 F#4 FN4"),
    "a chain of ties": ("Bb4 tie barline Bb4 tie barline Bb4", "Bb4 tie barline B4 tie barline B4"),
    "a tied natural": ("keySignature-GM F4 tie barline F4 F#4", "keySignature-GM FN4 tie barline F4 F4"),
    "a tie over a new key": (
        "keySignature-DM F#4 tie barline keySignature-CM F#4 F4",
        "keySignature-DM F4 tie barline keySignature-CM F4 F4",
    ),
    "a tie over clef and metre": (
        "F#4 tie barline clef-G2 timeSignature-3/4 F#4",
        "F#4 tie barline clef-G2 timeSignature-3/4 F4",
    ),
    "a tie to another alteration prints it": ("F#4 tie barline F4", "F#4 tie barline FN4"),
    "a tie to another pitch is none": ("F#4 tie barline G4 F#4", "F#4 tie barline G4 F#4"),
    "a rest ends a tie": ("F#4 tie barline rest-half F#4", "F#4 tie barline rest-half F#4"),
    "a tie passes over grace notes": ("F#4 tie barline grace:F4 F#4", "F#4 tie barline grace:F4 F4"),
    "grace notes count": ("grace:F#4 F#4", "grace:F#4 F4"),
    "chords": ("A4|F#4 A4|F#4 barline Ab4|F4", "A4|F#4 A4|F4 barline Ab4|F4"),
    "a chord tied in part": ("A#4|F#4 tie barline A#4|G4", "A#4|F#4 tie barline A4|G4"),
    "unisons that differ print both": ("keySignature-DM F#4|F4", "keySignature-DM F#4|FN4"),
    "a new key": (
        "keySignature-DM F#4 barline keySignature-FM F4 Bb4",
        "keySignature-DM F4 barline keySignature-FM F4 B4",
    ),
}


def staff(shorthand: str) -> list[Symbol]:
    words = (word if "-" in word or word in ("barline", "tie") else _chord(word) for word in shorthand.split())
    return parse(" ".join(words))


def _chord(word: str) -> str:
    grace = word.startswith("grace:")
    kind = "gracenote" if grace else "note"
    return "|".join(f"{kind}-{note}_quarter" for note in word.removeprefix("grace:").split("|"))


@pytest.mark.parametrize(("sounding", "printed"), CASES.values(), ids=CASES)
def test_what_sounds_and_what_is_printed(sounding: str, printed: str) -> None:
    assert format_semantic(sounding_to_printed(staff(sounding))) == format_semantic(staff(printed))
    assert printed_to_sounding(staff(printed)) == staff(sounding)


def test_a_courtesy_accidental_is_read_but_not_written() -> None:
    printed = staff("keySignature-GM F#4 barline FN4 barline F#4")

    sounding = printed_to_sounding(printed)

    assert sounding == staff("keySignature-GM F#4 barline F4 barline F#4")
    assert sounding_to_printed(sounding) == staff("keySignature-GM F4 barline FN4 barline F4")


def test_an_accidental_repeated_after_a_tie_holds_for_the_bar() -> None:
    assert printed_to_sounding(staff("F#4 tie barline F#4 F4")) == staff("F#4 tie barline F#4 F#4")


def test_a_sounding_label_has_no_natural_sign() -> None:
    with pytest.raises(NotationError, match="note-FN4_quarter"):
        sounding_to_printed(staff("C4 FN4"))


@given(sounding_staves())
def test_printing_loses_nothing(sounding: list[Symbol]) -> None:
    assert printed_to_sounding(sounding_to_printed(sounding)) == sounding


@given(sounding_staves())
def test_what_was_printed_is_printed_again(sounding: list[Symbol]) -> None:
    printed = sounding_to_printed(sounding)

    assert sounding_to_printed(printed_to_sounding(printed)) == printed


@given(sounding_staves())
def test_printed_chords_keep_their_order_as_text(sounding: list[Symbol]) -> None:
    printed = sounding_to_printed(parse(format_semantic(sounding)))

    assert parse(format_semantic(printed)) == printed


@given(symbol_salad())
def test_any_prediction_can_be_read(prediction: list[Symbol]) -> None:
    assert [symbol.rhythm for symbol in printed_to_sounding(prediction)] == [s.rhythm for s in prediction]
