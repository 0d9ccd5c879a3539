"""From the alteration that sounds to the accidental that is printed, and back.

Corpora label what sounds: in D major every F is `F#`. A model sees what is printed, so it learns that: a lift
is there only if an accidental stands before the note, "N" for a natural. Between the two lies what a player
keeps in mind, and what `_Staff` holds for both directions:

- the key signature, for its steps in every octave; a new one, also within a bar, starts afresh;
- the accidentals printed in this bar, each for its step in its octave, until the next barline;
- ties: a note tied to one of the same step, octave and alteration carries no accidental, also over a barline,
  and leaves no mark on the new bar. Tied to another alteration, it always prints its own.

Only a printed accidental changes the memory of the bar, which is why both directions stay in step and
`printed_to_sounding(sounding_to_printed(x)) == x` for every label x. Courtesy accidentals are not produced;
read, they do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from datasets.errors import NotationError
from datasets.notation import BARLINE, KEY_ALTERATIONS, TIE, Symbol, events


def sounding_to_printed(symbols: Iterable[Symbol]) -> list[Symbol]:
    """Replace every alteration that sounds by the accidental that is printed.

    Raises:
        NotationError: a natural sign ("N") in the input: such a label is not a sounding one.
    """
    staff = _Staff()
    printed: list[Symbol] = []
    for event in events(symbols):
        written = [staff.write(symbol, event) if symbol.is_note else symbol for symbol in event]
        staff.advance(written, event)
        printed += written
    return printed


def printed_to_sounding(symbols: Iterable[Symbol]) -> list[Symbol]:
    """Replace every printed accidental, or its absence, by the alteration that sounds ("" for a natural)."""
    staff = _Staff()
    sounding: list[Symbol] = []
    for event in events(symbols):
        heard = [staff.read(symbol) if symbol.is_note else symbol for symbol in event]
        staff.advance(event, heard)
        sounding += heard
    return sounding


class _Staff:
    """What a player remembers while reading along a staff. Alterations are those that sound."""

    def __init__(self) -> None:
        self._key: Mapping[str, str] = {}  # by step
        self._bar: dict[str, str] = {}  # by pitch: accidentals printed since the barline
        self._tied: dict[str, str] = {}  # by pitch: notes that a tie leads on to the next note
        self._last: dict[str, str] = {}  # by pitch: the notes of the event before

    def write(self, note: Symbol, event: Sequence[Symbol]) -> Symbol:
        """The note as printed. Unisons of different alteration within a chord all print theirs."""
        if note.lift == "N":
            raise NotationError(f"'{note}': a natural sign in a label of what sounds, where a natural is no sign")
        clashes = any(other.pitch == note.pitch and other.lift != note.lift for other in event)
        needs_accidental = clashes or note.lift != self._unmarked(note)
        return replace(note, lift=(note.lift or "N") if needs_accidental else "")

    def read(self, note: Symbol) -> Symbol:
        """The note as it sounds."""
        return replace(note, lift=_sound(note.lift) if note.lift else self._unmarked(note))

    def advance(self, printed: Sequence[Symbol], sounding: Sequence[Symbol]) -> None:
        """Go past one event, given in both forms."""
        first = printed[0]
        if any(symbol.is_note for symbol in printed):
            self._pass_notes(printed, sounding)
        elif first.rhythm == BARLINE:
            self._bar.clear()
        elif first.rhythm == TIE:
            self._tied |= self._last
        elif first.kind == "keySignature":
            self._key = KEY_ALTERATIONS[first.rhythm.removeprefix("keySignature-")]
            self._bar.clear()
        elif first.is_rest:
            self._tied.clear()

    def _pass_notes(self, printed: Sequence[Symbol], sounding: Sequence[Symbol]) -> None:
        self._bar |= {note.pitch: _sound(note.lift) for note in printed if note.lift}
        self._last = {note.pitch: note.lift for note in sounding if note.is_note}
        if not printed[0].is_grace:  # a tie passes over grace notes
            self._tied.clear()

    def _unmarked(self, note: Symbol) -> str:
        """What a note without an accidental sounds like here."""
        if note.pitch in self._tied and not note.is_grace:
            return self._tied[note.pitch]
        return self._bar.get(note.pitch, self._key.get(note.pitch[0], ""))


def _sound(accidental: str) -> str:
    return "" if accidental == "N" else accidental
