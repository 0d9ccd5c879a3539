"""Any sequence of symbols as MusicXML 4.0, which notation programs open.

Written by hand and not by music21, whose exporter makes notation: it splits notes that do not fit, fills measures up
and beams. What a model has read should stand there as it is, also where it is wrong. music21 takes seconds to import,
too, and so it is free to be the second reader in the tests.

Choices:
    - What sounds is in `alter`, what is printed in `accidental`, so that both are said.
    - No beams: the encoding does not say them, and programs make their own.
    - A rest of several measures is so many measures, as MusicXML wants it.
    - A measure rest lasts as long as the meter says, 4 quarters where there is none.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from datasets.notation import FERMATA, Symbol
from datasets.scores.measures import key_sharps
from datasets.scores.mei_document import SOFTWARE, xml_text
from datasets.scores.transcript import (
    Event,
    Head,
    Transcript,
    WrittenMeasure,
    WrittenStaff,
    multirest_length,
    transcribe,
)

_HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">
"""
_DIVISIONS = 128  # of a quarter: a double-dotted 128th is seven of them
_VOICES = 4  # that notation programs keep for a staff
_TYPES = {
    "quadruple_whole": "long",
    "double_whole": "breve",
    "whole": "whole",
    "half": "half",
    "quarter": "quarter",
    "eighth": "eighth",
    "sixteenth": "16th",
    "thirty_second": "32nd",
    "sixty_fourth": "64th",
    "hundred_twenty_eighth": "128th",
}
_ACCIDENTALS = {"bb": "flat-flat", "b": "flat", "N": "natural", "#": "sharp", "##": "double-sharp"}
_ALTERATIONS = {"bb": -2, "b": -1, "": 0, "#": 1, "##": 2}
_METER_SIGNS = {"C": ("common", "4", "4"), "C/": ("cut", "2", "2")}
_G2 = Symbol("clef-G2")
_MEASURE_REST = Symbol("rest-whole")


def to_musicxml(symbols: Sequence[Symbol], title: str = "") -> str:
    """The symbols as MusicXML 4.0, a grand staff as one part with two staves.

    What had to be mended is in `transcribe(symbols).remarks`.
    """
    return write_musicxml(transcribe(symbols), title)


def write_musicxml(transcript: Transcript, title: str = "") -> str:
    """A transcript as MusicXML 4.0."""
    root = ET.Element("score-partwise", version="4.0")
    if title:
        _add(_add(root, "work"), "work-title", xml_text(title))
    _add(_add(_add(root, "identification"), "encoding"), "software", SOFTWARE)
    part_name = _add(_add(_add(root, "part-list"), "score-part", id="P1"), "part-name", "Music")
    part_name.set("print-object", "no")
    part = _add(root, "part", id="P1")
    staves = [_spread(staff) for staff in transcript.staves]
    busiest = max((len(measure.voices) for staff in staves for measure in staff.measures), default=1)
    writers = [
        _StaffWriter(staff, number if len(staves) > 1 else 0, max(_VOICES, busiest) * (number - 1) + 1)
        for number, staff in enumerate(staves, start=1)
    ]
    for row in range(max(1, *(len(staff.measures) for staff in staves))):
        _write_measure(_add(part, "measure", number=str(row + 1)), writers, row)
    ET.indent(root)
    return _HEADER + ET.tostring(root, encoding="unicode") + "\n"


def _write_measure(parent: ET.Element, writers: Sequence[_StaffWriter], row: int) -> None:
    signs = [(writer, event) for writer in writers for event in writer.signs(row)]
    rests = [(writer, count) for writer in writers if (count := writer.multirest(row))]
    if signs or rests or row == 0:
        attributes = _add(parent, "attributes")
        if row == 0:
            _add(attributes, "divisions", str(_DIVISIONS))
        for kind in ("keySignature", "timeSignature", "clef"):
            if kind == "clef" and row == 0 and len(writers) > 1:
                _add(attributes, "staves", str(len(writers)))
            for writer, event in signs:
                if event.symbol.kind == kind:
                    writer.sign(attributes, event.symbol)
            if kind == "clef" and row == 0:
                for writer in writers:
                    writer.unseen_clef(attributes)
        for writer, count in rests:
            _add(_add(attributes, "measure-style", **writer.number_attribute), "multiple-rest", str(count))
    moved = Fraction(0)
    for writer in writers:
        moved = writer.measure(parent, row, moved)
    if not any(writer.has_barline(row) for writer in writers):
        _add(_add(parent, "barline", location="right"), "bar-style", "none")


