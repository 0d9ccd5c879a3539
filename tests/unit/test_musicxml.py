"""Symbols as MusicXML: valid by its schema, and the same music to music21 and to Verovio."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from hypothesis import assume, given, settings

from datasets.notation import BARLINE, FERMATA, TIE, Symbol, events, format_semantic, parse
from datasets.scores.measures import key_symbol
from datasets.scores.musicxml import to_musicxml
from datasets.scores.score import label, read_score
from datasets.scores.transcript import SIGNS
from datasets.vocabulary import VOCABULARIES
from tests.handed_over import faults, second_reading
from tests.strategies import printed_staves, vocabulary_salad

HEAD = "clef-G2 keySignature-CM"
MANY_SIGNS = f"""{HEAD} timeSignature-C/ note-C4_whole barline timeSignature-3/4 clef-F4 note-C3_half.
 barline keySignature-CbM note-C3_quarter clef-C1 note-C4_quarter barline keySignature-C#M timeSignature-C rest-half"""


def part(text: str) -> ET.Element:
    found = ET.fromstring(to_musicxml(parse(text)).encode()).find("part")
    assert found is not None
    return found


def without_signs(symbols: list[Symbol]) -> list[Symbol]:
    """What sounds and lasts, as music21 knows it: any rest alone in a measure is a whole one."""
    words = [
        format_semantic(event) for event in events(symbols) if event[0].kind not in SIGNS and event[0].rhythm != TIE
    ]
    bars: list[str] = []
    for bar in " ".join(words).split(BARLINE)[:-1]:
        kind, _, value = bar.strip().partition("-")
        if kind == "multirest":
            bars += ["rest-whole"] * int(value)
        elif kind == "rest" and " " not in bar.strip():
            bars.append(f"rest-whole{FERMATA if value.endswith(FERMATA) else ''}")
        else:
            bars.append(bar)
    return parse("".join(f"{bar} {BARLINE} " for bar in bars))


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=lambda vocabulary: vocabulary.name)
def test_whatever_a_model_writes_is_valid(vocabulary) -> None:
    @settings(max_examples=60)
    @given(symbols=vocabulary_salad(vocabulary))
    def holds(symbols: list[Symbol]) -> None:
        assert faults(to_musicxml(symbols, title="Fugue <1> & more")) == []

    holds()


def test_any_name_of_a_file_is_a_title() -> None:
    written = to_musicxml([], "a\x00\x1b\ufffe\udcff&<ü")
    assert faults(written) == []
    assert ET.fromstring(written.encode()).findtext("work/work-title") == "a" + 4 * "\ufffd" + "&<ü"


def test_the_schema_finds_a_fault() -> None:
    written = to_musicxml(parse(f"{HEAD} note-C4_whole barline"))
    assert faults(written) == []
    assert "type" in faults(written.replace("<type>whole", "<type>wholly"))[0]


@settings(max_examples=25)
@given(symbols=printed_staves())
def test_music21_reads_the_same_notes(symbols: list[Symbol]) -> None:
    (staff,) = second_reading(to_musicxml(symbols))
    assert format_semantic(staff) == format_semantic(without_signs(symbols))


@settings(max_examples=8)
@given(symbols=printed_staves(staves=2))
def test_music21_reads_both_staves(symbols: list[Symbol]) -> None:
    """But for the rests: one of a whole measure it gives to the first rest of either staff."""
    read = [symbol for staff in second_reading(to_musicxml(symbols)) for symbol in staff]
    expected = without_signs(symbols)
    assert [str(each) for each in read if not each.is_rest] == [str(each) for each in expected if not each.is_rest]


@settings(max_examples=25)
@given(symbols=printed_staves())
def test_verovio_reads_the_same_staff(symbols: list[Symbol]) -> None:
    """It puts a clef before the barline, which says the same."""
    assume(any(symbol.lift for symbol in symbols))  # where none is printed, the reader adds what it misses
    read = label(read_score(to_musicxml(symbols).encode(), ".musicxml"), 0)
    assert [str(symbol) for symbol in read if symbol.kind != "clef"] == [
        str(symbol) for symbol in symbols if symbol.kind != "clef"
    ]
    assert Counter(symbol for symbol in read if symbol.kind == "clef") == Counter(
        symbol for symbol in symbols if symbol.kind == "clef"
    )


