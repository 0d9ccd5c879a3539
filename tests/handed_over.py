"""What others make of the music that we write: MusicXML's schema, and music21 as a second reader."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path

from lxml import etree

from datasets.notation import BARLINE, CHORD, DURATIONS, FERMATA, Symbol, height

_FOLDER = Path(str(files("musicxml"))) / "generate_classes"
_IMPORTED = {  # two schemas that are not in the package, as far as MusicXML uses them
    "xlink.xsd": ("http://www.w3.org/1999/xlink", ("href", "type", "role", "title", "show", "actuate")),
    "xml.xsd": ("http://www.w3.org/XML/1998/namespace", ("lang", "space")),
}
_TYPES = dict(
    zip(
        ("longa", "breve", "whole", "half", "quarter", "eighth", "16th", "32nd", "64th", "128th"),
        DURATIONS,
        strict=True,
    )
)
_LIFTS = {"sharp": "#", "flat": "b", "natural": "N", "double-sharp": "##", "double-flat": "bb"}


@cache
def _schema() -> etree.XMLSchema:
    text = (_FOLDER / "musicxml_4_0.xsd").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for name, (namespace, attributes) in _IMPORTED.items():
            path = Path(folder) / name
            declared = "".join(f'<xs:attribute name="{attribute}" type="xs:string"/>' for attribute in attributes)
            schema = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="{namespace}">{declared}'
            path.write_text(f"{schema}</xs:schema>", encoding="utf-8")
            text = text.replace(f"http://www.musicxml.org/xsd/{name}", path.as_uri())
        return etree.XMLSchema(etree.fromstring(text.encode(), etree.XMLParser(no_network=True)))


def faults(musicxml: str) -> list[str]:
    """What the schema of MusicXML 4.0 says against a document."""
    document = etree.fromstring(musicxml.encode(), etree.XMLParser(no_network=True, load_dtd=False))
    _schema().validate(document)
    return [f"line {error.line}: {error.message}" for error in _schema().error_log]


def second_reading(musicxml: str) -> list[list[Symbol]]:
    """The staves of a document as music21 reads them: notes, rests and barlines, chords with the highest note first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import converter

        parts = converter.parse(musicxml, format="musicxml").parts
        return [
            [symbol for measure in part.getElementsByClass("Measure") for symbol in _bar(measure)] for part in parts
        ]


def _bar(measure) -> list[Symbol]:
    moments: dict[tuple, list[Symbol]] = {}
    for order, thing in enumerate(measure.recurse().notesAndRests):
        grace = thing.duration.isGrace
        place = (thing.getOffsetInHierarchy(measure), not grace, order if grace else 0)
        moments.setdefault(place, []).extend(_symbols(thing))
    bar: list[Symbol] = []
    for place in sorted(moments):
        for symbol in sorted(moments[place], key=lambda each: height(each) if each.is_note else ("",), reverse=True):
            bar += (symbol, Symbol(CHORD))
        bar.pop()
    if len(bar) == 1 and bar[0].is_rest:  # music21 takes many of them for a measure rest
        bar = [Symbol(f"rest-whole{FERMATA if bar[0].rhythm.endswith(FERMATA) else ''}")]
    return [*bar, Symbol(BARLINE)] if bar else []  # one staff may go on after the other has ended


def _symbols(thing) -> list[Symbol]:
    fermata = FERMATA if any("Fermata" in each.classes for each in thing.expressions) else ""
    if thing.isRest:
        return [Symbol(f"rest-{_value(thing)}{fermata}")]
    kind = "gracenote" if thing.duration.isGrace else "note"
    notes = thing.notes if thing.isChord else [thing]
    return [
        Symbol(f"{kind}-{_value(thing)}{fermata}", note.pitch.step + str(note.pitch.octave), _lift(note))
        for note in notes
    ]


def _lift(note) -> str:
    accidental = note.pitch.accidental
    return _LIFTS[accidental.name] if accidental is not None and accidental.displayStatus else ""


def _value(thing) -> str:
    if thing.isRest and thing.fullMeasure is True:  # also where a value is written, if nothing else is in the measure
        return "whole"
    return _TYPES[thing.duration.type] + "." * thing.duration.dots
