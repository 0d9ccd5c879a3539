"""Symbols as an MEI document: our own reader finds them again, and what sounds is said."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings

from datasets.notation import Symbol, format_semantic, parse
from datasets.scores.mei_document import to_mei
from datasets.scores.score import grand_label, label, read_score
from tests.strategies import printed_staves

MEI = "{http://www.music-encoding.org/ns/mei}"


@settings(max_examples=30)
@given(symbols=printed_staves())
def test_a_staff_is_read_back_as_it_was(symbols: list[Symbol]) -> None:
    if not any(symbol.is_note for symbol in symbols):
        symbols = [*symbols, *parse("note-C4_quarter barline")]
    assert format_semantic(label(read_score(to_mei(symbols).encode(), ".mei"), 0)) == format_semantic(symbols)


@settings(max_examples=15)
@given(symbols=printed_staves(staves=2))
def test_a_grand_staff_is_read_back_as_it_was(symbols: list[Symbol]) -> None:
    if not any(symbol.is_note for symbol in symbols):
        return
    score = read_score(to_mei(symbols).encode(), ".mei")
    assert format_semantic(grand_label(score)) == format_semantic(symbols)


def test_the_head_has_the_title_and_what_wrote_it() -> None:
    root = ET.fromstring(
        to_mei(parse("clef-G2 keySignature-CM note-C4_whole barline"), title="Fugue <1> & more").encode()
    )
    assert root.get("meiversion") == "5.0"
    assert root.findtext(f".//{MEI}title") == "Fugue <1> & more"
    assert root.findtext(f".//{MEI}application/{MEI}name")


def test_any_name_of_a_file_is_a_title() -> None:
    root = ET.fromstring(to_mei([], "a\x00\x1b\ufffe\udcff&<ü").encode())
    assert root.findtext(".//{*}title") == "a" + 4 * "\ufffd" + "&<ü"


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        ("clef-G2 keySignature-DM note-F4_quarter note-FN4_quarter note-F4_quarter barline note-F4_half", "s - - s"),
        ("clef-G2 keySignature-CM note-B4_half note-Bb4_half note-B4_half", "- - f"),
        ("clef-G2 keySignature-CM note-Bb4_half tie barline note-B4_half note-B4_half", "- f -"),
    ],
)
def test_a_note_without_an_accidental_says_what_sounds(text: str, sounds: str) -> None:
    root = ET.fromstring(to_mei(parse(text)).encode())
    assert [note.get("accid.ges", "-") for note in root.iter(f"{MEI}note")] == sounds.split()


def test_a_tie_that_leads_nowhere_is_left_to_ring() -> None:
    root = ET.fromstring(
        to_mei(parse("clef-G2 keySignature-CM timeSignature-3/8 note-C4_quarter tie rest-half")).encode()
    )
    ringing = root.find(f".//{MEI}lv")
    assert ringing is not None
    assert (ringing.get("startid"), ringing.get("tstamp2")) == ("#s3", "0m+3")  # eighths, counted from 1
