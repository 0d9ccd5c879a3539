"""Accidentals for MusicXML that says only what sounds.

Its `<accidental>` may be left out, and some converters write the alteration of every note and print none. Such a score
would be drawn, and labelled, without a single accidental, so they are added where the key, the bar and the ties ask for
them: the rules of `datasets.accidentals`, here for several voices and for ties within chords.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from datasets.notation import KEY_ALTERATIONS
from datasets.scores.measures import Measure
from datasets.scores.mei import read_staff, staff_numbers
from datasets.scores.mei_layers import Event, Voice
from datasets.scores.mei_symbols import ACCIDENTALS, XML_ID, MeiError, printed_accidental, sounding_accidental, target


def print_accidentals(root: ET.Element) -> None:
    """Write into a score the accidentals that it needs, unless it prints some already."""
    if any(printed_accidental(note) for note in root.iter("note")):
        return
    for note in missing_accidentals(root):
        child = note.find("accid")
        (note if child is None else child).set("accid", ACCIDENTALS[sounding_accidental(note) or "N"])


def missing_accidentals(root: ET.Element) -> list[ET.Element]:
    """The notes that a player would read in another alteration than the score says."""
    tied = {target(tie, "endid") for tie in root.iter("tie")}
    missing: list[ET.Element] = []
    for number in staff_numbers(root):
        try:
            measures = read_staff(root, number)
        except MeiError:
            continue
        for element, measure in zip(root.iter("measure"), measures, strict=False):
            missing += _missing_in(element.iterfind(f"staff[@n='{number}']/layer"), measure, tied)
    return missing


def _missing_in(layers: Iterator[ET.Element], measure: Measure, tied: set[str]) -> Iterator[ET.Element]:
    key = KEY_ALTERATIONS[measure.key.rhythm.removeprefix("keySignature-")]
    bar: dict[tuple[str, str], str] = {}
    for notes in _moments(layers):
        news = {}
        for note in notes:
            step, octave = note.get("pname", "").upper(), note.get("oct", "")
            sounding = sounding_accidental(note)
            if note.get(XML_ID) in tied and not printed_accidental(note):
                continue
            if printed_accidental(note):
                news[step, octave] = sounding
            elif sounding != bar.get((step, octave), key.get(step, "")):
                news[step, octave] = sounding
                yield note
        bar |= news


def _moments(layers: Iterator[ET.Element]) -> Iterator[list[ET.Element]]:
    """The notes of all voices, by what begins together; grace notes before what they precede."""
    events: list[Event] = []
    for layer in layers:
        voice = Voice()
        try:
            voice.read(layer)
        except MeiError:
            return  # its measure is a problem anyway
        events += [event for event in voice.events if event.element.tag in ("note", "chord")]
    places = {(event.onset, not event.is_grace) for event in events}
    for place in sorted(places):
        yield [
            note
            for event in events
            if (event.onset, not event.is_grace) == place
            for note in event.element.iter("note")
        ]
