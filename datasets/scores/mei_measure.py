"""One measure of one staff, from MEI to symbols: its voices read, and written one after the other or by onset."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from datasets.notation import CHORD, FERMATA, TIE, Symbol, height
from datasets.scores.measures import Measure
from datasets.scores.mei_layers import NOT_DRAWN_AGAIN, Event, Voice
from datasets.scores.mei_symbols import (
    XML_ID,
    MeiError,
    clef,
    clef_symbol,
    is_hidden,
    key,
    note_symbol,
    rhythm,
    sounding_accidental,
)

EMPTY = "an empty measure"
_PROBLEMS = {
    "octave": "an octave line",
    "ossia": "an ossia",
    "tupletSpan": "a tuplet across beams",
}


@dataclass
class Note:
    """What a tie may start or end at: a note outside chords and grace notes. One without an id keeps its neighbours
    from being tied across a chord or a rest."""

    id: str = ""
    pitch: str = ""
    lift: str = ""
    index: int = 0


@dataclass(frozen=True)
class _Head:
    """A note head, and how it sounds: two of one pitch and value are one head on paper if they sound alike."""

    symbol: Symbol
    sounding: str

    def covers(self, other: _Head) -> bool:
        """Whether the other head disappears behind this one."""
        same_place = (self.symbol.pitch, self.sounding) == (other.symbol.pitch, other.sounding)
        return same_place and _without_fermata(self.symbol) == _without_fermata(other.symbol)

    def merged(self, other: _Head) -> _Head:
        """Both as one: an accidental or a fermata of either."""
        lasting = max(self.symbol.rhythm, other.symbol.rhythm, key=len)
        return replace(self, symbol=replace(self.symbol, rhythm=lasting, lift=self.symbol.lift or other.symbol.lift))


@dataclass
class Draft:
    """A measure while it is read.

    Attributes:
        clef, key, changes: as in `Measure`.
        fermatas: ids of what a fermata stands above.
        unsaid: why the clef or the key (by these names) in force at its start cannot be said. A measure with notes
            is a problem then, and `clef` and `key` are those before.
        notes: what may be tied, in the order of the symbols.
        clef_after, key_after, unsaid_after: the same at its end.
    """

    clef: Symbol
    key: Symbol
    changes: list[Symbol]
    fermatas: set[str]
    unsaid: Mapping[str, str] = field(default_factory=dict)
    symbols: list[Symbol] = field(default_factory=list)
    beams: list[tuple[int, int]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    open_tie: int | None = None
    problem: str = ""

    def __post_init__(self) -> None:
        self.clef_after, self.key_after, self.unsaid_after = self.clef, self.key, dict(self.unsaid)

    def read_single_voice(self, measure: ET.Element, number: str) -> None:
        """Read the only voice of the staff with this number; anything else is a problem."""
        staff = measure.find(f"staff[@n='{number}']")
        layers = [] if staff is None else staff.findall("layer")
        try:
            if len(layers) != 1:
                raise MeiError("several voices")
            self._write_voice(_voice(layers[0], Voice(refused=NOT_DRAWN_AGAIN)))
            self._check_unsaid()
        except MeiError as error:
            self._give_up(str(error), staff)

    def read_staff(self, measure: ET.Element, number: str, ppq: int) -> None:
        """Read all voices of the staff with this number."""
        staff = measure.find(f"staff[@n='{number}']")
        try:
            _check(measure, staff, number)
            voices = [_voice(layer, Voice(ppq)) for layer in staff.iterfind("layer")] if staff is not None else []
            sounding = [voice for voice in voices if voice.events]
            if len(sounding) == 1:
                self._write_voice(sounding[0])
            else:
                self._write_by_onset(sounding)
            if not self.symbols:
                raise MeiError(EMPTY)
            self._check_unsaid()
        except MeiError as error:
            self._give_up(str(error), staff)

    def measure(self) -> Measure:
        """What was read."""
        return Measure(
            clef=self.clef,
            key=self.key,
            changes=tuple(self.changes),
            symbols=tuple(self.symbols),
            beams=tuple(self.beams),
            open_tie=self.open_tie,
            problem=self.problem,
        )

    def insert_tie(self, index: int, leaves_measure: bool) -> None:
        """Put a tie after the note at `index`; called from the last note to the first."""
        self.symbols.insert(index + 1, Symbol(TIE))
        self.beams = [(start + (start > index), end + (end > index)) for start, end in self.beams]
        if self.open_tie is not None:
            self.open_tie += 1
        if leaves_measure:
            self.open_tie = index + 1

    def _check_unsaid(self) -> None:
        if self.symbols and self.unsaid:
            raise MeiError(next(iter(self.unsaid.values())))

    def _give_up(self, problem: str, staff: ET.Element | None) -> None:
        """Mark the measure; what is kept of it are the clef and the key in force at its end."""
        self.problem = problem
        if staff is not None:
            self.clef_after = self._last("clef", clef, staff) or self.clef_after
            self.key_after = self._last("key", key, staff) or self.key_after

    def _last(self, name: str, find: Callable[[ET.Element], Symbol | None], staff: ET.Element) -> Symbol | None:
        """The last clef or key in the measure, None if there is none or it cannot be said, which is noted."""
        try:
            symbol = find(staff)
        except MeiError as error:
            self.unsaid_after[name] = str(error)
            return None
        if symbol:
            self.unsaid_after.pop(name, None)
        return symbol

    def _write_voice(self, voice: Voice) -> None:
        places: list[range] = []
        for event in voice.events:
            start = len(self.symbols)
            self._write([event])
            places.append(range(start, len(self.symbols)))
        for beam in voice.beams:
            self._beam([index for place in places[beam.start : beam.stop] for index in place])

    def _beam(self, inside: Sequence[int]) -> None:
        notes = [index for index in inside if self.symbols[index].is_note]
        # Grace notes before the first note stay outside, as an engraver would have it.
        beamed = [index for index in notes if not self.symbols[index].is_grace] or notes
        if len(beamed) > 1:
            self.beams.append((beamed[0], beamed[-1]))

    def _write_by_onset(self, voices: Sequence[Voice]) -> None:
        moments: defaultdict[Fraction, list[list[Event]]] = defaultdict(lambda: [[] for _ in voices])
        for number, voice in enumerate(voices):
            for event in voice.events:
                moments[event.onset][number].append(event)
        for onset in sorted(moments):
            self._moment(moments[onset])

    def _moment(self, voices: Sequence[Sequence[Event]]) -> None:
        """What begins together, each voice's events in their order: clefs, then grace notes, then the rest."""
        events = [event for voice in voices for event in voice]
        clefs = [event for event in events if event.element.tag == "clef"]
        graces = [[event for event in voice if event.is_grace] for voice in voices]
        if sum(map(bool, graces)) > 1:
            raise MeiError("grace notes in two voices at once")
        for event in (*clefs, *(grace for voice in graces for grace in voice)):
            self._write([event])
        together = [event for event in events if event not in clefs and not event.is_grace]
        if together:
            self._write(together)

    def _write(self, events: Sequence[Event]) -> None:
        """Write what stands at one place: a clef, notes, or rests."""
        rests = [event for event in events if event.element.tag in _RESTS]
        if rests and len(rests) < len(events):
            raise MeiError("a rest beneath a note")
        if rests:
            self._write_rest(rests)
        elif events[0].element.tag == "clef":
            self._write_clef(events[0].element)
        else:
            self._write_notes(events)

    def _write_clef(self, element: ET.Element) -> None:
        symbol = clef_symbol(element)
        if symbol != self.clef_after:
            self.clef_after = symbol
            self.symbols.append(symbol)

    def _write_rest(self, events: Sequence[Event]) -> None:
        rests = {self._rest(event.element) for event in events}
        if len(rests) > 1:
            raise MeiError("different rests at once")
        symbol = rests.pop()
        self.symbols.append(symbol)
        if events[0].element.tag == "rest":
            self.notes.append(Note())

    def _rest(self, element: ET.Element) -> Symbol:
        fermata = self._fermata(element)
        if element.tag == "rest":
            return Symbol(rhythm(element, fermata, kind="rest"))
        count = int(element.get("num", "1"))
        return Symbol(f"multirest-{count}" if count > 1 else f"rest-whole{FERMATA if fermata else ''}")

    def _write_notes(self, events: Sequence[Event]) -> None:
        heads: list[_Head] = []
        for event in events:
            heads = _together(heads, self._heads(event.element))
        symbols = sorted((head.symbol for head in heads), key=height, reverse=True)
        if len(events) > 1 or events[0].element.tag == "chord":
            # Verovio's ABC reader ties a chord at one of its notes only, which the encoding cannot say.
            self.notes.append(Note())
        elif not events[0].is_grace:
            note_id = events[0].element.get(XML_ID, "")
            self.notes.append(Note(note_id, symbols[0].pitch, symbols[0].lift, len(self.symbols)))
        for symbol in symbols:
            self.symbols += (symbol, Symbol(CHORD))
        self.symbols.pop()

    def _heads(self, element: ET.Element) -> list[_Head]:
        """The heads of a note or a chord."""
        value = rhythm(element, self._fermata(element))
        notes = [note for note in element.iter("note") if not is_hidden(note)]
        heads = [_Head(note_symbol(note, value), sounding_accidental(note)) for note in notes]
        if len({head.symbol.pitch for head in heads}) < len(heads):
            raise MeiError("unison in a chord")
        return heads

    def _fermata(self, element: ET.Element) -> bool:
        return bool(element.get("fermata")) or element.get(XML_ID) in self.fermatas


