"""A label, engraved: MEI from `datasets.scores.mei_writer`, drawn by Verovio, turned into pixels by resvg.

The staff stands centred in an image of constant size and ends where its music ends. Music font, scale, spacing,
line widths and position vary a little with the seed, so that a corpus is not one typographic cliche; distortion
comes later (`datasets.pictures.distortion`).

Every drawing is compared with its label, glyph by glyph (`drawn_ink` against `expected_ink`), so a staff whose
image shows more or less than its label says is rejected, not learned.

This process may die in Verovio, so it belongs into a worker (`datasets.workers`).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import resvg_py
import verovio

from datasets.images import WHITE, Gray, decode_png
from datasets.scores.ink import SVG, drawn_ink, expected_ink, groups
from datasets.scores.measures import StaffRun
from datasets.scores.mei_writer import write
from datasets.staff import StaffSize

FONTS = ("Leipzig", "Bravura", "Leland", "Gootville", "Petaluma")
_FONT_WEIGHTS = (0.28, 0.26, 0.22, 0.16, 0.08)  # Petaluma looks handwritten: seldom

ONE_LINE = {
    "adjustPageHeight": True,
    "adjustPageWidth": True,
    "breaks": "none",
    "footer": "none",
    "header": "none",
    "pageMarginBottom": 0,
    "pageMarginLeft": 0,
    "pageMarginRight": 0,
    "pageMarginTop": 0,
}
"""Verovio's options for a drawing of one endless line and nothing around it."""
_PAGE_UNITS_PER_STAFF_SPACE = 18.0  # Verovio's default `unit` is 9, half a staff space
_DRAWING_SCALE = 10.0  # the inner drawing counts in tenths of a page unit
_MARGIN_LEFT = 0.9  # staff spaces of white before the staff
_MARGIN_RIGHT = 0.5
_BRACE = 2.5  # staff spaces that a brace takes
_SHIFT_LIMIT = 1.5  # staff spaces that a staff may leave the centre for high or low notes

_INNER = '<svg class="definition-scale"'
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
_HIDE_PLACEHOLDERS = "<style>g.placeholder {visibility: hidden}</style>"


class EngravingError(ValueError):
    """A staff that has no faithful image of this size, with the reason as its message."""


class TooWideError(EngravingError):
    """More music than the image is wide; `measures` of it fit (to be engraved anew, as one staff of its own)."""

    def __init__(self, measures: int) -> None:
        super().__init__("wider than the image")
        self.measures = measures


@dataclass(frozen=True)
class Typography:
    """How one staff is set. Lengths in staff spaces where not said otherwise."""

    font: str
    staff_space: float  # pixels
    spacing_linear: float
    spacing_non_linear: float
    staff_line_width: float
    stem_width: float
    bar_line_width: float
    offset_x: float
    offset_y: float

    @classmethod
    def seeded(cls, seed: int, size: StaffSize) -> Typography:
        """The typography of a staff; the same seed gives the same one."""
        rng = np.random.default_rng(seed)
        return cls(
            font=str(rng.choice(FONTS, p=_FONT_WEIGHTS)),
            staff_space=size.staff_space * rng.uniform(0.92, 1.06),
            spacing_linear=rng.uniform(0.25, 0.40),
            spacing_non_linear=rng.uniform(0.55, 0.65),
            staff_line_width=rng.uniform(0.16, 0.28),
            stem_width=rng.uniform(0.20, 0.30),
            bar_line_width=rng.uniform(0.30, 0.45),
            offset_x=rng.uniform(0.0, 1.0),
            offset_y=rng.uniform(-0.4, 0.4),
        )

    def tight(self) -> Typography:
        """The same, with the notes as close as an engraver would set them."""
        return replace(self, spacing_linear=0.20, spacing_non_linear=0.50)

    def options(self) -> dict[str, object]:
        """As Verovio's options, whose lengths are in half staff spaces."""
        return {
            **ONE_LINE,
            "svgViewBox": True,
            "font": self.font,
            "spacingLinear": self.spacing_linear,
            "spacingNonLinear": self.spacing_non_linear,
            "staffLineWidth": self.staff_line_width,
            "stemWidth": self.stem_width,
            "barLineWidth": self.bar_line_width,
        }


def engrave(run: StaffRun, size: StaffSize, seed: int, tight: bool = False) -> Gray:
    """Draw a staff, [size.height, size.width].

    Args:
        seed: of its typography.
        tight: set the notes closer than the seed says.

    Raises:
        TooWideError: it is wider than the size.
        EngravingError: it is higher than the size, or the drawing is not what the label says.
        NotationError: the label is no staff (`datasets.scores.mei_writer.write`).
    """
    typography = Typography.seeded(seed, size)
    if tight:
        typography = typography.tight()
    drawing = draw(run, typography)
    root = ET.fromstring(drawing)
    _check_ink(run, root)
    return rasterise(drawing, root, typography, size)


def draw(run: StaffRun, typography: Typography) -> str:
    """The staff as Verovio's SVG."""
    return draw_mei(write(run), typography)