class _StaffWriter:
    """Writes one staff, a measure at a time.

    Args:
        number: of the staff in its part, from 1; 0 where there is no other.
        voice: the number of its first voice.
    """

    def __init__(self, staff: WrittenStaff, number: int, voice: int) -> None:
        self.staff = staff
        self.number = number
        self.voice = voice
        self.measure_length = Fraction(4)
        self.number_attribute = {"number": str(number)} if number else {}
        self.curves: dict[int, list[str]] = {}
        for start, end in (pair for tie in staff.ties for pair in tie.pairs):
            self.curves.setdefault(start, []).append("let-ring" if end is None else "start")
            if end is not None:
                self.curves.setdefault(end, []).insert(0, "stop")

    def signs(self, row: int) -> list[Event]:
        """The signs at the start of a measure; those at the start of the staff belong to its first one."""
        measure = self._measure(row)
        if row == 0:
            return [*self.staff.opening, *(measure.changes if measure else ())]
        return [*measure.changes, *_leading_clef(measure)] if measure else []

    def multirest(self, row: int) -> int:
        """How many measures the rest takes that starts here; 0 if none does."""
        measure = self._measure(row)
        rests = [event for event in measure.voices[0] if event.symbol.kind == "multirest"] if measure else []
        return multirest_length(rests[0].symbol) if rests else 0

    def has_barline(self, row: int) -> bool:
        measure = self._measure(row)
        return measure is not None and measure.barline is not None

    def unseen_clef(self, attributes: ET.Element) -> None:
        """The clef by which notes are placed where none is printed."""
        if not any(event.symbol.kind == "clef" for event in self.staff.opening):
            self.sign(attributes, _G2).set("print-object", "no")

    def sign(self, attributes: ET.Element, symbol: Symbol) -> ET.Element:
        """Write a clef, a key signature or a meter."""
        value = symbol.rhythm.partition("-")[2]
        if symbol.kind == "clef":
            clef = _add(attributes, "clef", **self.number_attribute)
            _add(clef, "sign", value[0])
            _add(clef, "line", value[1])
            return clef
        if symbol.kind == "keySignature":
            key = _add(attributes, "key", **self.number_attribute)
            _add(key, "fifths", str(key_sharps(symbol)))
            return key
        time = _add(attributes, "time", **self.number_attribute)
        name, beats, unit = _METER_SIGNS.get(value) or ("", *value.split("/"))
        if name:
            time.set("symbol", name)
        _add(time, "beats", beats)
        _add(time, "beat-type", unit)
        return time

    def measure(self, parent: ET.Element, row: int, moved: Fraction) -> Fraction:
        """Write the staff's part of a measure.

        Args:
            moved: how many quarters into the measure the writing stands.

        Returns:
            The same afterwards.
        """
        measure = self._measure(row)
        if measure is None:
            return moved
        for event in (*self.signs(row), *measure.voices[0]):
            if event.symbol.kind == "timeSignature":
                self.measure_length = _measure_length(event.symbol)
        for number, voice in enumerate(measure.voices, start=self.voice):
            for event in voice:
                if row and event in _leading_clef(measure):
                    continue
                self._move(parent, event.onset - moved, number)
                moved = event.onset + self._event(parent, event, str(number), measure)
        return moved

    def _move(self, parent: ET.Element, distance: Fraction, voice: int) -> None:
        if distance:
            step = _add(parent, "forward" if distance > 0 else "backup")
            _add(step, "duration", _duration(abs(distance)))
            if distance > 0:
                _add(step, "voice", str(voice))
                self._add_staff(step)

    def _event(self, parent: ET.Element, event: Event, voice: str, measure: WrittenMeasure) -> Fraction:
        """Write an event, and say how many quarters it takes."""
        if event.is_sign:
            self.sign(_add(parent, "attributes"), event.symbol)
            return Fraction(0)
        if event.heads:
            for head in event.heads:
                self._note(parent, head, event, voice)
            return event.lasts
        fills_measure = measure.is_measure_rest or event.symbol.kind == "multirest"
        lasts = self.measure_length if fills_measure else event.lasts
        note = _add(parent, "note")
        _add(note, "rest", **({"measure": "yes"} if fills_measure else {}))
        _add(note, "duration", _duration(lasts))
        _add(note, "voice", voice)
        if not fills_measure:
            _add_value(note, event.symbol)
        self._add_staff(note)
        _add_notations(note, (), event.has_fermata)
        return lasts

    def _note(self, parent: ET.Element, head: Head, event: Event, voice: str) -> None:
        note = _add(parent, "note")
        if head.symbol.is_grace:
            _add(note, "grace")
        if head is not event.heads[0]:
            _add(note, "chord")
        pitch = _add(note, "pitch")
        _add(pitch, "step", head.symbol.pitch[0])
        if head.lift:
            _add(pitch, "alter", str(_ALTERATIONS[head.lift]))
        _add(pitch, "octave", head.symbol.pitch[1:])
        if not head.symbol.is_grace:
            _add(note, "duration", _duration(event.lasts))
        curves = self.curves.get(head.index, ())
        for curve in curves:
            if curve != "let-ring":
                _add(note, "tie", type=curve)
        _add(note, "voice", voice)
        _add_value(note, head.symbol)
        if head.symbol.lift:
            _add(note, "accidental", _ACCIDENTALS[head.symbol.lift])
        self._add_staff(note)
        _add_notations(note, curves, event.has_fermata and head is event.heads[0])

    def _add_staff(self, parent: ET.Element) -> None:
        if self.number:
            _add(parent, "staff", str(self.number))

    def _measure(self, row: int) -> WrittenMeasure | None:
        return self.staff.measures[row] if row < len(self.staff.measures) else None


