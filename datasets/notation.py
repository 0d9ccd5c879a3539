"""The PrIMuS semantic encoding: text to symbols and back.

    clef-G2 keySignature-DM timeSignature-3/4 note-F#5_quarter|note-D5_quarter rest-half barline

A staff is a sequence of `Symbol`. A chord is its notes with the joiner "|", a symbol of its own, between
them: that is what the decoder predicts, one step each. `parse` is strict and puts the notes of every chord in
one order, so that one image has one encoding; `format_semantic` writes whatever it is given, because a model
may predict a joiner after a barline and the report should still show it.

Whether a lift is what sounds or what is printed is the label's business: see `datasets.accidentals`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from datasets.errors import NotationError

STEPS = "CDEFGAB"  # lowest first within an octave
LIFTS = ("bb", "b", "", "N", "#", "##")  # lowest first; "" is no accidental, "N" a printed natural
DURATIONS = (
    "quadruple_whole",
    "double_whole",
    "whole",
    "half",
    "quarter",
    "eighth",
    "sixteenth",
    "thirty_second",
    "sixty_fourth",
    "hundred_twenty_eighth",
)
CLEFS = ("C1", "C2", "C3", "C4", "C5", "F3", "F4", "F5", "G1", "G2")  # those of PrIMuS
KEYS = ("CbM", "GbM", "DbM", "AbM", "EbM", "BbM", "FM", "CM", "GM", "DM", "AM", "EM", "BM", "F#M", "C#M")

CHORD, BARLINE, TIE = "|", "barline", "tie"
FERMATA = "_fermata"

_SHARPS = "FCGDAEB"  # the order in which a key signature takes them; flats go backwards


def _alterations(fifths: int) -> Mapping[str, str]:
    steps = _SHARPS[:fifths] if fifths >= 0 else _SHARPS[fifths:]
    return MappingProxyType(dict.fromkeys(steps, "#" if fifths > 0 else "b"))


KEY_ALTERATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {key: _alterations(fifths) for fifths, key in enumerate(KEYS, start=-KEYS.index("CM"))}
)
"""For each major key the steps that it alters: `KEY_ALTERATIONS["DM"] == {"F": "#", "C": "#"}`."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """One step of the encoding.

    Attributes:
        rhythm: the token without pitch and accidental ("note-quarter.", "rest-half", "clef-G2", "|").
        pitch: step and octave of a note ("C4"), "" for anything else.
        lift: one of `LIFTS`; "" for anything but a note.
    """

    rhythm: str
    pitch: str = ""
    lift: str = ""

    @property
    def kind(self) -> str:
        """What stands before the hyphen: "note", "gracenote", "rest", "clef", "barline", ..."""
        return self.rhythm.partition("-")[0]

    @property
    def is_note(self) -> bool:
        """A note or a grace note: what has a pitch and a lift."""
        return self.kind in ("note", "gracenote")

    @property
    def is_grace(self) -> bool:
        return self.kind == "gracenote"

    @property
    def is_rest(self) -> bool:
        """A rest or a rest of several bars."""
        return self.kind in ("rest", "multirest")

    def __str__(self) -> str:
        if not self.is_note:
            return self.rhythm
        kind, _, form = self.rhythm.partition("-")
        return f"{kind}-{self.pitch[:1]}{self.lift}{self.pitch[1:]}_{form}"


def parse(text: str) -> list[Symbol]:
    """Read a semantic encoding: tokens apart by white space or "+", chord notes joined by "|".

    The notes of a chord come out highest first (by octave and step, then lift, then rhythm), whatever their
    order in the text. An empty text, the label of a strip without music, is an empty list.

    Raises:
        NotationError: a token that is none, with its number (from 1) and what is allowed.
    """
    symbols: list[Symbol] = []
    for number, token in enumerate(text.replace("+", " ").split(), start=1):
        try:
            symbols += _parse_token(token)
        except NotationError as error:
            raise NotationError(f"token {number}, '{token}': {error}") from None
    return symbols


def parse_written(text: str) -> list[Symbol]:
    """The exact inverse of `format_semantic`, of whatever a model wrote: joiners anywhere, chords in their order.

    Raises:
        NotationError: a part of the text that is no symbol.
    """
    return [
        Symbol(CHORD) if part == CHORD else _parse_symbol(part)
        for token in text.split()
        for part in re.findall(r"\||[^|]+", token)
    ]


def format_semantic(symbols: Sequence[Symbol]) -> str:
    """Write symbols as text with single spaces, chords as `a|b|c`; the inverse of `parse`."""
    return " ".join("".join(map(str, event)) for event in events(symbols))


def events(symbols: Iterable[Symbol]) -> list[list[Symbol]]:
    """Group a sequence into what stands at one place: a chord with its joiners, or a single symbol."""
    groups: list[list[Symbol]] = []
    joined = False
    for symbol in symbols:
        is_joiner = symbol.rhythm == CHORD
        if groups and (joined or is_joiner):
            groups[-1].append(symbol)
        else:
            groups.append([symbol])
        joined = is_joiner
    return groups


class _Form(NamedTuple):
    """How the tokens of one kind look: as a pattern, and in words for the error message."""

    pattern: re.Pattern[str]
    words: str


def _forms() -> dict[str, _Form]:
    duration = rf"(?:{'|'.join(DURATIONS)})\.{{0,2}}"
    pitched = r"-([A-G])(##|#|bb|b|N)?([0-9])_"
    lengths = f"a duration ({', '.join(DURATIONS)}) with at most two dots"
    pitch_words = "<step A-G><accidental #, ##, b, bb, N or none><octave 0-9>_<duration>"
    forms = {
        "note": (
            rf"{pitched}({duration}(?:{FERMATA})?)",
            f"note-{pitch_words}, {lengths}, {FERMATA} or nothing",
        ),
        "gracenote": (f"{pitched}({duration})", f"gracenote-{pitch_words}, {lengths}"),
        "rest": (rf"-{duration}(?:{FERMATA})?", f"rest-<duration>, {lengths}, {FERMATA} or nothing"),
        "multirest": (r"(?:-[1-9][0-9]*)?", "multirest-<bars>, or multirest where the number is left out"),
        "clef": (r"-[CFG][1-5]", "clef-<C, F or G><line 1-5>"),
        "keySignature": (rf"-(?:{'|'.join(KEYS)})", f"keySignature-<key>, a key among {', '.join(KEYS)}"),
        "timeSignature": (
            r"-(?:C/?|(?:[1-9][0-9]*)?/[1-9][0-9]*)",
            "timeSignature-<beats>/<unit>, /<unit>, C or C/",
        ),
        BARLINE: ("", BARLINE),
        TIE: ("", TIE),
    }
    return {kind: _Form(re.compile(kind + pattern), words) for kind, (pattern, words) in forms.items()}


_FORMS = _forms()


def _parse_token(token: str) -> list[Symbol]:
    notes = [_parse_symbol(part) for part in token.split(CHORD)]
    if len(notes) == 1:
        return notes
    if not (all(note.kind == "note" for note in notes) or all(note.is_grace for note in notes)):
        raise NotationError(f"'{CHORD}' joins notes with notes, or grace notes with grace notes")
    first, *others = sorted(notes, key=height, reverse=True)
    return [first, *(symbol for note in others for symbol in (Symbol(CHORD), note))]


def _parse_symbol(text: str) -> Symbol:
    kind = text.partition("-")[0]
    if kind not in _FORMS:
        raise NotationError(f"'{kind}' is no kind of symbol; there are {', '.join(_FORMS)}")
    match = _FORMS[kind].pattern.fullmatch(text)
    if match is None:
        raise NotationError(f"'{text}' is not of the form {_FORMS[kind].words}")
    if not match.groups():
        return Symbol(text)
    step, lift, octave, form = match.groups()
    return Symbol(f"{kind}-{form}", step + octave, lift or "")


def height(note: Symbol) -> tuple[str, int, int, str]:
    """What the notes of a chord are sorted by, the highest first: octave, step, accidental, rhythm."""
    return note.pitch[1], STEPS.index(note.pitch[0]), LIFTS.index(note.lift), note.rhythm
