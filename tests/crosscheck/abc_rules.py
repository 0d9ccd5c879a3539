"""Where music21 and Verovio read ABC differently: a text that people wrote, which leaves much open."""

from __future__ import annotations

import re
from fractions import Fraction

from datasets.notation import DURATIONS, FERMATA, parse
from tests.crosscheck.bars import Bar
from tests.crosscheck.rule import Rule

_METERS_OF_SIGNS = {"timeSignature-C": "timeSignature-4/4", "timeSignature-C/": "timeSignature-2/2"}
_UNSEEN_BARLINE = re.compile(r"[^|:\s]\s*\[[12]")  # an ending that begins without a barline
_NOTE_LOST_AFTER = re.compile(r'"[^"]*>[^"]*"|H')  # an annotation with an accent; a fermata
_BROKEN_APART = re.compile(r"[<>]\s*[(){.\-uv\"]|[)}][<>]")  # something between the sign and its notes
_BROKEN_BY_LINE = re.compile(r"\n\s*[<>]")
_BRACKETED_WORDS = re.compile(r'\["')
_MAIL_REMAINS = re.compile(r"=\d\d")


def _clef_is_chosen(_ours: Bar, _theirs: Bar, text: str) -> bool:
    return "clef" not in text


def _sign_is_lost(ours: Bar, theirs: Bar, _text: str) -> bool:
    return _METERS_OF_SIGNS.get(ours.meter) == theirs.meter


def _notes_are_lost(ours: Bar, theirs: Bar, text: str) -> bool:
    """Whether theirs is ours with some notes left out; a sign for broken rhythm may have gone with them."""
    left, pitches = _pitches(theirs), iter(_pitches(ours))
    is_part = len(left) < len(_pitches(ours)) and all(pitch in pitches for pitch in left)
    return bool(_NOTE_LOST_AFTER.search(text)) and is_part


def _pitches(bar: Bar) -> list[str]:
    """Of every symbol, "" for a rest."""
    return [symbol.pitch for word in bar.printed for symbol in parse(word)]


def _fermatas_are_lost(ours: Bar, theirs: Bar, _text: str) -> bool:
    return _without_fermatas(ours) == list(theirs.printed)


def _without_fermatas(bar: Bar) -> list[str]:
    return [word.replace(FERMATA, "") for word in bar.printed]


def _bars_are_joined(ours: Bar, theirs: Bar, text: str) -> bool:
    """Whether theirs is a beginning or an end of ours, or the other half of one that is."""
    ends = ours.printed[: len(theirs.printed)], ours.printed[len(ours.printed) - len(theirs.printed) :]
    return bool(_UNSEEN_BARLINE.search(text)) and (not ours.printed or theirs.printed in ends)


def _is_bracketed(_ours: Bar, _theirs: Bar, text: str) -> bool:
    return bool(_BRACKETED_WORDS.search(text))


def _is_mail(_ours: Bar, _theirs: Bar, text: str) -> bool:
    return bool(_MAIL_REMAINS.search(text))


def _is_for_voices(_ours: Bar, _theirs: Bar, text: str) -> bool:
    return "\nV:" in text


def _only_we_break(ours: Bar, theirs: Bar, text: str) -> bool:
    return bool(_BROKEN_APART.search(text)) and _is_broken(ours, theirs)


def _only_they_break(ours: Bar, theirs: Bar, text: str) -> bool:
    return bool(_BROKEN_BY_LINE.search(text)) and _is_broken(theirs, ours)


def _is_broken(broken: Bar, even: Bar) -> bool:
    """Whether a bar has values of a broken rhythm (3:1, 7:1) where the other has even ones, and the same pitches."""
    if len(broken.printed) != len(even.printed):
        return False
    couples = [(parse(one)[0], parse(other)[0]) for one, other in zip(broken.printed, even.printed, strict=True)]
    ratios = {_length(one.rhythm) / _length(other.rhythm) for one, other in couples}
    return ratios <= {1, Fraction(3, 2), Fraction(1, 2), Fraction(7, 4), Fraction(1, 4)} and all(
        one.pitch == other.pitch for one, other in couples
    )


def _length(rhythm: str) -> Fraction:
    """In quadruple whole notes; 1 for what has no length."""
    name = rhythm.partition("-")[2].removesuffix(FERMATA)
    value, dots = name.rstrip("."), name.count(".")
    if value not in DURATIONS:
        return Fraction(1)
    return Fraction(1, 2 ** DURATIONS.index(value)) * (2 - Fraction(1, 2**dots))


_ABC = frozenset({".abc"})

ABC_RULES = (
    Rule("ABC: music21 turns the meters C and cut C into numbers", _ABC, frozenset({"meter"}), _sign_is_lost),
    Rule("ABC: where no clef is named, music21 chooses one by the range", _ABC, frozenset({"clef"}), _clef_is_chosen),
    Rule(
        "ABC: music21 loses the note that follows a fermata (H) or an annotation with an accent",
        _ABC,
        frozenset({"rhythm", "bars"}),
        _notes_are_lost,
    ),
    Rule("ABC: music21 has no fermatas", _ABC, frozenset({"fermatas"}), _fermatas_are_lost),
    Rule(
        "ABC: Verovio sees no barline where an ending begins without one",
        _ABC,
        frozenset({"bars", "rhythm"}),
        _bars_are_joined,
    ),
    Rule(
        "ABC: music21 breaks no rhythm where a slur or a staccato stands next to the sign",
        _ABC,
        frozenset({"rhythm"}),
        _only_we_break,
    ),
    Rule(
        "ABC: Verovio breaks no rhythm over the end of a line of text",
        _ABC,
        frozenset({"rhythm"}),
        _only_they_break,
    ),
    Rule("ABC: neither reads a measure that begins with words in brackets", _ABC, frozenset({"bars"}), _is_bracketed),
    Rule("ABC: Verovio writes the voices of a tune one after the other", _ABC, frozenset({"staves"}), _is_for_voices),
    Rule("ABC: music21 reads a remainder of e-mail (=20) as a natural", _ABC, frozenset({"what sounds"}), _is_mail),
)
