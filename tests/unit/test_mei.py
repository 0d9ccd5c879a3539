"""Reading MEI into measures, cutting them, writing a label as MEI."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import NotationError
from datasets.notation import BARLINE, KEYS, Symbol, format_semantic, parse
from datasets.scores import mei, mei_writer
from datasets.scores.measures import Measure, StaffRun, cut, key_sharps, key_symbol, staff_step

_HEAD = '<clef shape="G" line="2"/><meterSig count="2" unit="4"/>'


def score(*measures: str, head: str = _HEAD, key: str = "1s", staves: int = 1) -> str:
    """MEI with measures given as the contents of their layer, or whole elements."""
    wrapped = (
        text
        if text.startswith(("<measure", "<scoreDef", "<staffDef"))
        else f'<measure><staff n="1"><layer n="1">{text}</layer></staff></measure>'
        for text in measures
    )
    definition = f'<staffDef n="1">{head}</staffDef>' * staves
    return (
        '<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score>'
        f'<scoreDef keysig="{key}"><staffGrp>{definition}</staffGrp></scoreDef>'
        f"<section>{''.join(wrapped)}</section></score></mdiv></body></music></mei>"
    )


def note(pitch: str = "g4", dur: int = 4, inside: str = "", **attributes: str) -> str:
    words = "".join(f' {name.replace("_", ":")}="{value}"' for name, value in attributes.items())
    return f'<note pname="{pitch[0]}" oct="{pitch[1]}" dur="{dur}"{words}>{inside}</note>'


def read(text: str) -> list[Measure]:
    return mei.read(mei.without_namespaces(ET.fromstring(text)))


def symbols_of(layer: str) -> str:
    (measure,) = read(score(layer))
    assert measure.problem == ""
    return format_semantic(measure.symbols)


@pytest.mark.parametrize(
    ("layer", "symbols"),
    [
        (note("b4", 2, dots="1"), "note-B4_half."),
        (note("b4", inside='<accid accid="n"/>'), "note-BN4_quarter"),
        (note("b4", inside='<accid accid="x"/>'), "note-B##4_quarter"),
        (note("b4", accid="f"), "note-Bb4_quarter"),
        (note("b4", **{"accid.ges": "f"}), "note-B4_quarter"),
        (note("c5", 8, grace="acc") + note(), "gracenote-C5_eighth note-G4_quarter"),
        ('<rest dur="8" dots="2"/>', "rest-eighth.."),
        ("<mRest/>", "rest-whole"),
        ('<mRest fermata="above"/>', "rest-whole_fermata"),
        ('<multiRest num="0"/>', "rest-whole"),
        ('<multiRest num="12"/>', "multirest-12"),
        (note(fermata="above"), "note-G4_quarter_fermata"),
        (f'<clef shape="F" line="4"/>{note("c3")}', "clef-F4 note-C3_quarter"),
        (f'<clef shape="G" line="2"/>{note()}', "note-G4_quarter"),
    ],
)
def test_a_layer_is_read_as_it_is_printed(layer: str, symbols: str) -> None:
    assert symbols_of(layer) == symbols


def test_the_notes_of_a_chord_come_highest_first() -> None:
    low, high = '<note pname="c" oct="4"/>', '<note pname="e" oct="5"><accid accid="f"/></note>'
    assert symbols_of(f'<chord dur="2">{low}{high}</chord>') == "note-Eb5_half|note-C4_half"


def test_what_a_label_does_not_say_is_left_out() -> None:
    plain = note(inside='<artic artic="stacc"/><verse><syl>la</syl></verse>', xml_id="a")
    extras = '<slur startid="#a" endid="#a"/><trill startid="#a"/><harm startid="#a">Am</harm><dynam>f</dynam>'
    measure = f'<measure right="rptend"><staff n="1"><layer n="1">{plain}</layer></staff>{extras}</measure>'
    assert cut(read(score(measure))).symbols[-2:] == (Symbol("note-quarter", "G4"), Symbol(BARLINE))


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (f'<tuplet num="3" numbase="2">{note()}</tuplet>', "tuplet in a measure"),
        ('<space dur="4"/>', "space in a measure"),
        (note(dots="3"), "more than two dots"),
        (note(inside='<accid accid="1qf"/>'), "accidental 1qf"),
        (
            f'<measure><staff n="1"><layer n="1">{note()}</layer><layer n="2">{note()}</layer></staff></measure>',
            "several voices",
        ),
    ],
)
def test_a_measure_that_the_encoding_cannot_say_is_marked(layer: str, problem: str) -> None:
    before, marked, after = read(score(note(), layer, note()))
    assert (before.problem, marked.problem, after.problem) == ("", problem, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<mei/>", "no score"),
        (score(note(), staves=2), "not a single staff"),
        (score(note(), head=""), "no clef"),
        (score(note(), key="mixed"), "key signature mixed"),
    ],
)
def test_a_score_that_is_no_single_staff_is_refused(text: str, reason: str) -> None:
    with pytest.raises(mei.MeiError, match=reason):
        read(text)


@pytest.mark.parametrize(
    ("second", "tied"),
    [
        ("g4", True),
        ("a4", False),  # ABC's sign for a tie, used as a slur
    ],
)
def test_a_tie_joins_neighbours_of_one_pitch(second: str, tied: bool) -> None:
    notes = note("g4", xml_id="a") + note(second, xml_id="b")
    tie = '<tie startid="a" endid="#b"/>'
    (measure,) = read(score(f'<measure><staff n="1"><layer n="1">{notes}</layer></staff>{tie}</measure>'))
    assert (Symbol("tie") in measure.symbols) == tied


def test_a_tie_that_leads_out_of_the_staff_is_dropped() -> None:
    first = (
        f'<measure><staff n="1"><layer n="1">{note(xml_id="a")}</layer></staff><tie startid="#a" endid="#b"/></measure>'
    )
    measures = read(score(first, note(xml_id="b")))
    assert "tie" in format_semantic(cut(measures).symbols)
    assert "tie" not in format_semantic(cut(measures[:1]).symbols)


def test_the_meter_stands_on_the_first_staff_and_at_a_change() -> None:
    measures = read(score(note(), note(), '<scoreDef meter.count="3" meter.unit="4"/>', note()))
    labels = [format_semantic(cut([measure]).symbols[:-2]) for measure in measures]
    assert labels == [
        "clef-G2 keySignature-GM timeSignature-2/4",
        "clef-G2 keySignature-GM",
        "clef-G2 keySignature-GM timeSignature-3/4",
    ]
    assert "barline timeSignature-3/4 note" in format_semantic(cut(measures).symbols)


def test_a_new_clef_and_key_are_in_force_from_then_on() -> None:
    change = (
        '<scoreDef keysig="2f"><staffGrp><staffDef n="1"><clef shape="F" line="4"/></staffDef></staffGrp></scoreDef>'
    )
    measures = read(score(note(), change, note(), note()))
    assert format_semantic(cut(measures[1:2]).symbols[:-2]) == "clef-F4 keySignature-BbM"
    assert format_semantic(cut(measures[2:]).symbols[:-2]) == "clef-F4 keySignature-BbM"
    assert "barline keySignature-BbM clef-F4 note" in format_semantic(cut(measures).symbols)


def test_no_meter_in_abc_is_no_meter_on_the_staff() -> None:
    head = '<clef shape="G" line="2"/><meterSig count="0" unit="0"/>'
    assert format_semantic(cut(read(score(note(), head=head))).symbols).startswith("clef-G2 keySignature-GM note")


@pytest.mark.parametrize("key", KEYS)
def test_keys_and_their_sharps_are_inverse(key: str) -> None:
    symbol = Symbol(f"keySignature-{key}")
    assert key_symbol(key_sharps(symbol)) == symbol


def test_neighbours_on_the_staff_are_one_step_apart() -> None:
    assert staff_step("C5") - staff_step("B4") == 1


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ("note-C4_quarter barline", "begins with a clef"),
        ("clef-G2 keySignature-CM barline", "empty"),
        ("clef-G2 keySignature-CM tie note-C4_quarter", "without a note"),
        ("clef-G2 keySignature-CM note-C4_quarter tie barline", "no second note"),
        ("clef-G2 keySignature-CM note-C4_quarter timeSignature-3/4 note-C4_quarter", "inside a measure"),
    ],
)
def test_a_label_that_is_no_staff_is_refused(label: str, error: str) -> None:
    with pytest.raises(NotationError, match=error):
        mei_writer.write(StaffRun(tuple(parse(label))))


_TIMES = st.sampled_from(["quarter", "eighth", "sixteenth.", "half_fermata", "whole", "quarter.."])
_PITCHES = st.tuples(
    st.sampled_from("ABCDEFG"), st.sampled_from(["", "#", "b", "N", "##", "bb"]), st.sampled_from("456")
)


@st.composite
def _events(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["note", "note", "note", "chord", "rest", "gracenote", "tied"]))
    time = draw(_TIMES)
    if kind == "rest":
        return f"rest-{time}"
    if kind == "gracenote":
        return f"gracenote-{''.join(draw(_PITCHES))}_eighth note-G4_{time}"
    if kind == "tied":
        pitch = draw(_PITCHES)
        return f"note-{''.join(pitch)}_{time} tie note-{pitch[0]}{pitch[2]}_{time}"
    count = 3 if kind == "chord" else 1
    pitches = draw(st.lists(_PITCHES, min_size=count, max_size=count, unique_by=lambda pitch: (pitch[0], pitch[2])))
    return "|".join(f"note-{''.join(pitch)}_{time}" for pitch in pitches)


@st.composite
def staff_runs(draw: st.DrawFn) -> StaffRun:
    """Whole staves, beams left out."""
    key, meter = draw(st.sampled_from(KEYS)), draw(st.sampled_from(["", "C", "C/", "6/8", "12/8"]))
    measures = draw(st.lists(st.lists(_events(), min_size=1, max_size=4), min_size=1, max_size=3))
    head = f"clef-{draw(st.sampled_from(['G2', 'F4', 'C3']))} keySignature-{key}"
    body = " ".join(f"{' '.join(events)} barline" for events in measures)
    return StaffRun(tuple(parse(f"{head} {f'timeSignature-{meter}' if meter else ''} {body}")))


@given(staff_runs())
def test_what_is_written_is_read_back(run: StaffRun) -> None:
    measures = read(mei_writer.write(run))
    assert [measure.problem for measure in measures] == [""] * len(measures)
    assert cut(measures).symbols == run.symbols


def test_beams_are_read_back() -> None:
    symbols = parse(
        "clef-G2 keySignature-CM gracenote-A4_eighth note-G4_eighth gracenote-A4_eighth note-G4_eighth tie "
        "note-G4_sixteenth note-A4_eighth|note-C4_eighth barline"
    )
    run = StaffRun(tuple(symbols), beams=((3, 5), (7, 10)))
    assert cut(read(mei_writer.write(run))) == run
