"""A chorale in four staves as the two of a keyboard score: soprano and alto on one staff, tenor and bass on the other.

Accidentals are printed anew: what one voice has altered, the other must cancel now that they share a staff. A fermata
stands above the upper staff and below the lower one, not at every voice.
"""

from __future__ import annotations

import copy
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from datasets.scores.mei_symbols import ACCIDENTALS, MeiError, sounding_accidental
from datasets.scores.missing_accidentals import print_accidentals
from datasets.scores.score import Score

_CLEFS = (("G", "2"), ("F", "4"))
_CONTROLS = frozenset({"fermata", "slur", "tie", "trill"})


def closed(score: Score) -> Score:
    """Four staves as two.

    Raises:
        MeiError: the score has not four staves.
    """
    definition = score.root.find("scoreDef")
    parts = [] if definition is None else [_Part(staff_def) for staff_def in definition.iter("staffDef")]
    if definition is None or len(parts) != 4:
        raise MeiError("not in four parts")
    ppq = math.lcm(*(part.ppq for part in parts))
    root = ET.Element("score")
    root.append(_definition(definition, parts[0].number, ppq, with_clefs=True))
    section = ET.SubElement(root, "section")
    for element in score.root.iter():
        if element.tag == "measure":
            section.append(_measure(element, parts, ppq))
        elif element.tag == "scoreDef" and element is not definition:
            section.append(_definition(element, parts[0].number, ppq, with_clefs=False))
    print_accidentals(root)
    return Score(root)


class _Part:
    """A staff of the open score: its `n`, and the units of its `dur.ppq` in a quarter."""

    def __init__(self, staff_def: ET.Element) -> None:
        self.number = staff_def.get("n", "")
        self.ppq = int(staff_def.get("ppq", "1"))


def _definition(definition: ET.Element, soprano: str, ppq: int, with_clefs: bool) -> ET.Element:
    """Key and meter as the soprano has them, for both staves."""
    own = definition.find(f".//staffDef[@n='{soprano}']")
    signs = [part.find(tag) for tag in ("keySig", "meterSig") for part in (own, definition) if part is not None]
    result = ET.Element("scoreDef")
    group = ET.SubElement(result, "staffGrp")
    for number, (shape, line) in enumerate(_CLEFS, start=1):
        staff = ET.SubElement(group, "staffDef", n=str(number), lines="5", ppq=str(ppq))
        if with_clefs:
            ET.SubElement(staff, "clef", shape=shape, line=line)
        staff.extend(copy.deepcopy(sign) for sign in signs if sign is not None)
    return result


def _measure(original: ET.Element, parts: Sequence[_Part], ppq: int) -> ET.Element:
    measure = ET.Element("measure", {name: value for name, value in original.items() if name in ("left", "right")})
    for number, (upper, lower) in enumerate((parts[:2], parts[2:]), start=1):
        staff = ET.SubElement(measure, "staff", n=str(number))
        for part in (upper, lower):
            for layer in original.iterfind(f"staff[@n='{part.number}']/layer"):
                staff.append(_voice(layer, len(staff) + 1, ppq // part.ppq))
    outer = (parts[0].number, parts[3].number)
    for control in original:
        place = control.get("staff", "")
        if control.tag in _CONTROLS and (control.tag != "fermata" or place in outer):
            sign = ET.SubElement(measure, control.tag, control.attrib)
            if place:
                sign.set("staff", "1" if place in (parts[0].number, parts[1].number) else "2")
    return measure


def _voice(layer: ET.Element, number: int, scale: int) -> ET.Element:
    """A voice without clefs, and with its accidentals as what sounds; `scale` brings its durations to one unit."""
    voice = copy.deepcopy(layer)
    voice.set("n", str(number))
    for parent in list(voice.iter()):
        for clef in parent.findall("clef"):
            parent.remove(clef)
        if ticks := parent.get("dur.ppq"):
            parent.set("dur.ppq", str(int(ticks) * scale))
    for note in voice.iter("note"):
        sounding = sounding_accidental(note)
        for sign in note.findall("accid"):
            note.remove(sign)
        note.attrib.pop("accid", None)
        note.set("accid.ges", ACCIDENTALS[sounding or "N"])
    return voice
