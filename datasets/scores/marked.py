"""A staff as a small drawing for a page, with some of its symbols marked: what a model got wrong.

Verovio's drawing of `datasets.scores.mei_document`, stripped to its shapes. It has no ids, style sheet or font, so that
any number of them can stand in one page; it takes the colour of the text around it, and its size, too. What is marked
stands in a group of class `wrong`, in a colour of its own and within a box, since colour alone does not tell everybody.
A page may set another `color` for `.wrong`. A note without a pitch, which `Vocabulary.decode` makes C0, has a crossed
head on the middle line: down there nobody would look for it, and its ledger lines would fill the page.

This process may die in Verovio, so it belongs into a worker (`datasets.workers`).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from xml.sax.saxutils import escape, quoteattr

import verovio

from datasets.notation import CHORD, Symbol
from datasets.scores.engraving import ONE_LINE, EngravingError
from datasets.scores.ink import HREF, SVG
from datasets.scores.mei_document import write_mei
from datasets.scores.transcript import Transcript, transcribe

_UNITS_PER_EM = 360  # of the drawing: two staff spaces
_MARGIN = 60
_PADDING = 36  # between a marked symbol and its box
_EMPTY = (-90.0, 0.0, -76.0, 720.0)  # the box for a key without accidentals, from where the first would stand
_WRONG = "#e5383b"  # can be told from white and from black
_OUTLINE = 12
_SIGNS = {"clef": "clef", "keySig": "keySignature", "meterSig": "timeSignature"}
_PLACE = re.compile(r"translate\((-?[\d.]+), (-?[\d.]+)\) scale\(([\d.]+), [\d.]+\)")
_ID = re.compile(r"([scf])(\d+)(?:-\d+)?")
_NUMBER = re.compile(r"-?[\d.]+")
_NO_PITCH, _CROSS = ' pname="c" oct="0"', ' loc="4" head.shape="x"'  # in MEI


@dataclass(frozen=True)
class MarkedStaff:
    """A drawing.

    Attributes:
        svg: an SVG element to put into a page, or to save as a file.
        remarks: what was mended to draw it, and which marked symbols do not show, a line each.
    """

    svg: str
    remarks: tuple[str, ...]


def marked_svg(symbols: Sequence[Symbol], marked: Collection[int]) -> str:
    """The drawing of `draw_marked` without its remarks; these are in its `desc`, too."""
    return draw_marked(symbols, marked).svg


def draw_marked(symbols: Sequence[Symbol], marked: Collection[int]) -> MarkedStaff:
    """Draw symbols on one line, a grand staff on two staves.

    Args:
        marked: indices of the symbols to mark. Of a chord one note alone may be; a joiner stands for the note after it.

    Raises:
        EngravingError: Verovio refuses it.
    """
    transcript = transcribe(symbols)
    wrong = _without_joiners(symbols, marked)
    drawing = _Drawing(transcript, wrong)
    drawing.walk(ET.fromstring(_engraved(write_mei(transcript).replace(_NO_PITCH, _CROSS))))
    hidden = [f"symbol {index + 1}, {symbols[index]}, is not drawn" for index in sorted(wrong - drawing.shown)]
    remarks = (*transcript.remarks, *hidden)
    said = f"{len(wrong)} of {len(symbols)} symbols marked: {', '.join(str(symbols[index]) for index in sorted(wrong))}"
    return MarkedStaff(_page_element(drawing, said if wrong else f"{len(symbols)} symbols", remarks), remarks)


@dataclass
class _Box:
    """A rectangle that grows, in units of the drawing."""

    left: float = inf
    top: float = inf
    right: float = -inf
    bottom: float = -inf

    def take(self, left: float, top: float, right: float, bottom: float) -> None:
        self.left, self.top = min(self.left, left), min(self.top, top)
        self.right, self.bottom = max(self.right, right), max(self.bottom, bottom)

    def around(self, padding: float) -> tuple[float, float, float, float]:
        """Left, top, width and height of the rectangle, so much larger on every side."""
        return (
            self.left - padding,
            self.top - padding,
            self.right - self.left + 2 * padding,
            self.bottom - self.top + 2 * padding,
        )


@dataclass
class _Drawing:
    """Walks Verovio's drawing once, and keeps its shapes.

    Attributes:
        wrong: indices of the symbols to mark.
        shapes: what was drawn, as text.
        shown: those of `wrong` that were.
        ink: around all of it.
    """

    transcript: Transcript
    wrong: set[int]
    shapes: list[str] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    ink: _Box = field(default_factory=_Box)
    _glyphs: dict[str, str] = field(default_factory=dict)
    _row: int = -1
    _staff: int = -1
    _marking: _Box | None = None
    _empty: tuple[float, float] | None = None

    def walk(self, root: ET.Element) -> None:
        """Take a drawing."""
        for glyph in root.iterfind(f"{SVG}defs/{SVG}g"):
            self._glyphs[f"#{glyph.get('id')}"] = glyph[0].get("d", "")
        page = root.find(f"{SVG}svg")
        if page is None or next(page.iter(f"{SVG}path"), None) is None:
            raise EngravingError("nothing is drawn")
        self._children(page)

    def _children(self, parent: ET.Element, in_staff: bool = False) -> None:
        for child in parent:
            if child.tag == f"{SVG}g":
                self._group(child, in_staff)
            elif child.tag == f"{SVG}use":
                self._glyph(child)
            else:
                self._shape(child)

    def _group(self, group: ET.Element, in_staff: bool) -> None:
        classes = (group.get("class") or "").split()
        if "placeholder" in classes:
            return
        if "bounding-box" in classes:
            self._extent(group)
        elif "barLine" in classes:
            self._barlines(group)
        else:
            if "measure" in classes:
                self._row, self._staff = self._row + 1, -1
            self._staff += "staff" in classes
            indices = self._sign(classes) if in_staff else self._indices(group.get("id", ""))
            with self._marked(indices):
                self._children(group, in_staff="staff" in classes)

    @contextmanager
    def _marked(self, indices: set[int]) -> Iterator[None]:
        """Mark what is drawn meanwhile, if it stands for nothing but wrong symbols."""
        if self._marking is not None or not indices or not indices <= self.wrong:
            yield
            return
        shapes, self.shapes, self._marking, self._empty = self.shapes, [], _Box(), None
        yield
        inside, self.shapes, box, self._marking = self.shapes, shapes, self._marking, None
        if box.left == inf and self._empty is not None:
            x, y = self._empty
            box.take(x + _EMPTY[0], y + _EMPTY[1], x + _EMPTY[2], y + _EMPTY[3])
        if box.left == inf:
            return
        self.shown |= indices
        left, top, width, height = box.around(_PADDING)
        self.ink.take(left, top, left + width, top + height)
        self.shapes.append(
            f'<g class="wrong" color="{_WRONG}" fill="currentColor">{"".join(inside)}'
            f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{_PADDING}" fill-opacity=".12"'
            f' stroke="currentColor" stroke-width="{_OUTLINE}"/></g>'
        )

    def _indices(self, name: str) -> set[int]:
        """The symbols that a group stands for, by its id (`datasets.scores.mei_document`); all notes of a chord."""
        match = _ID.fullmatch(name)
        if match is None:
            return set()
        index = int(match[2])
        return self._chords.get(index, {index}) if match[1] == "c" else {index}

    @cached_property
    def _chords(self) -> dict[int, set[int]]:
        return {
            event.index: {head.index for head in event.heads}
            for staff in self.transcript.staves
            for measure in staff.measures
            for voice in measure.voices
            for event in voice
        }

    def _sign(self, classes: Sequence[str]) -> set[int]:
        """The sign in front of a measure, whose id Verovio does not keep."""
        staff = self.transcript.staves[self._staff]
        changes = staff.measures[self._row].changes if self._row < len(staff.measures) else ()
        signs = {event.symbol.kind: event.index for event in (*(staff.opening if self._row == 0 else ()), *changes)}
        return {signs[kind] for name in classes if (kind := _SIGNS.get(name, "")) in signs}

    def _barlines(self, group: ET.Element) -> None:
        """The barlines of all staves at the end of a measure, a path each."""
        paths = [child for child in group if child.tag == f"{SVG}path"]
        for path, staff in zip(paths, self.transcript.staves, strict=False):
            barline = staff.measures[self._row].barline if self._row < len(staff.measures) else None
            with self._marked(set() if barline is None else {barline}):
                self._shape(path)
                x, top, _, bottom = map(float, _NUMBER.findall(path.get("d", "")))
                self._extend(x, top, x, bottom)

    def _extent(self, group: ET.Element) -> None:
        for rect in group:
            left, top, width, height = (float(rect.get(name, "0")) for name in ("x", "y", "width", "height"))
            if width and height:
                self._extend(left, top, left + width, top + height)
            elif "keySig" in (group.get("class") or ""):
                self._empty = left, top

    def _extend(self, left: float, top: float, right: float, bottom: float) -> None:
        for box in (self.ink, self._marking):
            if box is not None:
                box.take(left, top, right, bottom)

    def _glyph(self, use: ET.Element) -> None:
        place = _PLACE.fullmatch(use.get("transform", ""))
        if place is None:
            raise EngravingError(f"a glyph at {use.get('transform')}")
        x, y, scale = (float(number) for number in place.groups())
        path = self._glyphs[use.get(HREF, "")]
        self.shapes.append(f'<path transform="translate({x:g} {y:g})scale({scale:g} {-scale:g})" d="{path}"/>')

    def _shape(self, element: ET.Element) -> None:
        stroke = ' stroke="currentColor"' if element.get("stroke-width") else ""
        attributes = "".join(f" {name}={quoteattr(value)}" for name, value in element.attrib.items())
        self.shapes.append(f"<{element.tag.removeprefix(SVG)}{attributes}{stroke}/>")


def _without_joiners(symbols: Sequence[Symbol], marked: Collection[int]) -> set[int]:
    """What to mark: of a wrong joiner the note after it, unless one of its notes is wrong anyway."""
    joiners = {index for index in marked if symbols[index].rhythm == CHORD}
    wrong = set(marked) - joiners
    return wrong | {index + 1 for index in joiners if not {index - 1, index + 1} & wrong and index + 1 < len(symbols)}


def _engraved(mei: str) -> str:
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setInputFrom("mei")
    toolkit.setOptions({**ONE_LINE, "svgBoundingBoxes": True})
    if not toolkit.loadData(mei):
        raise EngravingError("the engraver refuses it")
    return str(toolkit.renderToSVG(1))


def _page_element(drawing: _Drawing, said: str, remarks: Sequence[str]) -> str:
    left, top, width, height = drawing.ink.around(_MARGIN)
    desc = f"<desc>{escape('; '.join(remarks))}</desc>" if remarks else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={quoteattr(said)} fill="currentColor"'
        f' viewBox="{left:g} {top:g} {width:g} {height:g}"'
        f' width="{width / _UNITS_PER_EM:.2f}em" height="{height / _UNITS_PER_EM:.2f}em">'
        f"{desc}{''.join(drawing.shapes)}</svg>"
    )
