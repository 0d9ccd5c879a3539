"""Any sequence of symbols as a complete MEI document, that sounds as it is printed.

Where `datasets.scores.mei_writer` writes a staff that was read and refuses all else, this writes what a model says
(`datasets.scores.transcript`). A grammatical staff is read back as it was: `datasets.scores.score` gives the same
symbols, but for ties between chords, which it does not read.

Every element has the id `s` and the index of its symbol, a chord `c` and a fermata `f` and that of its first note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from xml.sax.saxutils import escape

from datasets.notation import Symbol
from datasets.scores.mei_symbols import ACCIDENTALS
from datasets.scores.mei_writer import attribute_element, value_attributes
from datasets.scores.transcript import Event, Head, Tie, Transcript, WrittenMeasure, WrittenStaff, transcribe

SOFTWARE = "omr-search"
"""What a document names as its origin."""
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">
  <meiHead>
    <fileDesc><titleStmt><title>{title}</title></titleStmt><pubStmt/></fileDesc>
    <encodingDesc><appInfo><application><name>{software}</name></application></appInfo></encodingDesc>
  </meiHead>
  <music><body><mdiv><score>
    <scoreDef><staffGrp{brace}>{definitions}</staffGrp></scoreDef>
    <section>
{section}
    </section>
  </score></mdiv></body></music>
</mei>
"""
_MEASURE = '<measure right="{right}">{staves}{controls}</measure>'
_UNSEEN_CLEF = '<clef shape="G" line="2" visible="false"/>'
_NO_METER = 4  # the unit in which MEI counts beats where no meter is
_UNITS_OF_SIGNS = {"C": 4, "C/": 2}
_GAPS = {Fraction(4, value): value for value in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)}


def xml_text(text: str) -> str:
    """Any text, as a file's name may be, as XML can have it: U+FFFD for other characters (XML 1.0, production 2)."""
    return _NO_XML.sub("\ufffd", text)


def to_mei(symbols: Sequence[Symbol], title: str = "") -> str:
    """The symbols as MEI 5, a grand staff as two staves.

    What had to be mended is in `transcribe(symbols).remarks`.
    """
    return write_mei(transcribe(symbols), title)


def write_mei(transcript: Transcript, title: str = "") -> str:
    """A transcript as MEI 5."""
    writers = [_StaffWriter(number, staff) for number, staff in enumerate(transcript.staves, start=1)]
    rows = max(1, *(len(staff.measures) for staff in transcript.staves))
    return _DOCUMENT.format(
        title=escape(xml_text(title)),
        software=SOFTWARE,
        brace=' symbol="brace"' if len(writers) > 1 else "",
        definitions="".join(writer.definition() for writer in writers),
        section="\n".join(line for row in range(rows) for line in _row(writers, row)),
    )


def _row(writers: Sequence[_StaffWriter], row: int) -> Iterator[str]:
    """One measure of all staves, after the definition of what changes at its start."""
    changes = [writer.changes(row) for writer in writers]
    if any(changes):
        staves = "".join(
            f'<staffDef n="{writer.number}">{change}</staffDef>'
            for writer, change in zip(writers, changes, strict=True)
            if change
        )
        yield f"<scoreDef><staffGrp>{staves}</staffGrp></scoreDef>"
    yield _MEASURE.format(
        right="single" if any(writer.has_barline(row) for writer in writers) else "invis",
        staves="".join(writer.measure(row) for writer in writers),
        controls="".join(writer.controls(row) for writer in writers),
    )


