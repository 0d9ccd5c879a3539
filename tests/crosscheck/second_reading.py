"""A score as music21 reads it, in the words of the semantic encoding.

Written from the definition of the encoding (`datasets.notation`, `datasets.scores.mei`) and on music21's objects alone,
so that nothing of the way through MEI is taken for granted. The rules for a measure:

- hidden notes and rests, chord symbols and unpitched notes write nothing;
- what starts at one onset stands at one place: clefs, grace notes, then the notes of all voices as one chord, highest
  first, each with its own value, a unison of equal values once;
- a rest that starts together with a note of another voice cannot be said;
- a rest that is the whole measure is `rest-whole`, whatever the meter;
- a tie stands between two single notes of one pitch that are next to each other, if one note opens it, the other closes
  it and prints no accidental.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from music21 import chord, clef, converter, expressions, harmony, key, meter, note, stream

from datasets.errors import NotationError
from datasets.notation import CHORD, FERMATA, KEYS, TIE, format_semantic, parse
from tests.crosscheck.bars import Bar, Staff, is_clef

FORMATS: Mapping[str, str] = {
    ".abc": "abc",
    ".krn": "humdrum",
    ".mxl": "musicxml",
    ".musicxml": "musicxml",
    ".xml": "musicxml",
}
"""music21's name of each format, by the suffix of its files."""

_DURATIONS = {
    "longa": "quadruple_whole",
    "breve": "double_whole",
    "whole": "whole",
    "half": "half",
    "quarter": "quarter",
    "eighth": "eighth",
    "16th": "sixteenth",
    "32nd": "thirty_second",
    "64th": "sixty_fourth",
    "128th": "hundred_twenty_eighth",
}
_PRINTED = {"flat": "b", "double-flat": "bb", "natural": "N", "sharp": "#", "double-sharp": "##"}
_SOUNDING = {-2: "bb", -1: "b", 0: "", 1: "#", 2: "##"}
_METER_SIGNS = {"common": "C", "cut": "C/"}
_ABC_RULES = "%abc-2.1\n%%propagate-accidentals octave\n"
"""An accidental holds to the end of its bar, in its octave: what a player reads in the drawing."""


class UnsaidError(ValueError):
    """Something that the encoding has no word for."""


def second_reading(text: str, suffix: str) -> list[Staff]:
    """The staves of a score, top first.

    Args:
        text: the score; of a compressed file, what was compressed.
        suffix: of its file; one of `FORMATS`.
    """
    if suffix == ".abc":
        text = _ABC_RULES + text
    # music21 would split the measures of a tune in ABC that are longer than its meter; here they stay as written.
    with patch("music21.abcFormat.translate.reBar"):
        score = converter.parse(text, format=FORMATS[suffix], forceSource=True)
    return [_StaffReader().bars(part) for part in score.getElementsByClass(stream.Part)]


@dataclass(frozen=True)
class _Head:
    """A note, with the accidental that is printed and the alteration that sounds."""

    rhythm: str
    pitch: str
    printed: str
    sounding: str
    tied_on: bool
    tied_from: bool

    def text(self, lift: str) -> str:
        kind, _, value = self.rhythm.partition("-")
        return f"{kind}-{self.pitch[0]}{lift}{self.pitch[1:]}_{value}"


@dataclass
class _Place:
    """What stands at one place: notes, or the word of a clef or a rest.

    Attributes:
        tied: whether a tie follows.
        reached: whether the tie of the place before ends here.
    """

    word: str = ""
    heads: tuple[_Head, ...] = ()
    tied: bool = False
    reached: bool = False

    @property
    def takes_time(self) -> bool:
        """Neither a clef nor grace notes, which ties pass over."""
        return not is_clef(self.word) and not any(head.rhythm.startswith("grace") for head in self.heads)

    def leads_to(self, following: _Place) -> bool:
        """Whether there is a tie between the two that can be said."""
        if len(self.heads) != 1 or len(following.heads) != 1:
            return False
        (first,), (second,) = self.heads, following.heads
        is_same = first.pitch == second.pitch and first.sounding == second.sounding and not second.printed
        return is_same and first.tied_on and second.tied_from

    def printed(self) -> list[str]:
        return self._words([head.text(head.printed) for head in self.heads])

    def sounding(self) -> list[str]:
        return self._words([head.text(head.sounding) for head in self.heads])

    def _words(self, notes: Sequence[str]) -> list[str]:
        word = format_semantic(parse(CHORD.join(notes))) if notes else self.word
        return [word, TIE] if self.tied else [word]


@dataclass
class _Draft:
    """A bar before its ties are set."""

    bar: Bar
    places: list[_Place] = field(default_factory=list)

    def finished(self) -> Bar:
        try:
            printed = tuple(word for place in self.places for word in place.printed())
            sounding = tuple(word for place in self.places for word in place.sounding())
        except NotationError as error:
            return replace(self.bar, problem=str(error))
        untold = {head.pitch for place in self.places for head in place.heads if head.tied_from and not place.reached}
        return replace(self.bar, printed=printed, sounding=sounding, tied=frozenset(untold))