def draw_mei(mei: str, typography: Typography) -> str:
    """A score on one endless line, as Verovio's SVG."""
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setInputFrom("mei")
    toolkit.setOptions(typography.options())
    if not toolkit.loadData(mei):
        raise EngravingError("the engraver refuses it")
    return str(toolkit.renderToSVG(1))


def _check_ink(run: StaffRun, root: ET.Element) -> None:
    expected, drawn = expected_ink(run), drawn_ink(root)
    if expected != drawn:
        raise EngravingError(f"image and label differ: {difference(expected, drawn)}")


def difference(expected: Counter[str], drawn: Counter[str]) -> str:
    """In words, what is missing in a drawing and what is too much."""
    missing, extra = sorted(expected - drawn), sorted(drawn - expected)
    parts = [f"no {name}" for name in missing] + [f"unexpected {name}" for name in extra]
    return ", ".join(parts[:4])


def rasterise(drawing: str, root: ET.Element, typography: Typography, size: StaffSize) -> Gray:
    """The drawing at its scale, cut to the size: its staves in the middle, or a little off it for high notes.

    Args:
        drawing, root: Verovio's SVG, as text and as a tree.

    Raises:
        TooWideError: it is wider than the size.
        EngravingError: it is higher than the size.
    """
    scale = typography.staff_space / _PAGE_UNITS_PER_STAFF_SPACE
    reach = round(_SHIFT_LIMIT * typography.staff_space)
    width, height = size.width / scale, (size.height + 2 * reach) / scale
    has_brace = next(groups(root, "grpSym"), None) is not None
    margin = _MARGIN_LEFT + (_BRACE if has_brace else 0.0)
    left = -(margin + typography.offset_x) * _PAGE_UNITS_PER_STAFF_SPACE
    top = _middle(root) - height / 2 + typography.offset_y * _PAGE_UNITS_PER_STAFF_SPACE
    _check_width(root, left + width)
    window = f'viewBox="{left:.3f} {top:.3f} {width:.3f} {height:.3f}"'
    pixels = f'width="{size.width}" height="{size.height + 2 * reach}"'
    svg = _reframed(drawing, root.get("viewBox", ""), f"{window} {pixels}", "visible" if has_brace else "hidden")
    png = resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", skip_system_fonts=True)
    return _cut_to_height(decode_png(png), size.height, reach)


def _reframed(drawing: str, view_box: str, frame: str, overflow: str) -> str:
    """The same drawing in another window of the page; `overflow` is what becomes of a brace, to the left of it."""
    _, _, page_width, page_height = view_box.split()
    framed = drawing.replace(f'viewBox="{view_box}"', frame, 1)
    # The drawing inside would take the size of whatever is around it.
    page = f'{_INNER} width="{page_width}" height="{page_height}" overflow="{overflow}"'
    fixed = framed.replace(_INNER, page, 1)
    # Verovio's style sheet has the outline of every glyph stroked, for a difference that no eye sees and a quarter of
    # the time; lines alone need it.
    return _STYLE.sub(_HIDE_PLACEHOLDERS, fixed, count=1).replace("stroke-width=", 'stroke="black" stroke-width=')


def _cut_to_height(image: Gray, height: int, centred: int) -> Gray:
    """`height` rows from row `centred` on, or from the row next to it that cuts off no ink."""
    rows = np.flatnonzero((image < WHITE).any(axis=1))
    if not rows.size:  # Verovio has lost a staff beyond the page
        raise EngravingError("nothing is drawn")
    lowest, highest = max(0, rows[-1] + 2 - height), min(image.shape[0] - height, rows[0] - 1)
    if lowest > highest or rows[-1] == image.shape[0] - 1:
        raise EngravingError("higher than the image")
    start = min(max(centred, lowest), highest)
    return image[start : start + height]


def _check_width(root: ET.Element, right: float) -> None:
    """Raise TooWideError unless the staff ends well before `right`, in page units."""
    ends = barline_positions(root)
    limit = right - _MARGIN_RIGHT * _PAGE_UNITS_PER_STAFF_SPACE
    if ends and ends[-1] > limit:
        raise TooWideError(sum(end <= limit for end in ends))


def barline_positions(root: ET.Element) -> list[float]:
    """The x of every barline that is drawn, in page units."""
    paths = [group.find(f"{SVG}path") for group in groups(root, "barLine")]
    return [float(path.get("d", "").split()[0][1:]) / _DRAWING_SCALE for path in paths if path is not None]


def _middle(root: ET.Element) -> float:
    """The y of the middle between the top line of the first staff and the bottom line of the last, in page units."""
    system = [measure.findall(f"{SVG}g[@class='staff']") for measure in groups(root, "measure")]
    if not system or not system[0]:
        raise EngravingError("no staff is drawn")
    top, bottom = (
        float(staff.findall(f"{SVG}path")[line].get("d", "").split()[1])
        for staff, line in ((system[0][0], 0), (system[0][-1], 4))
    )
    return (top + bottom) / 2 / _DRAWING_SCALE
