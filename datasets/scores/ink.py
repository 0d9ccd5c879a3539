"""What a drawing shows, and what a label says it should: two counts that must be equal.

An ink is named by the class that Verovio's SVG gives it and by its SMuFL glyph, the same in every music font:
`accid E262` is a sharp before a note, `keyAccid E262` one of a key signature. Stems, beams, ledger and staff
lines follow from the notes and are not counted, nor are the naturals that end a key.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

from datasets.notation import CHORD, FERMATA, Symbol
from datasets.scores.measures import StaffRun, key_sharps

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
_SHAPES = {f"{SVG}{name}" for name in ("path", "polygon", "polyline", "rect", "text")}
_UNCOUNTED = {"beam", "ledgerLines", "multiRest", "staff", "stem"}  # of a rest of several measures only the number
_COUNTED_SHAPES = {"barLine", "tie"}
_SAME_CLASS = {"mRest": "rest"}
_SAME_GLYPH = {
    "E07A": "E050",  # small clefs of a change
    "E07B": "E05C",
    "E07C": "E062",
    "E0A1": "E0A0",  # a breve, square or round
}

_ACCIDENTALS = {"b": "E260", "N": "E261", "#": "E262", "##": "E263", "bb": "E264"}
_CLEFS = {"G": "E050", "C": "E05C", "F": "E062"}
_METER_SIGNS = {"C": ["E08A"], "C/": ["E08B"]}
_HEADS = {"double_whole": "E0A0", "whole": "E0A2", "half": "E0A3"}
_BLACK_HEAD = "E0A4"
_LONG_HEAD = ["notehead shape"] * 3  # no glyph: an outline and two strokes
_KEY_NATURAL = "keyAccid E261"
_RESTS = {
    "quadruple_whole": "E4E1",
    "double_whole": "E4E2",
    "whole": "E4E3",
    "half": "E4E4",
    "quarter": "E4E5",
    "eighth": "E4E6",
    "sixteenth": "E4E7",
    "thirty_second": "E4E8",
    "sixty_fourth": "E4E9",
    "hundred_twenty_eighth": "E4EA",
}
_FLAGS = ("eighth", "sixteenth", "thirty_second", "sixty_fourth", "hundred_twenty_eighth")


def groups(svg_root: ET.Element, drawn_class: str) -> Iterator[ET.Element]:
    """What Verovio drew of a class, in order."""
    return (group for group in svg_root.iter(f"{SVG}g") if group.get("class") == drawn_class)


def expected_ink(run: StaffRun) -> Counter[str]:
    """What an image of this label shows."""
    ink: Counter[str] = Counter()
    beamed = _beamed(run)
    for index, symbol in enumerate(run.symbols):
        ink.update(symbol_ink(symbol))
        follows_in_chord = index > 0 and run.symbols[index - 1].rhythm == CHORD
        if not follows_in_chord:
            ink.update(_once_a_chord(symbol, index in beamed))
    return ink


def drawn_ink(svg_root: ET.Element) -> Counter[str]:
    """What Verovio drew."""
    return Counter(_walk(svg_root, ""))


def symbol_ink(symbol: Symbol) -> Iterator[str]:
    """What a symbol shows by itself: without flags and fermatas, which the notes of a chord share."""
    kind, name, dots = _split(symbol)
    match kind:
        case "clef":
            yield f"clef {_CLEFS[name[0]]}"
        case "keySignature":
            sharps = key_sharps(symbol)
            yield from [f"keyAccid {_ACCIDENTALS['#' if sharps > 0 else 'b']}"] * abs(sharps)
        case "timeSignature":
            yield from (f"meterSig {glyph}" for glyph in _METER_SIGNS.get(name) or _digits(name.replace("/", "")))
        case "note" | "gracenote":
            yield from _LONG_HEAD if name == "quadruple_whole" else [f"notehead {_HEADS.get(name, _BLACK_HEAD)}"]
            yield from ["dots"] * dots
            if symbol.lift:
                yield f"accid {_ACCIDENTALS[symbol.lift]}"
        case "rest":
            yield f"rest {_RESTS[name]}"
            yield from ["dots"] * dots
        case "multirest":
            yield from (f"multiRestNum {glyph}" for glyph in _digits(name))
        case "barline":
            yield "barLine"
        case "tie":
            yield "tie"


def _beamed(run: StaffRun) -> set[int]:
    """Indices of the notes without flags. A grace note in a beam of others keeps its flag."""
    beamed: set[int] = set()
    for first, last in run.beams:
        notes = {index for index in range(first, last + 1) if run.symbols[index].is_note}
        graces = {index for index in notes if run.symbols[index].is_grace}
        beamed |= notes if graces == notes else notes - graces
    return beamed


def _once_a_chord(symbol: Symbol, beamed: bool) -> Iterator[str]:
    kind, name, _ = _split(symbol)
    if symbol.rhythm.endswith(FERMATA):
        yield "fermata"
    if kind in ("note", "gracenote") and name in _FLAGS and not beamed:
        yield f"flag {_FLAGS.index(name)}"


def _split(symbol: Symbol) -> tuple[str, str, int]:
    """Kind, duration (or other value) and number of dots."""
    kind, _, value = symbol.rhythm.removesuffix(FERMATA).partition("-")
    name = value.rstrip(".")
    return kind, name, len(value) - len(name)


def _digits(number: str) -> list[str]:
    return [f"E08{digit}" for digit in number]


def _walk(element: ET.Element, drawn_class: str) -> Iterator[str]:
    if element.tag == f"{SVG}g":
        drawn_class = (element.get("class") or drawn_class).split()[0]
    for child in element:
        if child.tag == f"{SVG}use":
            yield from glyph_ink(drawn_class, child.get(HREF, "")[1:5])
        elif child.tag == f"{SVG}ellipse" and drawn_class == "dots":
            yield "dots"
        elif child.tag in _SHAPES:
            yield from _shape_ink(drawn_class)
        elif child.tag in (f"{SVG}g", f"{SVG}svg"):
            yield from _walk(child, drawn_class)


def glyph_ink(drawn_class: str, glyph: str) -> Iterator[str]:
    """The name of a glyph that Verovio drew within a group of this class; nothing for what is not counted."""
    name = _SAME_CLASS.get(drawn_class, drawn_class)
    if name == "flag":
        # SMuFL lists them in pairs, stem up and stem down.
        yield f"flag {(int(glyph, 16) - 0xE240) // 2}"
    elif name == "fermata":
        yield "fermata"
    elif name not in _UNCOUNTED and (ink := f"{name} {_SAME_GLYPH.get(glyph, glyph)}") != _KEY_NATURAL:
        yield ink


def _shape_ink(drawn_class: str) -> Iterator[str]:
    if drawn_class in _COUNTED_SHAPES:
        yield drawn_class
    elif drawn_class not in _UNCOUNTED:
        yield f"{drawn_class} shape"
