"""Reading scores with several staves and voices."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.notation import format_semantic, parse
from datasets.scores.measures import Measure, cut
from datasets.scores.mei import MeiError, read_single_voice, read_staff, staff_numbers

G, F = '<clef shape="G" line="2"/>', '<clef shape="F" line="4"/>'


def note(pitch: str, dur: int = 4, **attributes: str) -> str:
    words = "".join(f' {name.replace("_", ".")}="{value}"' for name, value in attributes.items())
    return f'<note pname="{pitch[0]}" oct="{pitch[1]}" dur="{dur}"{words}/>'


def rest(dur: int = 4, **attributes: str) -> str:
    return note("c4", dur, **attributes).replace("note", "rest")


def staff(*layers: str, n: int = 1) -> str:
    voices = "".join(f'<layer n="{number}">{layer}</layer>' for number, layer in enumerate(layers, start=1))
    return f'<staff n="{n}">{voices}</staff>'


def score(*measures: str, heads: tuple[str, ...] = (G,)) -> ET.Element:
    """Measures are the insides of measure elements, or whole elements of a section."""
    wrapped = (text if text.startswith("<scoreDef") else f"<measure>{text}</measure>" for text in measures)
    staves = "".join(f'<staffDef n="{number}" ppq="12">{head}</staffDef>' for number, head in enumerate(heads, 1))
    definition = f"<scoreDef><staffGrp>{staves}</staffGrp></scoreDef>"
    return ET.fromstring(f"<score>{definition}<section>{''.join(wrapped)}</section></score>")


def read_measure(*layers: str) -> Measure:
    (measure,) = read_staff(score(staff(*layers)), "1")
    return measure


def semantic(measure: Measure) -> str:
    return format_semantic(measure.symbols)


@pytest.mark.parametrize(
    ("layers", "symbols"),
    [
        ((note("c5", 2), note("e4", 2)), "note-C5_half|note-E4_half"),
        ((note("e4", 2), note("c5", 2)), "note-C5_half|note-E4_half"),
        ((note("c5", 2), note("e4") + note("d4")), "note-C5_half|note-E4_quarter note-D4_quarter"),
        ((note("c5"), note("c5")), "note-C5_quarter"),
        ((note("c5", 2), note("c5")), "note-C5_quarter|note-C5_half"),
        ((note("c5", accid="s"), note("c5", accid_ges="s")), "note-C#5_quarter"),
        ((note("c5", fermata="above"), note("c5")), "note-C5_quarter_fermata"),
        ((note("c5"), '<space dur="4"/>' + note("e4")), "note-C5_quarter note-E4_quarter"),
        ((note("c5"), rest(4, visible="false") + note("e4")), "note-C5_quarter note-E4_quarter"),
        ((note("c5") + rest(), note("e4") + rest()), "note-C5_quarter|note-E4_quarter rest-quarter"),
        ((note("d5", 8, grace="acc") + note("c5"), note("e4")), "gracenote-D5_eighth note-C5_quarter|note-E4_quarter"),
        ((note("c5"), "<mSpace/>"), "note-C5_quarter"),
        (("<mRest/>", "<mRest/>"), "rest-whole"),
        (
            (note("c5") + F + note("c3"), note("e4") + '<clef sameas="#x"/>'),
            "note-C5_quarter|note-E4_quarter clef-F4 note-C3_quarter",
        ),
    ],
)
def test_voices_are_written_by_onset(layers: tuple[str, ...], symbols: str) -> None:
    measure = read_measure(*layers)
    assert (measure.problem, semantic(measure)) == ("", symbols)


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ((note("c5"), rest()), "a rest beneath a note"),
        ((rest(2), rest()), "different rests at once"),
        (
            (note("d5", 8, grace="acc") + note("c5"), note("f4", 8, grace="acc") + note("e4")),
            "grace notes in two voices",
        ),
        ((note("c5", staff="2"),), "a voice that changes staves"),
        (('<chord dur="4"><note pname="c" oct="5"/><note pname="c" oct="5"/></chord>',), "unison in a chord"),
        (("<mRpt/>",), "a repeated measure"),
        ((f"<fTrem>{note('c4')}{note('e4')}</fTrem>",), "a tremolo between two notes"),
        ((note("c5", oct_ges="6"),), "an octave line"),
        ((note("c5", cue="true"),), "a cue note"),
        ((f"<tuplet>{note('c4')}</tuplet>",), "a tuplet without a number"),
        (("<space dur='1'/>", ""), "an empty measure"),
    ],
)
def test_what_the_encoding_cannot_say_is_named(layers: tuple[str, ...], problem: str) -> None:
    measures = read_staff(score(staff(*layers), staff(note("c4"))), "1")
    assert [bool(measure.problem) for measure in measures] == [True, False]
    assert problem in measures[0].problem


@pytest.mark.parametrize("sign", ['<octave staff="1"/>', "<ossia/>", '<tupletSpan staff="1"/>'])
def test_what_stands_beside_a_staff_can_be_a_problem_of_it_alone(sign: str) -> None:
    both = score(staff(note("c4")) + staff(note("c3"), n=2) + sign.replace("<ossia", '<ossia staff="1"'), heads=(G, F))
    assert [bool(read_staff(both, number)[0].problem) for number in "12"] == [True, False]


@pytest.mark.parametrize(
    "triplet",
    [
        "".join(note(pitch, 8, dur_ppq="4") for pitch in ("c5", "d5", "e5")),  # the number is nowhere written
        f'<tuplet num="3" numbase="2"><beam>{"".join(note(pitch, 8) for pitch in ("c5", "d5", "e5"))}</beam></tuplet>',
    ],
)
def test_a_triplet_meets_other_voices_where_it_sounds(triplet: str) -> None:
    measure = read_measure(triplet + note("f5"), note("c4") + note("d4"))
    assert semantic(measure) == (
        "note-C5_eighth|note-C4_quarter note-D5_eighth note-E5_eighth note-F5_quarter|note-D4_quarter"
    )


def test_every_staff_has_its_clef_and_its_changes() -> None:
    change = (
        '<scoreDef><keySig sig="2f"/><staffGrp><staffDef n="1"><meterSig count="3" unit="4"/></staffDef>'
        '<staffDef n="2"><clef shape="G" line="2"/></staffDef></staffGrp></scoreDef>'
    )
    measures = staff(note("c4")) + staff(note("c3"), n=2)
    root = score(measures, change, measures, heads=(G, F))
    assert staff_numbers(root) == ["1", "2"]
    labels = [format_semantic(cut(read_staff(root, number)).symbols) for number in "12"]
    assert labels == [
        "clef-G2 keySignature-CM note-C4_quarter barline keySignature-BbM timeSignature-3/4 note-C4_quarter barline",
        "clef-F4 keySignature-CM note-C3_quarter barline keySignature-BbM clef-G2 note-C3_quarter barline",
    ]


def test_the_measures_of_two_staves_stand_at_the_same_indices() -> None:
    upper, lower = staff(note("c4")), staff(note("c3"), n=2)
    root = score(upper + lower, lower, upper + lower, lower, heads=(G, F))
    assert [measure.problem for measure in read_staff(root, "1")] == ["", "an empty measure", ""]
    assert [measure.problem for measure in read_staff(root, "2")] == [""] * 4


def test_a_clef_in_a_measure_that_cannot_be_read_is_in_force_after_it() -> None:
    measures = read_staff(score(staff("<mRpt/>" + F), staff(note("c3"))), "1")
    assert format_semantic(cut(measures[1:]).symbols).startswith("clef-F4")


OCTAVE_CLEF = '<clef shape="G" line="2" dis="8" dis.place="below"/>'
ODD_KEY = '<keySig sig="mixed"/>'


@pytest.mark.parametrize("read", [read_staff, read_single_voice])
@pytest.mark.parametrize(
    ("sign", "plain", "problem"),
    [
        (OCTAVE_CLEF, F, "octave clef"),
        ('<clef shape="perc"/>', G, "clef perc"),
        (ODD_KEY, '<keySig sig="1s"/>', "key signature mixed"),
    ],
)
def test_measures_under_a_clef_or_a_key_that_cannot_be_said_are_problems(
    read: Callable[[ET.Element, str], list[Measure]], sign: str, plain: str, problem: str
) -> None:
    layers = (note("c4"), note("c4") + sign, note("c4"), note("c4") + plain, note("c4"))
    problems = [measure.problem for measure in read(score(*map(staff, layers)), "1")]
    assert list(map(bool, problems)) == [False, True, True, True, False]
    assert problems[2] == problem


def test_a_new_clef_between_measures_ends_what_cannot_be_said() -> None:
    change = f'<scoreDef><staffGrp><staffDef n="1">{G}</staffDef></staffGrp></scoreDef>'
    measures = read_staff(score(staff(note("c4") + OCTAVE_CLEF), change, staff(note("c4"))), "1")
    assert [measure.problem for measure in measures] == ["octave clef", ""]
    assert [str(symbol) for symbol in measures[1].changes] == ["clef-G2"]


def test_a_key_change_inside_a_measure_is_in_force_after_it() -> None:
    measures = read_staff(score(staff(note("c4") + '<keySig sig="2s"/>' + note("c4")), staff(note("c4"))), "1")
    assert measures[0].problem == "a key change inside a measure"
    assert format_semantic(cut(measures[1:]).symbols) == "clef-G2 keySignature-DM note-C4_quarter barline"


def test_a_quarter_that_is_divided_into_nothing_is_a_problem() -> None:
    root = score(staff(note("c4", dur_ppq="1")))
    root.find(".//staffDef").set("ppq", "0")
    assert read_staff(root, "1")[0].problem == "a quarter divided into nothing"


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (ET.fromstring("<mei/>"), "no score"),
        (score(staff(note("c4")), heads=("",)), "no clef"),
        (score(staff(note("c4")), heads=('<clef shape="perc"/>',)), "clef perc"),
    ],
)
def test_a_staff_that_cannot_be_read_says_why(root: ET.Element, reason: str) -> None:
    with pytest.raises(MeiError, match=reason):
        read_staff(root, "1")


def test_a_tie_between_single_notes_is_kept_across_voices() -> None:
    first = staff(note("c5").replace("<note", '<note xml:id="a"'), '<space dur="4"/>')
    second = staff(note("c5").replace("<note", '<note xml:id="b"') + note("d5"), '<space dur="4"/>' + note("e4"))
    measures = read_staff(score(first + '<tie startid="#a" endid="#b"/>', second), "1")
    assert semantic(measures[0]) == "note-C5_quarter tie"
    assert semantic(measures[1]) == "note-C5_quarter note-D5_quarter|note-E4_quarter"


_VOICES = st.lists(
    st.tuples(st.sampled_from(["c5", "d5", "e4", "f4"]), st.sampled_from([1, 2, 4, 8, 16])), min_size=1, max_size=6
)


def _layer(voice: list[tuple[str, int]]) -> str:
    return "".join(note(pitch, dur) for pitch, dur in voice)


@given(_VOICES, _VOICES)
def test_the_order_of_the_voices_makes_no_difference(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> None:
    assert read_measure(_layer(one), _layer(other)).symbols == read_measure(_layer(other), _layer(one)).symbols


@given(_VOICES, _VOICES)
def test_a_label_of_two_voices_reads_back(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> None:
    symbols = read_measure(_layer(one), _layer(other)).symbols
    assert parse(format_semantic(symbols)) == list(symbols)
    heads = sum(symbol.is_note for symbol in symbols)
    assert max(len(one), len(other)) <= heads <= len(one) + len(other)