def test_the_signs_stand_where_they_change() -> None:
    measures = part(MANY_SIGNS).findall("measure")
    signs = [
        [
            f"{sign.findtext('sign')}{sign.findtext('line')}"
            if sign.tag == "clef"
            else sign.findtext("fifths")
            or f"{sign.get('symbol') or ''}{sign.findtext('beats')}/{sign.findtext('beat-type')}"
            for attributes in measure.findall("attributes")
            for sign in attributes
            if sign.tag in ("clef", "key", "time")
        ]
        for measure in measures
    ]
    assert signs == [["0", "cut2/2", "G2"], ["3/4", "F4"], ["-7", "C1"], ["7", "common4/4"]]
    assert [child.tag for child in measures[2]] == ["attributes", "note", "attributes", "note"]
    assert [measure.findtext("barline/bar-style") for measure in measures] == [None, None, None, "none"]


def test_what_sounds_and_what_is_printed_are_both_said() -> None:
    notes = part(f"clef-G2 {key_symbol(1)} note-F4_half note-FN4_half note-F4_half note-Bbb4_half barline").iter("note")
    said = [(note.findtext("pitch/alter"), note.findtext("accidental")) for note in notes]
    assert said == [("1", None), (None, "natural"), (None, None), ("-2", "flat-flat")]


def test_a_rest_of_several_measures_is_so_many_measures() -> None:
    measures = part(f"{HEAD} timeSignature-3/4 multirest-12 clef-F4 barline note-C3_half. barline").findall("measure")
    assert len(measures) == 13
    assert [measure.findtext(".//multiple-rest") for measure in measures[:2]] == ["12", None]
    assert {measure.findtext("note/duration") for measure in measures} == {"384"}
    assert measures[11].find("attributes/clef") is not None


def test_ties_are_heard_and_drawn() -> None:
    tied = f"{HEAD} note-C4_half|note-A3_half tie barline note-C4_half|note-A3_half tie note-D4_half"
    notes = list(part(tied).iter("note"))
    assert [[tie.get("type") for tie in note.iter("tie")] for note in notes] == [["start"]] * 2 + [["stop"]] * 2 + [[]]
    assert [[tied.get("type") for tied in note.iter("tied")] for note in notes] == (
        [["start"]] * 2 + [["stop", "let-ring"]] * 2 + [[]]
    )


def test_the_longest_and_the_shortest_values_graces_and_fermatas() -> None:
    long, short, grace, rest = part(
        f"{HEAD} note-C4_quadruple_whole_fermata note-D4_hundred_twenty_eighth.. gracenote-E4_eighth rest-double_whole"
    ).iter("note")
    assert (long.findtext("type"), long.findtext("duration")) == ("long", "2048")
    assert long.find("notations/fermata") is not None
    assert (short.findtext("type"), short.findtext("duration"), len(short.findall("dot"))) == ("128th", "7", 2)
    assert grace.find("grace") is not None
    assert grace.find("duration") is None
    assert rest.findtext("type") == "breve"


def test_two_staves_are_one_part() -> None:
    piano = part(f"{HEAD} note-C4_half barline {HEAD.replace('G2', 'F4')} note-C3_quarter rest-quarter barline")
    (measure,) = piano.findall("measure")
    assert measure.findtext("attributes/staves") == "2"
    assert [clef.get("number") for clef in measure.iter("clef")] == ["1", "2"]
    assert [note.findtext("staff") for note in measure.iter("note")] == ["1", "2", "2"]
    assert measure.findtext("backup/duration") == "256"
    assert len({note.findtext("voice") for note in measure.iter("note")}) == 2


def test_a_clef_that_is_not_there_is_not_shown() -> None:
    clef = part("note-C4_half barline").find(".//clef")
    assert clef is not None
    assert clef.get("print-object") == "no"


def test_without_symbols_there_is_an_empty_measure() -> None:
    assert len(part("").findall("measure")) == 1
    assert faults(to_musicxml([])) == []