_MEASURE_RESTS = frozenset({"mRest", "multiRest"})
_RESTS = _MEASURE_RESTS | {"rest"}


def _voice(layer: ET.Element, voice: Voice) -> Voice:
    voice.read(layer)
    things = [event.element.tag for event in voice.events if event.element.tag != "clef"]
    if len(things) > 1 and not _MEASURE_RESTS.isdisjoint(things):
        raise MeiError("a measure rest among notes")
    return voice


def _check(measure: ET.Element, staff: ET.Element | None, number: str) -> None:
    """Raise MeiError for what concerns a measure as a whole."""
    for tag, words in _PROBLEMS.items():
        if any(number in element.get("staff", number).split() for element in measure.iter(tag)):
            raise MeiError(words)
    if measure.get("right") == "invis":
        raise MeiError("a measure without a barline")
    if staff is not None and is_hidden(staff):
        raise MeiError("a hidden staff")
    for each in measure.iterfind("staff"):
        for element in each.iter():
            drawn_on = element.get("staff", each.get("n"))
            if drawn_on != each.get("n") and number in (drawn_on, each.get("n")):
                raise MeiError("a voice that changes staves")


def _together(upper: Sequence[_Head], lower: Sequence[_Head]) -> list[_Head]:
    """The heads of two voices as one chord."""
    heads = list(upper)
    for head in lower:
        same = next((index for index, other in enumerate(heads) if other.covers(head)), None)
        if same is None:
            heads.append(head)
        else:
            heads[same] = heads[same].merged(head)
    return heads


def _without_fermata(symbol: Symbol) -> str:
    return symbol.rhythm.removesuffix(FERMATA)
