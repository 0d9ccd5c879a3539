"""What the drawing of a score shows, against what the labels of its staves say.

A score's own drawing may show more than its label: slurs, dynamics, articulation, the numbers of tuplets, ties of
chords. So here only what the encoding has words for is compared, staff by staff: heads, accidentals, rests, dots,
clefs, keys, meters and barlines; ties at least as many as the label has; fermatas at least one a place and at most one
a head.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence

from datasets.notation import BARLINE, FERMATA, Symbol, events
from datasets.scores.ink import HREF, SVG, glyph_ink, groups, symbol_ink

_COMPARED = frozenset({"accid", "clef", "dots", "keyAccid", "meterSig", "multiRestNum", "notehead", "rest"})
_FREE = frozenset({"accid E26A", "accid E26B"})  # parentheses
_OUTLINES = {f"{SVG}polygon", f"{SVG}rect"}  # of the head of a long
_SHARED = frozenset({"accid", "dots", "notehead"})


def compare(labels: Sequence[Sequence[Symbol]], svg_root: ET.Element) -> tuple[Counter[str], Counter[str]]:
    """What is missing in the drawing of these staves, and what is too much; the top staff first."""
    missing: Counter[str] = Counter()
    extra: Counter[str] = Counter()
    for number, symbols in enumerate(labels):
        fewest, most = _expected(symbols)
        drawn = _drawn(svg_root, number)
        missing += fewest - drawn
        extra += drawn - most
        bars = Counter({BARLINE: sum(symbol.rhythm == BARLINE for symbol in symbols)})
        drawn_bars = Counter({BARLINE: _count(svg_root, "barLine")})
        missing += bars - drawn_bars
        extra += drawn_bars - bars
    for name, said in (("tie", _ties(labels)), ("fermata", _fermatas(labels))):
        missing += Counter({name: said - _count(svg_root, name)})
    extra += Counter({"fermata": _count(svg_root, "fermata") - _heads_with_fermata(labels)})
    return missing, extra


def _expected(symbols: Sequence[Symbol]) -> tuple[Counter[str], Counter[str]]:
    """The fewest and the most inks of each kind: two heads of one pitch may
    stand on each other and share an accidental; dots of a chord may be shared too."""
    fewest: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for event in events(symbols):
        inks = [(symbol.pitch, ink) for symbol in event for ink in symbol_ink(symbol) if _is_compared(ink)]
        most.update(ink for _, ink in inks)
        fewest.update(ink for _, ink in inks if ink.split()[0] not in _SHARED)
        fewest.update(ink for _, ink in set(inks) if ink.split()[0] in ("accid", "notehead"))
        fewest["dots"] += max(Counter(pitch for pitch, ink in inks if ink == "dots").values(), default=0)
    return fewest, most


def _drawn(svg_root: ET.Element, number: int) -> Counter[str]:
    """What stands on the staff with this number, each glyph once a place."""
    places: set[tuple[str, str]] = set()
    for measure in groups(svg_root, "measure"):
        staves = measure.findall(f"{SVG}g[@class='staff']")
        for group in staves[number].iter(f"{SVG}g"):
            places |= set(_glyphs(group))
    return Counter(ink for ink, _ in places if _is_compared(ink))


def _glyphs(group: ET.Element) -> Iterator[tuple[str, str]]:
    drawn_class = (group.get("class") or "").split(" ")[0]
    for glyph in group.iterfind(f"{SVG}use"):
        for ink in glyph_ink(drawn_class, glyph.get(HREF, "")[1:5]):
            yield ink, glyph.get("transform", "")
    if drawn_class == "dots":
        for dot in group.iterfind(f"{SVG}ellipse"):
            yield "dots", f"{dot.get('cx')} {dot.get('cy')}"
    if drawn_class == "notehead":
        for shape in group:
            if shape.tag in _OUTLINES:
                yield "notehead shape", str(sorted(shape.items()))


def _is_compared(ink: str) -> bool:
    return ink.split()[0] in _COMPARED and ink not in _FREE


def _count(svg_root: ET.Element, drawn_class: str) -> int:
    """How many groups of a class have anything in them."""
    return sum(len(group) > 0 for group in groups(svg_root, drawn_class))


def _ties(labels: Sequence[Sequence[Symbol]]) -> int:
    return sum(symbol.rhythm == "tie" for symbols in labels for symbol in symbols)


def _fermatas(labels: Sequence[Sequence[Symbol]]) -> int:
    """The places with a fermata."""
    return sum(
        any(symbol.rhythm.endswith(FERMATA) for symbol in event) for symbols in labels for event in events(symbols)
    )


def _heads_with_fermata(labels: Sequence[Sequence[Symbol]]) -> int:
    """The most fermatas that there can be: voices that begin together have one each."""
    return sum(symbol.rhythm.endswith(FERMATA) for symbols in labels for symbol in symbols)
