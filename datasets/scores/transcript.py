"""Any sequence of symbols as something that can be written: staves of measures of events.

A label is grammatical; what a model writes need not be. It begins with a joiner, ties a note to a rest, forgets the
clef. `transcribe` takes all of it: nothing that would be printed is dropped, what can be mended is, and what was done
about it is said in `remarks`. Every event keeps the indices of its symbols, so that what is written leads back to them.

Choices:
    - A clef followed by a key signature opens a staff (`datasets.scores.score.grand_label`); a clef alone is a change.
    - Notes that are joined begin together, each with its own value. The shortest says when the next event comes; notes
      of another value, or of a pitch that is there already, go into a voice of their own.
    - A tie leads from the last note to the next that is no grace note, over barlines and signs, from every pitch to the
      same one if both sound alike. One that leads nowhere is left open, as a player writes it to let a note ring.
    - A rest of several measures has a measure of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from datasets.accidentals import printed_to_sounding
from datasets.notation import CHORD, DURATIONS, FERMATA, TIE, Symbol, events

SIGNS = ("clef", "keySignature", "timeSignature")

_LONGEST = 16  # quarters of the first of `DURATIONS`; each of the others is half the one before
_WHOLE_NOTE = 4  # quarters


@dataclass(frozen=True)
class Head:
    """A note of a chord, or a note alone.

    Attributes:
        index: of its symbol.
        lift: the alteration that sounds; the symbol has the accidental that is printed.
    """

    index: int
    symbol: Symbol
    lift: str


@dataclass(frozen=True)
class Event:
    """What stands at one place in a voice: a chord, a note, a rest, a clef or another sign.

    Attributes:
        index: of its symbol, the first one of a chord.
        symbol: the same symbol; of a meter that says its unit alone, with the beats that were counted.
        onset: quarters since the start of the measure.
        lasts: quarters; 0 for a grace note, a sign, and a rest of several measures.
        heads: of notes, in the order of the symbols.
    """

    index: int
    symbol: Symbol
    onset: Fraction = Fraction(0)
    lasts: Fraction = Fraction(0)
    heads: tuple[Head, ...] = ()

    @property
    def is_sign(self) -> bool:
        """A clef, a key signature or a meter."""
        return self.symbol.kind in SIGNS

    @property
    def end(self) -> Fraction:
        """Quarters from the start of the measure to the end of the event."""
        return self.onset + self.lasts

    @property
    def has_fermata(self) -> bool:
        return self.symbol.rhythm.endswith(FERMATA)


@dataclass(frozen=True)
class WrittenMeasure:
    """One measure of one staff.

    Attributes:
        changes: the key signature and the meter at its start, one of each at most.
        voices: the first holds every event but the notes that last beyond those they are joined with.
        barline: index of the barline that closes it, or None.
    """

    changes: tuple[Event, ...]
    voices: tuple[tuple[Event, ...], ...]
    barline: int | None

    @property
    def is_measure_rest(self) -> bool:
        """Whether it holds a whole rest alone, which stands for a measure of any length."""
        timed = [event for voice in self.voices for event in voice if not event.is_sign]
        return len(timed) == 1 and timed[0].symbol.rhythm.removesuffix(FERMATA) == "rest-whole"

    @property
    def lasts(self) -> Fraction:
        """Quarters until the last event has ended."""
        return max((event.end for voice in self.voices for event in voice), default=Fraction(0))


@dataclass(frozen=True)
class Tie:
    """A tie.

    Attributes:
        index: of its symbol.
        pairs: indices of the notes that it joins, one pair a pitch; where it leads nowhere, the second is None.
    """

    index: int
    pairs: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True)
class WrittenStaff:
    """One staff.

    Attributes:
        opening: its first clef, key signature and meter, as far as they are there.
    """

    opening: tuple[Event, ...]
    measures: tuple[WrittenMeasure, ...]
    ties: tuple[Tie, ...]


@dataclass(frozen=True)
class Transcript:
    """What is to be written.

    Attributes:
        staves: the upper one first; at least one.
        remarks: what was mended, a line each, with how often.
    """

    staves: tuple[WrittenStaff, ...]
    remarks: tuple[str, ...]


def transcribe(symbols: Sequence[Symbol]) -> Transcript:
    """Whatever a model or a label says, as staves that can be written. Never raises for symbols of a vocabulary."""
    said: Counter[str] = Counter()
    numbered = [(index, symbol) for index, symbol in enumerate(symbols) if _is_kept(symbols, index)]
    said["a joiner that joins nothing is left out"] = len(symbols) - len(numbered)
    staves = [_StaffTranscriber(part, said).staff() for part in _parts(numbered)]
    remarks = [f"{what} ({count} x)" for what, count in said.items() if count]
    lengths = [sum(map(_measures_taken, staff.measures)) for staff in staves]
    if len(set(lengths)) > 1:
        remarks.append(f"the staves have different numbers of measures ({', '.join(map(str, lengths))})")
    return Transcript(tuple(staves), tuple(remarks))


def multirest_length(symbol: Symbol) -> int:
    """How many measures a rest takes; 1 where the number is left out."""
    return int(symbol.rhythm.partition("-")[2] or 1)


_Numbered = tuple[int, Symbol]


def _is_kept(symbols: Sequence[Symbol], index: int) -> bool:
    """Whether a symbol is no joiner, or one between two notes, or two grace notes."""
    if symbols[index].rhythm != CHORD:
        return True
    before, after = symbols[max(0, index - 1) : index], symbols[index + 1 : index + 2]
    return bool(before and after) and before[0].is_note and after[0].kind == before[0].kind


def _parts(numbered: Sequence[_Numbered]) -> list[list[_Numbered]]:
    """The symbols of each staff."""
    parts: list[list[_Numbered]] = [[]]
    for place, (index, symbol) in enumerate(numbered):
        following = numbered[place + 1][1].kind if place + 1 < len(numbered) else ""
        opens = symbol.kind == "clef" and following == "keySignature"
        if opens and any(each.kind not in SIGNS for _, each in parts[-1]):
            parts.append([])
        parts[-1].append((index, symbol))
    return parts


@dataclass
class _Draft:
    """A measure while it is filled."""

    changes: list[Event] = field(default_factory=list)
    voices: list[list[Event]] = field(default_factory=lambda: [[]])
    now: Fraction = Fraction(0)

    @property
    def timed(self) -> list[Event]:
        return [event for event in self.voices[0] if not event.is_sign]


class _StaffTranscriber:
    """Walks the symbols of one staff once."""

    def __init__(self, numbered: Sequence[_Numbered], said: Counter[str]) -> None:
        self.said = said
        self.numbered = numbered
        self.opening: list[Event] = []
        self.draft = _Draft()
        self.measures: list[WrittenMeasure] = []
        self.ties: list[Tie] = []
        self.last: tuple[Head, ...] = ()  # the notes that a tie may come from
        self.open_tie: int | None = None
        self.tied_from: tuple[Head, ...] = ()

    def staff(self) -> WrittenStaff:
        for index, symbol in self.numbered:
            if symbol.kind not in SIGNS or symbol.kind in {event.symbol.kind for event in self.opening}:
                break
            self.opening.append(Event(index, symbol))
        for place in self._places(len(self.opening)):
            self._place(place)
        self._end_tie(())
        if self.draft.changes or self.draft.voices[0]:
            self._close(None)
        if self.numbered and not any(event.symbol.kind == "clef" for event in self.opening):
            self.said["a staff without a clef is written as if it had G2"] += 1
        return self._with_beats(WrittenStaff(tuple(self.opening), tuple(self.measures), tuple(self.ties)))

    def _places(self, start: int) -> Iterator[list[Head]]:
        """The symbols by what stands at one place, joiners left out."""
        sounding = iter(zip(self.numbered, printed_to_sounding(symbol for _, symbol in self.numbered), strict=True))
        for place in events(symbol for _, symbol in self.numbered):
            heads = [Head(index, symbol, heard.lift) for (index, symbol), heard in (next(sounding) for _ in place)]
            start -= len(place)
            if start < 0:
                yield [head for head in heads if head.symbol.rhythm != CHORD]

    def _place(self, heads: list[Head]) -> None:
        index, symbol = heads[0].index, heads[0].symbol
        if symbol.is_note:
            self._chord(heads)
        elif symbol.is_rest:
            self._end_tie(())
            self._rest(index, symbol)
        elif symbol.kind in SIGNS:
            self._sign(index, symbol)
        elif symbol.rhythm == TIE:
            self._tie(index)
        else:
            self._close(index)

    def _chord(self, heads: list[Head]) -> None:
        self._leave_multirest()
        self._end_tie(tuple(heads))
        self.last = tuple(heads)
        if heads[0].symbol.is_grace:
            self._grace(_by_value(heads))
            return
        shortest, *others = sorted(_by_value(heads), key=lambda group: _quarters(group[0].symbol))
        onset = self.draft.now
        for group in others:
            event = _notes(group, onset)
            voice = next((each for each in self.draft.voices[1:] if each[-1].end <= onset), None)
            if voice is None:
                voice = []
                self.draft.voices.append(voice)
            voice.append(event)
        self._append(_notes(shortest, onset))

    def _grace(self, groups: list[list[Head]]) -> None:
        if len(groups) > 1:
            self.said["grace notes of several values at once are written one after the other"] += 1
        for group in groups:
            self._append(_notes(group, self.draft.now))

    def _rest(self, index: int, symbol: Symbol) -> None:
        self.last = ()
        self._leave_multirest()
        if symbol.kind != "multirest":
            self._append(Event(index, symbol, self.draft.now, _quarters(symbol)))
            return
        if self.draft.timed:
            self._divide()
        if symbol.rhythm == "multirest":
            self.said["a rest of several measures without their number is written as one"] += 1
        self._append(Event(index, symbol, self.draft.now))

    def _sign(self, index: int, symbol: Symbol) -> None:
        event = Event(index, symbol, self.draft.now)
        kinds = {change.symbol.kind for change in (*self.draft.changes, *(() if self.measures else self.opening))}
        if symbol.kind == "clef" or self.draft.timed or symbol.kind in kinds:
            self.draft.voices[0].append(event)
        else:
            self.draft.changes.append(event)

    def _append(self, event: Event) -> None:
        self.draft.voices[0].append(event)
        self.draft.now = event.end

    def _leave_multirest(self) -> None:
        if any(event.symbol.kind == "multirest" for event in self.draft.timed):
            self._divide()

    def _divide(self) -> None:
        self.said["a rest of several measures among other symbols has a measure of its own"] += 1
        self._close(None)

    def _close(self, barline: int | None) -> None:
        draft, self.draft = self.draft, _Draft()
        if not draft.timed:
            self.said["a measure is empty"] += 1
        self.measures.append(WrittenMeasure(tuple(draft.changes), tuple(map(tuple, draft.voices)), barline))

    def _tie(self, index: int) -> None:
        if not self.last:
            self.said["a tie without a note before it is left out"] += 1
        elif self.open_tie is not None:
            self.said["a tie within a tie is left out"] += 1
        else:
            self.open_tie, self.tied_from = index, self.last

    def _end_tie(self, heads: tuple[Head, ...]) -> None:
        """End the open tie at these notes, or nowhere; grace notes are passed over."""
        if self.open_tie is None or (heads and heads[0].symbol.is_grace):
            return
        here = {(head.symbol.pitch, head.lift): head.index for head in heads}
        pairs = [(head.index, here.get((head.symbol.pitch, head.lift))) for head in self.tied_from]
        joined = [pair for pair in pairs if pair[1] is not None]
        if not joined:
            self.said["a tie that leads to no note of its pitch is left open"] += 1
        self.ties.append(Tie(self.open_tie, tuple(joined or pairs)))
        self.open_tie = None

    def _with_beats(self, staff: WrittenStaff) -> WrittenStaff:
        """The staff with beats in every meter that says its unit alone."""
        lengths: list[Fraction] = []
        measures: list[WrittenMeasure] = []
        for measure in reversed(staff.measures):
            if not measure.is_measure_rest and measure.lasts:
                lengths.append(measure.lasts)
            changes = tuple(self._beaten(change, lengths) for change in measure.changes)
            first = tuple(self._beaten(event, lengths) for event in measure.voices[0])
            measures.append(replace(measure, changes=changes, voices=(first, *measure.voices[1:])))
            if any(event.symbol.kind == "timeSignature" for event in (*changes, *first)):
                lengths = []
        opening = tuple(self._beaten(event, lengths) for event in staff.opening)
        return replace(staff, opening=opening, measures=tuple(reversed(measures)))

    def _beaten(self, event: Event, lengths: Sequence[Fraction]) -> Event:
        if not event.symbol.rhythm.startswith("timeSignature-/"):
            return event
        self.said["a meter without its beats is given those of most measures after it"] += 1
        unit = int(event.symbol.rhythm.partition("/")[2])
        counts = Counter(length * unit / _WHOLE_NOTE for length in lengths)
        beats = next((count for count, _ in counts.most_common() if count.denominator == 1), unit)
        return replace(event, symbol=Symbol(f"timeSignature-{beats}/{unit}"))


def _by_value(heads: Sequence[Head]) -> list[list[Head]]:
    """The notes of a chord by their value; two of one pitch apart."""
    groups: list[list[Head]] = []
    for head in heads:
        for group in groups:
            if group[0].symbol.rhythm == head.symbol.rhythm and all(
                each.symbol.pitch != head.symbol.pitch for each in group
            ):
                group.append(head)
                break
        else:
            groups.append([head])
    return groups


def _notes(heads: Sequence[Head], onset: Fraction) -> Event:
    return Event(heads[0].index, heads[0].symbol, onset, _quarters(heads[0].symbol), tuple(heads))


def _quarters(symbol: Symbol) -> Fraction:
    """How many quarters a note or a rest lasts; 0 for a grace note."""
    if symbol.is_grace:
        return Fraction(0)
    value = symbol.rhythm.removesuffix(FERMATA).partition("-")[2]
    name = value.rstrip(".")
    return Fraction(_LONGEST, 2 ** DURATIONS.index(name)) * (2 - Fraction(1, 2 ** (len(value) - len(name))))


def _measures_taken(measure: WrittenMeasure) -> int:
    rests = [event.symbol for event in measure.voices[0] if event.symbol.kind == "multirest"]
    return multirest_length(rests[0]) if rests else 1
