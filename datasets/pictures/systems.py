"""Cut the picture of a grand staff in two, between its staves.

The cut runs where there is least ink, so that a note on ledger lines stays with its staff, however near it comes to the
other one. What lies beyond the cut is painted over with the paper's own tone: in a picture of one staff, nothing shows
where the other one was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import Gray
from datasets.pictures.staff_lines import Floats, StaffPlace, darkness, find_staves, paper

NOT_TWO_STAVES = "no two staves are found in the picture"
INTERTWINED = "the notes of the two staves run into each other"

_SEAM_SPACE = 5.0  # pixels a staff space of the picture in which the cut is looked for: enough to pass between notes
_LENGTH_PRICE = 0.002  # of a pixel of the cut, in pixels of black ink
_STRAY_PRICE = 0.003  # more, where it touches a staff instead of running in the middle
_GAP_PRICE = 0.04  # more, between two ledger lines, which hold a note to its staff
_WITHIN_STAFF = 100.0  # the price of a pixel within a staff
_CLEARANCE = 0.15  # staff spaces between the cut and a staff's outer line, at the least
_MOST_INK_CUT = 1.0  # pixels of black: about what a stem has
_NOISE = 0.06  # share of the light that grain takes away
_INK = 0.25  # share of the light that ink takes away: a blurred stem, and all that is blacker
_MARGIN = 0.7  # staff spaces of paper above and below what is printed


class SplitError(ValueError):
    """A picture that cannot be cut in two: the message is `NOT_TWO_STAVES` or `INTERTWINED`."""


@dataclass(frozen=True, eq=False)
class StaffPicture:
    """The picture of one staff, uint8 [height, width], and its staff space in pixels."""

    image: Gray
    space: float


def two_staves(image: Gray) -> tuple[StaffPlace, StaffPlace]:
    """Where the two staves of a grand staff lie, uint8 [height, width].

    Raises:
        SplitError: the picture has not exactly two staves, or they cannot be told from what is around them.
    """
    staves = find_staves(image)
    if len(staves) != 2:
        raise SplitError(NOT_TWO_STAVES)
    return staves[0], staves[1]


def split_system(image: Gray, least_height: float) -> tuple[StaffPicture, StaffPicture]:
    """The upper staff and the lower staff, each with all that belongs to it and as wide as the whole picture.

    Args:
        image: of a grand staff, uint8 [height, width].
        least_height: of the two pictures, in staff spaces; they are higher where much hangs above or below.

    Raises:
        SplitError: as `two_staves`; or what hangs between them cannot be told apart.
    """
    upper, lower = two_staves(image)
    space = float(np.mean([upper.space.mean(), lower.space.mean()]))
    dark = darkness(image, space)
    above = np.arange(len(image))[:, None] < _seam(dark, upper, lower, space)
    blank = paper(image, space).astype(np.uint8)
    halves = []
    for place, belongs in ((upper, above), (lower, ~above)):
        rows = _window(np.where(belongs, dark, 0), place, least_height)
        halves.append(StaffPicture(np.where(belongs, image, blank)[rows], float(place.space.mean())))
    return halves[0], halves[1]


def _seam(dark: Floats, upper: StaffPlace, lower: StaffPlace, space: float) -> npt.NDArray[np.intp]:
    """The row at every column, [width], above which everything belongs to the upper staff.

    Raises:
        SplitError: it would cut through more than barlines.
    """
    scale = min(1.0, _SEAM_SPACE / space)
    shrunk = cv2.resize(dark, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ink = np.asarray((shrunk - _NOISE) / (_INK - _NOISE), dtype=np.float32).clip(0, 1)
    height, width = ink.shape
    columns = np.minimum((np.arange(width) / scale).astype(np.intp), dark.shape[1] - 1)
    top, bottom = ((edge[columns] * scale)[None] for edge in (upper.line(4 + _CLEARANCE), lower.line(-_CLEARANCE)))
    rows = np.arange(height)[:, None]
    from_middle = np.abs(2 * (rows - top) / np.maximum(bottom - top, 1) - 1)  # 1 at either staff
    gaps = _ledger_gaps(ink, (top, bottom), scale * space)
    price = ink + _GAP_PRICE * gaps + _LENGTH_PRICE + _STRAY_PRICE * from_middle**2
    seam = _cheapest_way(price + _WITHIN_STAFF * (from_middle > 1))
    inside = slice(int(max(upper.left, lower.left) * scale), int(min(upper.right, lower.right) * scale))
    _check_cut(ink[:, inside], seam[inside], from_middle[:, inside] < 1)
    everywhere = np.minimum((np.arange(dark.shape[1]) * scale).astype(np.intp), width - 1)
    return np.asarray(np.rint((seam[everywhere] + 0.5) / scale), dtype=np.intp)


def _ledger_gaps(dark: Floats, staves: Sequence[Floats], space: float) -> Floats:
    """Where the paper lies between two ledger lines, or between one and its staff, [height, width]."""
    beams = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((1, round(3 * space)), np.uint8))
    lines = dark - beams
    for staff in staves:
        lines[np.rint(staff[0]).astype(np.intp).clip(0, len(lines) - 1), np.arange(lines.shape[1])] = 1
    return np.asarray(cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((round(1.1 * space), 1), np.uint8)))


def _check_cut(dark: Floats, seam: npt.NDArray[np.intp], between: npt.NDArray[np.bool_]) -> None:
    """Raise SplitError where a cut leads through ink, other than that of lines from one staff to the other.

    Only where there are staves: before them stands a brace.
    """
    slanting = cv2.dilate(dark, np.ones((1, 3), np.uint8))
    through = np.where(between, slanting, 1).min(axis=0) > _INK
    barline = cv2.dilate(through.astype(np.uint8)[None], np.ones((1, 3), np.uint8))[0] > 0
    columns = np.arange(len(seam))
    before = np.concatenate([seam[:1], seam[:-1]])
    low, high = np.minimum(before, seam), np.maximum(before, seam)
    depths = np.cumsum(np.vstack([np.zeros(len(seam)), dark]), axis=0)
    cut = float(np.where(barline, 0, depths[high + 1, columns] - depths[low, columns]).sum())
    if cut > _MOST_INK_CUT:
        raise SplitError(INTERTWINED)


def _cheapest_way(price: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The row at which the cheapest way from left to right leaves every column, [width].

    A way moves right, up and down, never back, and pays for every pixel that it enters.
    """
    height, width = price.shape
    rows = np.arange(height)
    entered = np.zeros((width, height), np.intp)
    total = np.zeros(height)
    for column in range(width):
        arrival = total + price[:, column]
        below = np.cumsum(price[:, column])  # down from row a to row b costs below[b] - below[a]
        above = below - price[:, column]  # up from row b to row a costs above[b] - above[a]
        downwards, from_above = _running_minimum(arrival - below)
        upwards, from_below = _running_minimum((arrival + above)[::-1])
        down, up = downwards + below, upwards[::-1] - above
        total = np.minimum(down, up)
        entered[column] = np.where(down <= up, from_above, rows[::-1][from_below[::-1]])
    way = np.zeros(width, np.intp)
    way[-1] = total.argmin()
    for column in range(width - 1, 0, -1):
        way[column - 1] = entered[column, way[column]]
    return way


def _running_minimum(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """The least value up to every index, and where it stands."""
    least = np.minimum.accumulate(values)
    indices = np.where(values == least, np.arange(len(values)), 0)
    return least, np.maximum.accumulate(indices)


def _window(dark: Floats, place: StaffPlace, least_height: float) -> slice:
    """The rows with all ink, the staff in their middle as far as the picture goes."""
    space = float(place.space.mean())
    side = 2 * round(0.15 * space) + 1  # a speck of noise is no ink
    inked = np.flatnonzero((cv2.blur(dark, (side, side)) > _INK).any(axis=1))
    ends = np.concatenate([inked, [place.line(0).min(), place.line(4).max()]])
    top, bottom = ends.min() - _MARGIN * space, ends.max() + _MARGIN * space
    height = min(len(dark), round(max(bottom - top, least_height * space)))
    centred = float(place.middle.mean()) - height / 2
    start = round(np.clip(np.clip(centred, bottom - height, top), 0, len(dark) - height))
    return slice(start, start + height)