class _StaffWriter:
    """Writes one staff, a measure at a time."""

    def __init__(self, number: int, staff: WrittenStaff) -> None:
        self.number = number
        self.staff = staff
        self.ties = {tie.pairs[0][0]: tie for tie in staff.ties}  # by the first note that each starts from
        self.unit = _unit(staff.opening, _NO_METER)

    def definition(self) -> str:
        """The staff's clef, key and meter at the start."""
        opening = {event.symbol.kind: event for event in self.staff.opening}
        clef = "" if "clef" in opening else _UNSEEN_CLEF
        signs = "".join(_sign(opening[kind]) for kind in ("clef", "keySignature", "timeSignature") if kind in opening)
        return f'<staffDef n="{self.number}" lines="5">{clef}{signs}</staffDef>'

    def has_barline(self, row: int) -> bool:
        measure = self._measure(row)
        return measure is not None and measure.barline is not None

    def changes(self, row: int) -> str:
        """What is printed at the start of a measure."""
        measure = self._measure(row)
        if measure is None:
            return ""
        return "".join(_sign(event) for event in sorted(measure.changes, key=lambda event: event.symbol.kind))

    def measure(self, row: int) -> str:
        """The staff's part of a measure."""
        measure = self._measure(row)
        voices = measure.voices if measure else ((),)
        layers = "".join(
            f'<layer n="{number}">{"".join(_layer(voice, measure))}</layer>' for number, voice in enumerate(voices, 1)
        )
        return f'<staff n="{self.number}">{layers}</staff>'

    def controls(self, row: int) -> str:
        """Ties and fermatas of a measure."""
        measure = self._measure(row)
        if measure is None:
            return ""
        self.unit = _unit((*measure.changes, *measure.voices[0]), self.unit)
        events = [event for voice in measure.voices for event in voice]
        fermatas = [
            f'<fermata xml:id="f{event.index}" startid="#{event_id(event)}" place="above"/>'
            for event in events
            if event.has_fermata
        ]
        ends = {head.index: event.end for event in events for head in event.heads}
        return "".join([*fermatas, *(self._tie(self.ties[index], ends) for index in ends if index in self.ties)])

    def _tie(self, tie: Tie, ends: dict[int, Fraction]) -> str:
        written = ""
        for number, (start, end) in enumerate(tie.pairs):
            tie_id = f"s{tie.index}" if number == 0 else f"s{tie.index}-{number}"
            if end is None:
                until = float(1 + ends[start] * self.unit / 4)
                written += f'<lv xml:id="{tie_id}" startid="#s{start}" tstamp2="0m+{until:g}"/>'
            else:
                written += f'<tie xml:id="{tie_id}" startid="#s{start}" endid="#s{end}"/>'
        return written

    def _measure(self, row: int) -> WrittenMeasure | None:
        return self.staff.measures[row] if row < len(self.staff.measures) else None


def _layer(voice: Sequence[Event], measure: WrittenMeasure | None) -> Iterator[str]:
    now = Fraction(0)
    for event in voice:
        yield from _space(event.onset - now)
        now = event.end
        if event.is_sign:
            yield _sign(event)
        elif event.heads:
            yield _chord(event)
        elif event.symbol.kind == "multirest":
            yield f'<multiRest xml:id="s{event.index}" num="{event.symbol.rhythm.partition("-")[2] or 1}"/>'
        elif measure and measure.is_measure_rest:
            yield f'<mRest xml:id="s{event.index}"/>'
        else:
            yield f'<rest xml:id="s{event.index}" {value_attributes(event.symbol.rhythm)}/>'


def _space(gap: Fraction) -> Iterator[str]:
    """Nothing for so many quarters."""
    for length, value in _GAPS.items():
        while gap >= length:
            gap -= length
            yield f'<space dur="{value}"/>'


def _chord(event: Event) -> str:
    value = value_attributes(event.symbol.rhythm)
    if len(event.heads) == 1:
        return _note(event.heads[0], f" {value}")
    notes = "".join(_note(head, "") for head in event.heads)
    return f'<chord xml:id="{event_id(event)}" {value}>{notes}</chord>'


def _note(head: Head, value: str) -> str:
    step, octave = head.symbol.pitch[0].lower(), head.symbol.pitch[1:]
    where = f'<note xml:id="s{head.index}"{value} pname="{step}" oct="{octave}"'
    if head.symbol.lift:
        return f'{where}><accid accid="{ACCIDENTALS[head.symbol.lift]}"/></note>'
    return f'{where} accid.ges="{ACCIDENTALS[head.lift]}"/>' if head.lift else f"{where}/>"


def _sign(event: Event) -> str:
    return attribute_element(event.symbol).replace(" ", f' xml:id="s{event.index}" ', 1)


def event_id(event: Event) -> str:
    """The id of a chord, a note or a rest."""
    return f"c{event.index}" if len(event.heads) > 1 else f"s{event.index}"


def _unit(events: Sequence[Event], before: int) -> int:
    """The unit of the last meter among the events, or the one before."""
    meters = [event.symbol.rhythm.partition("-")[2] for event in events if event.symbol.kind == "timeSignature"]
    return (_UNITS_OF_SIGNS.get(meters[-1]) or int(meters[-1].partition("/")[2])) if meters else before
