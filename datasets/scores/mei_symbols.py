"""MEI's words for what is printed, by the encoding's: durations, pitches, accidentals, clefs, keys and meters."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from fractions import Fraction

from datasets.notation import FERMATA, Symbol
from datasets.scores.measures import key_symbol

DURATIONS = {
    "long": "quadruple_whole",
    "breve": "double_whole",
    "1": "whole",
    "2": "half",
    "4": "quarter",
    "8": "eighth",
    "16": "sixteenth",
    "32": "thirty_second",
    "64": "sixty_fourth",
    "128": "hundred_twenty_eighth",
}
"""MEI's durations by the encoding's names."""

LIFTS = {"s": "#", "f": "b", "n": "N", "ss": "##", "x": "##", "ff": "bb"}
ACCIDENTALS = {lift: value for value, lift in LIFTS.items() if value != "ss"}
XML_ID = "{http://www.w3.org/XML/1998/namespace}id"

_LONG_DURATIONS = {"long": 16, "breve": 8}


class MeiError(ValueError):
    """A score, or a measure of one, that cannot be read, with the reason as its message."""


def quarters(element: ET.Element) -> Fraction:
    """How many quarters the printed value of a note, chord or rest lasts; 0 for a grace note."""
    if element.get("grace"):
        return Fraction(0)
    duration, dots = element.get("dur", ""), int(element.get("dots", "0"))
    if duration not in DURATIONS:
        raise MeiError(f"duration {duration or 'missing'}")
    value = Fraction(_LONG_DURATIONS[duration]) if duration in _LONG_DURATIONS else Fraction(4, int(duration))
    return value * (2 - Fraction(1, 2**dots))


def rhythm(element: ET.Element, fermata: bool, kind: str = "note") -> str:
    """The rhythm of the symbol for a note, chord or rest."""
    duration, dots = element.get("dur", ""), int(element.get("dots", "0"))
    if duration not in DURATIONS:
        raise MeiError(f"duration {duration or 'missing'}")
    if dots > 2:
        raise MeiError("more than two dots")
    if element.get("grace"):
        if fermata:
            raise MeiError("fermata on a grace note")
        kind = "gracenote"
    return f"{kind}-{DURATIONS[duration]}{'.' * dots}{FERMATA if fermata else ''}"


def note_symbol(note: ET.Element, rhythm: str) -> Symbol:
    """The symbol for a note of this rhythm: where it stands and which accidental is printed before it."""
    pitch = f"{note.get('pname', '').upper()}{note.get('oct', '')}"
    if not re.fullmatch(r"[A-G]\d", pitch):
        raise MeiError("note without a pitch")
    if note.get("oct.ges", note.get("oct")) != note.get("oct"):
        raise MeiError("an octave line")
    printed = printed_accidental(note)
    if printed is not None and printed not in LIFTS:
        raise MeiError(f"accidental {printed}")
    return Symbol(rhythm, pitch, LIFTS[printed] if printed else "")


def printed_accidental(note: ET.Element) -> str | None:
    """MEI's word for the accidental before a note, or None."""
    child = note.find("accid")
    return note.get("accid") if child is None else child.get("accid")


def sounding_accidental(note: ET.Element) -> str:
    """The alteration that sounds, as a lift: "" for a natural."""
    child = note.find("accid")
    gestural = note.get("accid.ges") or (None if child is None else child.get("accid.ges"))
    lift = LIFTS.get(printed_accidental(note) or gestural or "n", "N")
    return "" if lift == "N" else lift


def clef(part: ET.Element) -> Symbol | None:
    """The clef that a definition or a measure prints: the last one, where the source replaced it before the first
    note."""
    child = _last(part, "clef")
    if child is not None:
        return clef_symbol(child)
    if not part.get("clef.shape"):
        return None
    return Symbol(f"clef-{part.get('clef.shape')}{part.get('clef.line')}")


def clef_symbol(element: ET.Element) -> Symbol:
    """The symbol for a clef element."""
    if element.get("dis"):
        raise MeiError("octave clef")
    symbol = Symbol(f"clef-{element.get('shape')}{element.get('line')}")
    if not re.fullmatch(r"clef-[CFG][1-5]", symbol.rhythm):
        raise MeiError(f"clef {element.get('shape')}")
    return symbol


def key(part: ET.Element) -> Symbol | None:
    """The key signature that a definition or a measure prints: the last one."""
    child = _last(part, "keySig")
    written = part.get("keysig") or part.get("key.sig") if child is None else child.get("sig")
    if written is None:
        return None
    match = re.fullmatch(r"0|([1-7])([sf])", written)
    if match is None:
        raise MeiError(f"key signature {written}")
    count = int(match[1] or 0)
    return key_symbol(-count if match[2] == "f" else count)


def meter(part: ET.Element) -> Symbol | None:
    """The meter that a definition prints."""
    child = _last(part, "meterSig")
    prefix = "meter." if child is None else ""
    part = part if child is None else child
    form, sign = part.get(f"{prefix}form"), part.get(f"{prefix}sym")
    count, unit = part.get(f"{prefix}count"), part.get(f"{prefix}unit")
    hidden = form == "invis" or part.get(f"{prefix}visible") == "false"
    if hidden or (not sign and not (count and unit)) or count == "0":  # ABC's "M: none" is 0/0
        return None
    if sign in ("common", "cut"):
        return Symbol("timeSignature-C" if sign == "common" else "timeSignature-C/")
    if not re.fullmatch(r"\d+", count or ""):
        raise MeiError("additive meter")
    return Symbol(f"timeSignature-{count}/{unit}")


def _last(part: ET.Element, tag: str) -> ET.Element | None:
    # A second voice holds a copy of the first one's clef.
    return next((child for child in reversed(list(part.iter(tag))) if not child.get("sameas")), None)


def target(element: ET.Element, attribute: str) -> str:
    """The id that an attribute points to, "" without one."""
    return element.get(attribute, "").removeprefix("#")


def is_hidden(element: ET.Element) -> bool:
    """Whether an element takes its time but is not drawn."""
    return element.get("visible") == "false"