def _leading_clef(measure: WrittenMeasure) -> tuple[Event, ...]:
    """The clef in front of all else in a measure, if there is one."""
    first = measure.voices[0][:1]
    return first if first and first[0].symbol.kind == "clef" else ()


def _spread(staff: WrittenStaff) -> WrittenStaff:
    """The staff with a rest of N measures as N measures, of which the first keeps its symbol."""
    measures: list[WrittenMeasure] = []
    for measure in staff.measures:
        events = measure.voices[0]
        place = next((place for place, event in enumerate(events) if event.symbol.kind == "multirest"), None)
        count = 1 if place is None else multirest_length(events[place].symbol)
        if place is None or count == 1:
            measures.append(measure)
            continue
        rest = replace(events[place], symbol=_MEASURE_REST)
        measures.append(replace(measure, voices=(events[: place + 1],)))
        measures += [WrittenMeasure((), ((rest,),), measure.barline)] * (count - 2)
        measures.append(WrittenMeasure((), ((rest, *events[place + 1 :]),), measure.barline))
    return replace(staff, measures=tuple(measures))


def _add_value(note: ET.Element, symbol: Symbol) -> None:
    value = symbol.rhythm.removesuffix(FERMATA).partition("-")[2]
    name = value.rstrip(".")
    _add(note, "type", _TYPES[name])
    for _ in range(len(value) - len(name)):
        _add(note, "dot")


def _add_notations(note: ET.Element, curves: Sequence[str], fermata: bool) -> None:
    if curves or fermata:
        notations = _add(note, "notations")
        for curve in curves:
            _add(notations, "tied", type=curve)
        if fermata:
            _add(notations, "fermata")


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text or None
    return child


def _duration(quarters: Fraction) -> str:
    return str(max(1, round(quarters * _DIVISIONS)))


def _measure_length(meter: Symbol) -> Fraction:
    value = meter.rhythm.partition("-")[2]
    _, beats, unit = _METER_SIGNS.get(value) or ("", *value.split("/"))
    return Fraction(4 * int(beats), int(unit))
