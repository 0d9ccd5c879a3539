"""A few staves and measures of a score as a score of their own, to be drawn as they stand.

Kept are slurs, dynamics, articulation and ornaments; left out is whatever is text (lyrics, tempo, fingering), because
no font but the engraver's own is at hand on every machine, and what begins or ends outside. Stems go where an engraver
puts them: converters have turned all of them down.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence

from datasets.notation import Symbol
from datasets.scores.measures import Measure
from datasets.scores.mei_layers import Voice
from datasets.scores.mei_symbols import XML_ID, MeiError, clef_symbol, target
from datasets.scores.mei_writer import attribute_element

_NAMESPACE = "http://www.music-encoding.org/ns/mei"
_CONTROLS = frozenset(
    (
        *("arpeg", "beamSpan", "breath", "bracketSpan", "caesura", "dynam", "fermata", "gliss", "hairpin", "lv"),
        *("mordent", "ornam", "pedal", "slur", "tie", "trill", "turn"),
    )
)
_SPANS = frozenset({"beamSpan", "bracketSpan", "gliss", "slur", "tie"})
_TEXT = frozenset({"verse", "syl", "fing"})


def excerpt(score: ET.Element, staves: Mapping[str, Sequence[Measure]], start: int, stop: int) -> str:
    """Measures `start` to `stop` (excluded) of some staves, as MEI.

    Args:
        score: the tree, left as it is.
        staves: by their number, the top one first, all their measures.
    """
    parts = {number: measures[start:stop] for number, measures in staves.items()}
    section = ET.Element("section")
    for index, original in enumerate(list(score.iter("measure"))[start:stop]):
        here = {number: measures[index] for number, measures in parts.items()}
        if index:
            section.extend(_changes(here))
        section.append(_measure(original, here, is_first=index == 0))
    ids = {element.get(XML_ID, "") for element in section.iter()}
    for index, measure in enumerate(section.iterfind("measure")):
        _drop_loose_ends(measure, ids, left=stop - start - 1 - index)
    root = ET.Element("mei", xmlns=_NAMESPACE)
    place = root
    for tag in ("music", "body", "mdiv", "score"):
        place = ET.SubElement(place, tag)
    place.append(_opening({number: measures[0] for number, measures in parts.items()}))
    place.append(section)
    return ET.tostring(root, encoding="unicode")


def _opening(first: Mapping[str, Measure]) -> ET.Element:
    """Clef and key of each staff, and the meter where the score shows it here."""
    definition = ET.Element("scoreDef")
    is_grand = len(first) > 1
    group = ET.SubElement(definition, "staffGrp", {"symbol": "brace", "bar.thru": "true"} if is_grand else {})
    for number, measure in first.items():
        shown = {symbol.kind: symbol for symbol in (measure.clef, measure.key, *measure.changes)}
        group.append(_staff_definition(number, shown.values()))
    return definition


def _changes(here: Mapping[str, Measure]) -> Iterator[ET.Element]:
    """The keys and meters that stand before a measure. Clefs are put into it."""
    group = ET.Element("staffGrp")
    for number, measure in here.items():
        changes = [symbol for symbol in measure.changes if symbol.kind != "clef"]
        if changes:
            group.append(_staff_definition(number, changes))
    if len(group):
        definition = ET.Element("scoreDef")
        definition.append(group)
        yield definition


def _staff_definition(number: str, symbols: Iterable[Symbol]) -> ET.Element:
    definition = ET.Element("staffDef", n=number, lines="5")
    definition.extend(ET.fromstring(attribute_element(symbol)) for symbol in symbols)
    return definition


def _measure(original: ET.Element, here: Mapping[str, Measure], is_first: bool) -> ET.Element:
    attributes = {name: original.get(name, "") for name in ("right", "left") if original.get(name)}
    if is_first:
        attributes.pop("left", None)
    measure = ET.Element("measure", attributes)
    for number, read in here.items():
        staff = copy.deepcopy(original.find(f"staff[@n='{number}']"))
        if staff is None:
            raise MeiError(f"no staff {number} in a measure")
        _clean(staff)
        _drop_repeated_clefs(staff, read.clef)
        layers = staff.findall("layer")
        if not is_first:
            clefs = [symbol for symbol in read.changes if symbol.kind == "clef"]
            layers[0][:0] = [ET.fromstring(attribute_element(clef)) for clef in clefs]
        _merge_rests(layers)
        measure.append(staff)
    for control in original:
        if control.tag in _CONTROLS and set(control.get("staff", "").split()) <= here.keys():
            measure.append(copy.deepcopy(control))
    return measure


def _clean(staff: ET.Element) -> None:
    for parent in list(staff.iter()):
        parent.attrib.pop("stem.dir", None)
        for child in [child for child in parent if child.tag in _TEXT]:
            parent.remove(child)


def _drop_repeated_clefs(staff: ET.Element, in_force: Symbol) -> None:
    """Remove the clefs that only repeat the one before, which no label mentions, and their copies in other voices."""
    dropped: set[str] = set()
    for parent in list(staff.iter()):
        for clef in parent.findall("clef"):
            if clef.get("sameas"):
                repeats = target(clef, "sameas") in dropped
            else:
                repeats = clef_symbol(clef) == in_force
                in_force = clef_symbol(clef)
            if repeats:
                dropped.add(clef.get(XML_ID, ""))
                parent.remove(clef)


def _merge_rests(layers: Sequence[ET.Element]) -> None:
    """A rest that two voices have at once is drawn once."""
    seen: set[tuple[object, ...]] = set()
    for layer in layers:
        voice = Voice()
        voice.read(layer)
        for event in voice.events:
            rest = event.element
            if rest.tag in ("rest", "mRest"):
                place = (event.onset, rest.tag, rest.get("dur"), rest.get("dots"))
                if place in seen:
                    rest.tag = "space" if rest.tag == "rest" else "mSpace"
                seen.add(place)


def _drop_loose_ends(measure: ET.Element, ids: set[str], left: int) -> None:
    """Remove the signs that begin, end or continue outside; `left` measures follow this one."""
    for control in [child for child in measure if child.tag in _CONTROLS]:
        points = [target(control, name) for name in ("startid", "endid") if control.get(name)]
        points += [point.removeprefix("#") for point in control.get("plist", "").split()]
        lasts, _, _ = control.get("tstamp2", "0m+0").partition("m+")
        is_anchored = bool(points) or control.get("staff") is not None
        is_whole = control.tag not in _SPANS or len(points) > 1
        if not (is_anchored and is_whole and set(points) <= ids and int(lasts) <= left):
            measure.remove(control)