class _StaffReader:
    """Reads the measures of a part in order and keeps the clef and the key in force."""

    def __init__(self) -> None:
        self.clef = ""
        self.key = _key_word(0)

    def bars(self, part: stream.Part) -> Staff:
        """The bars that hold anything."""
        drafts = [self._draft(measure) for measure in part.getElementsByClass(stream.Measure)]
        timed = [place for draft in drafts for place in draft.places if place.takes_time]
        for place, following in pairwise(timed):
            place.tied = following.reached = place.leads_to(following)
        return [draft.finished() for draft in drafts if draft.places or draft.bar.problem]

    def _draft(self, measure: stream.Measure) -> _Draft:
        """Read a measure. Of several signatures at its start the last holds: some converters leave the one before."""
        onsets = [elements for _, elements in sorted(_by_onset(measure).items())]
        opening = onsets[0] if onsets else []
        for signature in _of(key.KeySignature, opening):
            self.key = _key_word(signature.sharps)
        meters = [_meter_word(signature) for signature in _of(meter.TimeSignature, opening)]
        bar = Bar(self.clef, self.key, "".join(meters[-1:]))
        try:
            places = [place for elements in onsets for place in _places(elements)]
        except UnsaidError as error:
            for one in _of(clef.Clef, [element for elements in onsets for element in elements]):
                self.clef = _clef_word(one)
            return _Draft(replace(bar, problem=str(error)))
        start = next((number for number, place in enumerate(places) if not is_clef(place.word)), len(places))
        for place in places[:start]:
            self.clef = place.word
        bar = replace(bar, clef=self.clef)
        inner = list(self._news(places[start:]))
        while inner and is_clef(inner[-1].word):
            inner.pop()
        return _Draft(bar, inner)

    def _news(self, places: Sequence[_Place]) -> Iterator[_Place]:
        """The places without clefs that change nothing."""
        for place in places:
            if is_clef(place.word):
                if place.word == self.clef:
                    continue
                self.clef = place.word
            yield place


def _by_onset(measure: stream.Measure) -> dict[Any, list[Any]]:
    """What the measure holds, voice after voice, by the quarter notes since its start (fractions are exact)."""
    onsets: dict[Any, list[Any]] = defaultdict(list)
    for element in measure.elements:
        if isinstance(element, stream.Voice):
            for inner in element.elements:
                onsets[element.offset + inner.offset].append(inner)
        else:
            onsets[element.offset].append(element)
    return onsets


def _places(elements: Sequence[Any]) -> Iterator[_Place]:
    """What one onset writes."""
    for one in _of(clef.Clef, elements):
        yield _Place(_clef_word(one))
    sounds = [one for one in _of(note.GeneralNote, elements) if _is_written(one)]
    for one in sounds:
        if one.duration.isGrace:
            yield _Place(heads=_heads(one, "gracenote"))
    timed = [one for one in sounds if not one.duration.isGrace]
    heads = _without_unisons([head for one in timed if not one.isRest for head in _heads(one, "note")])
    rests = {_rest_word(one) for one in timed if one.isRest}
    if len(rests) > 1 or (rests and heads):
        raise UnsaidError("a rest beneath something else")
    if rests or heads:
        yield _Place(word="".join(rests), heads=heads)


def _without_unisons(heads: Sequence[_Head]) -> tuple[_Head, ...]:
    """Of heads with one pitch and one value, the one that prints an accidental."""
    by_value: dict[tuple[str, str, str], _Head] = {}
    for head in sorted(heads, key=lambda head: head.printed):
        by_value[head.pitch, head.rhythm, head.sounding] = head
    return tuple(by_value.values())


def _of(kind: type[Any], elements: Sequence[Any]) -> list[Any]:
    return [element for element in elements if isinstance(element, kind)]


def _is_written(one: note.GeneralNote) -> bool:
    return not isinstance(one, harmony.Harmony | note.Unpitched) and not one.style.hideObjectOnPrint


def _heads(one: note.Note | chord.Chord, kind: str) -> tuple[_Head, ...]:
    rhythm = _rhythm(one, kind)
    return tuple(_head(single, rhythm) for single in (one.notes if isinstance(one, chord.Chord) else (one,)))


def _head(single: note.Note, rhythm: str) -> _Head:
    accidental = single.pitch.accidental
    tie = single.tie.type if single.tie else ""
    if accidental is not None and (accidental.name not in _PRINTED or accidental.alter not in _SOUNDING):
        raise UnsaidError(f"accidental {accidental.name}")
    return _Head(
        rhythm=rhythm,
        pitch=f"{single.pitch.step}{single.pitch.octave}",
        printed=_PRINTED[accidental.name] if accidental is not None and accidental.displayStatus else "",
        sounding=_SOUNDING[int(accidental.alter)] if accidental is not None else "",
        tied_on=tie in ("start", "continue"),
        tied_from=tie in ("stop", "continue"),
    )


def _rhythm(one: note.GeneralNote, kind: str) -> str:
    if one.duration.type not in _DURATIONS or one.duration.dots > 2:
        raise UnsaidError(f"duration {one.duration.fullName}")
    fermata = FERMATA if _of(expressions.Fermata, one.expressions) else ""
    return f"{kind}-{_DURATIONS[one.duration.type]}{'.' * one.duration.dots}{fermata}"


def _rest_word(rest: note.Rest) -> str:
    return "rest-whole" if rest.fullMeasure is True else _rhythm(rest, "rest")


def _clef_word(one: clef.Clef) -> str:
    octave = f" with octave {one.octaveChange}" if one.octaveChange else ""
    return f"clef-{one.sign}{one.line}{octave}"


def _key_word(sharps: int) -> str:
    return f"keySignature-{KEYS[KEYS.index('CM') + sharps]}"


def _meter_word(signature: meter.TimeSignature) -> str:
    if signature.symbol in _METER_SIGNS:
        return f"timeSignature-{_METER_SIGNS[signature.symbol]}"
    return f"timeSignature-{signature.ratioString}"
