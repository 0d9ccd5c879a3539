"""The semantic encoding: text to symbols and back."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given

from datasets.errors import NotationError
from datasets.notation import KEY_ALTERATIONS, KEYS, Symbol, events, format_semantic, parse, parse_written
from tests.strategies import sounding_staves, symbol_salad

CORPORA = Path(__file__).parents[3] / "shared" / "data"
PRIMUS_VOCABULARY = CORPORA / "primus_example" / "vocabulary_semantic.txt"


def test_an_incipit_as_primus_writes_it_with_tabs() -> None:
    text = "clef-C1\tkeySignature-EbM\ttimeSignature-2/4\tmultirest-23\tbarline\tnote-Bb4_eighth\t"

    symbols = parse(text)

    assert symbols[3:] == [Symbol("multirest-23"), Symbol("barline"), Symbol("note-eighth", "B4", "b")]
    assert format_semantic(symbols) == " ".join(text.split())


@pytest.mark.parametrize(
    ("token", "symbol"),
    [
        ("note-F#4_quarter._fermata", Symbol("note-quarter._fermata", "F4", "#")),
        ("note-FN4_eighth", Symbol("note-eighth", "F4", "N")),
        ("note-E##5_half..", Symbol("note-half..", "E5", "##")),
        ("gracenote-Bbb4_eighth", Symbol("gracenote-eighth", "B4", "bb")),
        ("note-C3_quadruple_whole_fermata", Symbol("note-quadruple_whole_fermata", "C3")),
        ("rest-whole_fermata", Symbol("rest-whole_fermata")),
        ("timeSignature-C/", Symbol("timeSignature-C/")),
        ("timeSignature-/4", Symbol("timeSignature-/4")),
        ("multirest", Symbol("multirest")),
        ("tie", Symbol("tie")),
    ],
)
def test_a_token_is_one_symbol_and_back(token: str, symbol: Symbol) -> None:
    assert parse(token) == [symbol]
    assert str(symbol) == token


def test_the_notes_of_a_chord_come_highest_first_whatever_their_order() -> None:
    notes = ["note-C5_half", "note-B4_half", "note-F#4_half", "note-F4_half", "note-Fb4_half"]

    texts = {format_semantic(parse("+".join(["clef-G2", "|".join(order)]))) for order in permutations(notes)}

    assert texts == {"clef-G2 " + "|".join(notes)}


def test_a_strip_without_music_is_an_empty_list() -> None:
    assert parse(" \n") == []
    assert format_semantic([]) == ""


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("note-C4_quarternote-D4_quarter", "not of the form note-"),
        ("note-H4_quarter", "step A-G"),
        ("note-C4_quarter...", "at most two dots"),
        ("gracenote-C4_eighth_fermata", "not of the form gracenote-"),
        ("rest-third", "thirty_second"),
        ("clef-G9", "line 1-5"),
        ("keySignature-EM#", "CbM, GbM"),
        ("timeSignature-4", "C or C/"),
        ("multirest-0", "multirest-<bars>"),
        ("barlines", "there are note, gracenote"),
        ("note-C4_half|rest-half", "joins notes"),
        ("note-C4_half|gracenote-E4_half", "joins notes"),
        ("note-C4_half||note-E4_half", "'' is no kind of symbol"),
        ("|", "'' is no kind of symbol"),
    ],
)
def test_an_error_names_token_place_and_what_is_allowed(token: str, complaint: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse(f"clef-G2 barline {token} barline")

    assert str(caught.value).startswith(f"token 3, '{token}': ")
    assert complaint in str(caught.value)


def test_key_signatures_follow_the_circle_of_fifths() -> None:
    assert len(KEYS) == len(set(KEYS)) == 15
    assert KEY_ALTERATIONS["CM"] == {}
    assert KEY_ALTERATIONS["DM"] == {"F": "#", "C": "#"}
    assert KEY_ALTERATIONS["EbM"] == {"B": "b", "E": "b", "A": "b"}
    assert set(KEY_ALTERATIONS["C#M"].values()) == {"#"}
    assert len(KEY_ALTERATIONS["CbM"]) == 7


def test_events_group_chords_and_survive_stray_joiners() -> None:
    a, b, bar, joiner = Symbol("note-half", "C5"), Symbol("note-half", "A4"), Symbol("barline"), Symbol("|")

    assert events([a, joiner, b, bar, a]) == [[a, joiner, b], [bar], [a]]
    assert events([joiner, a, bar, joiner]) == [[joiner, a], [bar, joiner]]


@given(sounding_staves())
def test_what_is_formatted_parses_to_the_same_music(staff: list[Symbol]) -> None:
    canonical = parse(format_semantic(staff))

    assert parse(format_semantic(canonical)) == canonical
    assert sorted(map(str, canonical)) == sorted(map(str, staff))


@given(symbol_salad())
def test_what_a_model_wrote_is_read_back_symbol_by_symbol(staff: list[Symbol]) -> None:
    assert parse_written(format_semantic(staff)) == staff


def test_a_written_text_with_a_part_that_is_no_symbol_is_refused() -> None:
    with pytest.raises(NotationError, match="'hat' is no kind of symbol"):
        parse_written("note-C4_half|hat")


@given(symbol_salad())
def test_events_lose_nothing(symbols: list[Symbol]) -> None:
    assert [symbol for event in events(symbols) for symbol in event] == symbols


@pytest.mark.skipif(not PRIMUS_VOCABULARY.exists(), reason=f"no PrIMuS sample at {CORPORA}")
def test_every_token_of_primus_makes_the_round_trip() -> None:
    tokens = PRIMUS_VOCABULARY.read_text().split()

    assert len(tokens) == 1781
    assert [format_semantic(parse(token)) for token in tokens] == tokens
