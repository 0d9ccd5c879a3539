"""Where music21 and Verovio read MusicXML and **kern differently, and where a source contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from datasets.notation import KEY_ALTERATIONS, format_semantic, parse
from tests.crosscheck.bars import Bar, is_clef
from tests.crosscheck.rule import Rule

_GRACE_WITHOUT_VALUE = re.compile(r"[\t ][^\t\d]*q")
_KEY_THEN_TIME = re.compile(r"</key>\s*</attributes>\s*<attributes>\s*<time")
_ODD_DIVISIONS = re.compile(r"<divisions>\d+[13579]</divisions>")  # of a quarter: an eighth has to be rounded


def _fills_its_measure(ours: Bar, theirs: Bar, _text: str) -> bool:
    alone = len(theirs.printed) == 1 and theirs.printed[0].startswith("rest-")
    return ours.printed == ("rest-whole",) and (alone or theirs.problem.startswith("duration"))


def _parts_are_uneven(_ours: Bar, _theirs: Bar, text: str) -> bool:
    return len({part.count("<measure ") for part in text.split("<part ")[1:]}) > 1


def _meter_is_dropped(ours: Bar, theirs: Bar, text: str) -> bool:
    return bool(_KEY_THEN_TIME.search(text)) and not ours.meter and ours.key == theirs.key


def _clef_is_early(ours: Bar, theirs: Bar, text: str) -> bool:
    return bool(_ODD_DIVISIONS.search(text)) and [word for word in ours.printed if not is_clef(word)] == list(
        theirs.printed
    )


def _grace_has_no_value(ours: Bar, theirs: Bar, text: str) -> bool:
    return bool(_GRACE_WITHOUT_VALUE.search(text)) and _grace_pitches(ours) == _grace_pitches(theirs)


def _grace_pitches(bar: Bar) -> list[str]:
    return [symbol.pitch for word in bar.printed for symbol in parse(word) if symbol.is_grace]


def _differ_at_ties(ours: Bar, theirs: Bar, _text: str) -> bool:
    return _heard(ours.sounding, theirs.tied) == _heard(theirs.sounding, theirs.tied)


def _share_an_accidental(ours: Bar, theirs: Bar, _text: str) -> bool:
    return _heard(_played(ours, in_octave=True), theirs.tied) == _heard(theirs.sounding, theirs.tied)


def _hold_in_all_octaves(ours: Bar, theirs: Bar, _text: str) -> bool:
    return _heard(_played(ours, in_octave=False), theirs.tied) == _heard(theirs.sounding, theirs.tied)


def _print_too_few(ours: Bar, theirs: Bar, _text: str) -> bool:
    """Whether both print the same, and it sounds as we say if it is played as it is printed (shared heads aside)."""
    aside = theirs.tied | _shared_pitches(ours)
    is_played = _heard(_played(ours, in_octave=True), aside) == _heard(ours.sounding, aside)
    return ours.printed == theirs.printed and is_played


def _shared_pitches(bar: Bar) -> frozenset[str]:
    """Where two voices meet on one note."""
    events = [[symbol.pitch for symbol in parse(word) if symbol.is_note] for word in bar.printed]
    return frozenset(pitch for event in events for pitch in event if event.count(pitch) > 1)


def _heard(words: Sequence[str], tied: frozenset[str]) -> list[str]:
    """The notes as they sound, without those that a tie may alter."""
    symbols = [symbol for word in words for symbol in parse(word)]
    return [f"{symbol.pitch}{symbol.lift}" for symbol in symbols if symbol.is_note and symbol.pitch not in tied]


def _played(bar: Bar, in_octave: bool) -> list[str]:
    """What a player makes of the printed words: an accidental holds for its bar, and for every head at its place.

    Args:
        in_octave: as notation has it; otherwise it holds for its letter in every octave.
    """
    key = KEY_ALTERATIONS[bar.key.removeprefix("keySignature-")]
    memory: dict[str, str] = {}
    words: list[str] = []
    for word in bar.printed:
        symbols = parse(word)
        reach = {symbol: symbol.pitch if in_octave else symbol.pitch[:1] for symbol in symbols}
        memory |= {reach[symbol]: symbol.lift.replace("N", "") for symbol in symbols if symbol.lift}
        played = [replace(one, lift=memory.get(reach[one], key.get(one.pitch[:1], ""))) for one in symbols]
        words.append(format_semantic(played))
    return words


_KERN = frozenset({".krn"})
_XML = frozenset({".musicxml", ".mxl", ".xml"})

SCORE_RULES = (
    Rule(
        "a rest that fills its measure is printed as a whole rest; music21 keeps its length as a value",
        _KERN | _XML,
        frozenset({"rhythm", "not said"}),
        _fills_its_measure,
    ),
    Rule(
        "**kern: a grace note without a value is a quarter to Verovio, an eighth to music21",
        _KERN,
        frozenset({"grace notes"}),
        _grace_has_no_value,
    ),
    Rule(
        "a tie within a chord or between voices, for which the encoding has no word, carries an accidental on",
        _KERN | _XML,
        frozenset({"what sounds"}),
        _differ_at_ties,
    ),
    Rule(
        "two voices meet on one note and share an accidental, which is printed at one of the heads",
        _KERN | _XML,
        frozenset({"what sounds"}),
        _share_an_accidental,
    ),
    Rule(
        "MusicXML: the source prints an accidental once for all octaves of its bar",
        _XML,
        frozenset({"what sounds"}),
        _hold_in_all_octaves,
    ),
    Rule(
        "MusicXML: the parts differ in their number of measures; Verovio changes the key of all where one part does",
        _XML,
        frozenset({"key"}),
        _parts_are_uneven,
    ),
    Rule(
        "MusicXML: Verovio drops a meter that changes beside the key in `attributes` of its own",
        _XML,
        frozenset({"meter"}),
        _meter_is_dropped,
    ),
    Rule(
        "MusicXML: where the source rounds durations, Verovio sets a clef before the barline a note too early",
        _XML,
        frozenset({"clef changes"}),
        _clef_is_early,
    ),
    Rule(
        "MusicXML: the source prints fewer accidentals than it sounds; both readings print the same",
        _XML,
        frozenset({"what sounds"}),
        _print_too_few,
    ),
)
