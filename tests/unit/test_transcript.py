"""Whatever a model writes becomes staves of measures, and nothing gets lost without a word."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings

from datasets.notation import CHORD, Symbol, parse
from datasets.scores.transcript import Transcript, WrittenStaff, transcribe
from datasets.vocabulary import VOCABULARIES
from tests.strategies import printed_staves, vocabulary_salad

HEAD = "clef-G2 keySignature-CM"


def written(staff: WrittenStaff) -> list[int]:
    """The indices of all symbols of a staff, as often as they are written."""
    indices = [event.index for event in staff.opening]
    for measure in staff.measures:
        indices += [event.index for event in measure.changes]
        events = [event for voice in measure.voices for event in voice]
        indices += [index for event in events for index in [head.index for head in event.heads] or [event.index]]
        indices += [] if measure.barline is None else [measure.barline]
    return indices + [tie.index for tie in staff.ties]


def staff(text: str) -> WrittenStaff:
    (only,) = transcribe(parse(text)).staves
    return only


def counted(transcript: Transcript, words: str) -> int:
    """How often a remark was made."""
    return sum(int(remark.rpartition("(")[2].split()[0]) for remark in transcript.remarks if words in remark)


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=lambda vocabulary: vocabulary.name)
def test_every_symbol_is_written_once_or_said_to_be_left_out(vocabulary) -> None:
    @given(symbols=vocabulary_salad(vocabulary))
    def holds(symbols: list[Symbol]) -> None:
        transcript = transcribe(symbols)
        indices = sorted(index for each in transcript.staves for index in written(each))
        assert indices == sorted(set(indices))
        lost = [symbols[index].rhythm for index in set(range(len(symbols))) - set(indices)]
        joined = counted(transcript, "a joiner that")
        ties = counted(transcript, "a tie without a note") + counted(transcript, "a tie within a tie")
        assert len(lost) - lost.count("tie") == lost.count(CHORD) >= joined
        assert lost.count("tie") == ties

    holds()


@settings(max_examples=25)
@given(symbols=printed_staves())
def test_a_label_needs_no_mending(symbols: list[Symbol]) -> None:
    transcript = transcribe(symbols)
    assert transcript.remarks == ()
    assert len(transcript.staves) == 1
    assert all(measure.barline is not None for measure in transcript.staves[0].measures)


@settings(max_examples=25)
@given(symbols=printed_staves(staves=2))
def test_two_staves_are_told_apart(symbols: list[Symbol]) -> None:
    transcript = transcribe(symbols)
    upper, lower = transcript.staves
    assert len(upper.measures) == len(lower.measures)
    assert max(written(upper)) < min(written(lower))


def test_a_clef_alone_is_no_staff() -> None:
    assert len(transcribe(parse(f"{HEAD} note-C4_half barline clef-F4 note-C3_half barline")).staves) == 1


@pytest.mark.parametrize(
    ("symbols", "remark"),
    [
        ([Symbol(CHORD), *parse(f"{HEAD} note-C4_half")], "a joiner that joins nothing is left out (1 x)"),
        ([*parse(HEAD), *parse("note-C4_half"), Symbol(CHORD), Symbol(CHORD)], "joins nothing is left out (2 x)"),
        (parse("note-C4_half"), "a staff without a clef"),
        (parse(f"{HEAD} barline note-C4_half"), "a measure is empty (1 x)"),
        (parse(f"{HEAD} tie note-C4_half"), "a tie without a note before it"),
        (parse(f"{HEAD} note-C4_half tie tie note-C4_half"), "a tie within a tie"),
        (parse(f"{HEAD} note-C4_half tie note-D4_half"), "leads to no note of its pitch"),
        (parse(f"{HEAD} note-C4_half tie rest-half note-C4_half"), "leads to no note of its pitch"),
        (parse(f"{HEAD} note-C4_half tie note-C#4_half"), "leads to no note of its pitch"),
        (parse(f"{HEAD} multirest barline"), "without their number is written as one"),
        (parse(f"{HEAD} note-C4_half multirest-3 note-C4_half barline"), "has a measure of its own (2 x)"),
        (parse(f"{HEAD} gracenote-C4_half|gracenote-D4_quarter note-E4_half"), "one after the other"),
        (
            parse(f"{HEAD} note-C4_half barline {HEAD} note-C4_half barline note-C4_half"),
            "the staves have different numbers of measures (1, 2)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_mended_is_said(symbols: list[Symbol], remark: str) -> None:
    (said,) = transcribe(symbols).remarks
    assert remark in said


def test_an_event_knows_where_it_starts_and_how_it_sounds() -> None:
    first, second = staff(
        "clef-G2 keySignature-DM note-F4_quarter. rest-eighth note-FN4_half barline note-F4_long".replace(
            "long", "quadruple_whole"
        )
    ).measures
    assert [(event.onset, event.lasts) for event in first.voices[0]] == [
        (0, Fraction(3, 2)),
        (Fraction(3, 2), Fraction(1, 2)),
        (2, 2),
    ]
    assert [head.lift for event in (*first.voices[0], *second.voices[0]) for head in event.heads] == ["#", "", "#"]
    assert second.lasts == 16


def test_notes_that_last_longer_than_those_they_are_joined_with_have_a_voice_of_their_own() -> None:
    (measure,) = staff(
        f"{HEAD} note-E4_quarter|note-C4_half note-E4_quarter note-E4_quarter|note-C4_half barline"
    ).measures
    upper, lower = measure.voices
    assert [event.onset for event in upper] == [0, 1, 2]
    assert [(event.onset, event.lasts) for event in lower] == [(0, 2), (2, 2)]
    assert measure.lasts == 4


def test_a_tie_joins_every_pitch_of_two_chords_that_it_can() -> None:
    tied = staff(f"{HEAD} note-E4_half|note-C4_half tie barline gracenote-A4_eighth note-G4_half|note-C4_half barline")
    assert [tie.pairs for tie in tied.ties] == [((4, 10),)]


def test_a_meter_without_beats_takes_them_from_most_measures() -> None:
    quarter = "note-C4_quarter"
    music = f"{quarter} barline {quarter} {quarter} {quarter} barline note-C4_half. barline rest-whole barline"
    symbols = parse(f"{HEAD} timeSignature-/4 {music} timeSignature-/8 {quarter} barline")
    (only,) = transcribe(symbols).staves
    assert str(only.opening[2].symbol) == "timeSignature-3/4"
    assert str(only.measures[4].changes[0].symbol) == "timeSignature-2/8"


def test_the_second_of_two_keys_stands_in_the_measure() -> None:
    first, second = staff(
        f"{HEAD} keySignature-DM note-C4_half barline keySignature-GM keySignature-FM note-C4_half"
    ).measures
    assert [event.index for event in (*first.changes, *first.voices[0])] == [2, 3]
    assert not first.changes
    assert [event.index for event in second.changes] == [5]
    assert [event.index for event in second.voices[0]] == [6, 7]


def test_no_symbols_are_one_empty_staff() -> None:
    assert transcribe([]) == Transcript((WrittenStaff((), (), ()),), ())
