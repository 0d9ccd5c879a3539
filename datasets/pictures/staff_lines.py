"""Find the staves of a picture, print or photograph.

The paper may be gray and unevenly lit; the lines may slope, bend and converge, as in the `_distorted` pictures of
GrandStaff. A staff is found as a whole, not line by line: a comb of five lines is slid over narrow bands of the
picture, then the arcs along which it fits best all the way are looked for, and each is followed closely. Line by line,
a beam or a row of ledger lines is easily taken for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import Gray

Floats = npt.NDArray[np.float32]

_LEAST_SPACE = 3.0  # pixels between two lines; below, nobody reads the notes
_PICTURE_SPACES = 9  # a picture is at least so many staff spaces high: a staff, and something around it
_SPACES = np.linspace(0.85, 1.15, 13)  # of the picture's staff space: what perspective makes of it in places
_LINE_WIDTH = 0.1  # staff spaces
_LOUDEST = 1.0  # of a line's ink: what a beam, which is blacker, may count
_STEEPEST = 0.1  # slope of an arc: 6 degrees
_MOST_BENT = 2.0  # staff spaces from an arc's ends to its crown
_CORRIDOR = 0.6  # staff spaces that a staff may leave its arc; with a whole one it could be mistaken by a line
_BEND = 0.05  # price of a change of height from band to band, by the square of the pixels, in combs that fit wholly
_FAINTEST = 0.02  # share of the light that the lines take away on the average
_WEAKEST = 0.35  # of the clearest staff: a staff that is found less clearly is none
_APART = 5.5  # staff spaces from a middle line to another staff's middle line, at the least
_SHORTEST = 12  # staff spaces: the length of a staff


@dataclass(frozen=True, kw_only=True, eq=False)
class StaffPlace:
    """Where a staff lies in a picture; lengths in pixels.

    Attributes:
        middle: y of the middle line at every column, [width].
        space: distance between two lines at every column, [width].
        left, right: the columns at which the lines begin and end. Beyond, `middle` and `space` go on as they were.
    """

    middle: Floats
    space: Floats
    left: int
    right: int

    def line(self, number: float) -> Floats:
        """y of a line at every column, [width]: 0 is the top line, 4 the bottom line, 5 a space below it."""
        return self.middle + (number - 2) * self.space


def find_staves(image: Gray) -> list[StaffPlace]:
    """All staves of a picture, the top one first; none where nothing in it looks like five lines.

    Args:
        image: uint8 [height, width], dark lines on lighter paper, turned by less than 6 degrees.
    """
    guess = max(_LEAST_SPACE, image.shape[0] / 30)
    space = _staff_space(_Bands.of(image, guess))
    if space is None or image.shape[1] < _SHORTEST * space:
        return []
    combed = _Combed.of(_Bands.of(image, space), space)
    places = [_place(path, combed, image.shape[1]) for path in _strongest_first(combed)]
    return sorted(places, key=lambda place: float(place.middle.mean()))


def darkness(image: Gray, space: float) -> Floats:
    """How much of the paper's light the ink takes away at every pixel, 0 to 1, [height, width].

    The paper is what is brightest within a few staff spaces, so neither its tone nor a shadow is ink.
    """
    return np.asarray(1 - image / np.maximum(paper(image, space), 1), dtype=np.float32).clip(0, 1)


def paper(image: Gray, space: float) -> Floats:
    """The light that the paper alone would give, [height, width], in gray levels."""
    shrunk = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    kernel = np.ones((2 * round(0.4 * space) + 1,) * 2, np.uint8)
    closed = cv2.GaussianBlur(cv2.morphologyEx(shrunk, cv2.MORPH_CLOSE, kernel), (0, 0), max(0.3 * space, 0.5))
    return np.asarray(cv2.resize(closed, image.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Bands:
    """The ink of thin lines, averaged over narrow bands of the picture: `ink` [height, bands], `step` columns apart."""

    ink: Floats
    step: int

    @classmethod
    def of(cls, image: Gray, space: float) -> _Bands:
        """The bands of a picture with this staff space, roughly: what is thicker than half of it is no line."""
        step = max(1, round(space))
        dark = cv2.blur(darkness(image, space), (step, 1))  # noise and stems go, what is horizontal stays
        dark = cv2.GaussianBlur(
            dark, (1, 2 * step + 1), sigmaX=1, sigmaY=_LINE_WIDTH * space
        )  # no line falls between two rows
        kernel = np.ones((2 * round(0.25 * space) + 1, 1), np.uint8)
        thin = cv2.blur(dark - cv2.morphologyEx(dark, cv2.MORPH_OPEN, kernel), (2 * step + 1, 1))
        return cls(np.asarray(thin[:, step // 2 :: step], dtype=np.float32), step)


def _staff_space(bands: _Bands) -> float | None:
    """The distance at which the lines repeat, in pixels; None for a picture without any."""
    height = bands.ink.shape[0]
    candidates = np.arange(_LEAST_SPACE, height / _PICTURE_SPACES, 0.1)
    spectrum = np.fft.rfft(bands.ink - bands.ink.mean(axis=0), 2 * height, axis=0)
    likeness = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1))[:height]
    if likeness[0] <= 0 or not len(candidates):
        return None
    lags = np.arange(height)
    # Of five lines, four pairs are one space apart, three pairs two, and so on; none is half a space apart.
    fit = sum(
        (5 - k) * (np.interp(k * candidates, lags, likeness) - np.interp((k - 0.5) * candidates, lags, likeness))
        for k in range(1, 5)
    )
    return float(candidates[np.argmax(fit)])


@dataclass(frozen=True, eq=False)
class _Combed:
    """How well five lines fit around every point.

    Attributes:
        fit: [height, bands], 1 where there are five lines and nothing else.
        space: the staff space that fits best, [height, bands].
        typical: staff space of the picture, in pixels.
        step: columns from band to band.
    """

    fit: Floats
    space: Floats
    typical: float
    step: int

    @classmethod
    def of(cls, bands: _Bands, space: float) -> _Combed:
        plain = np.stack([_comb(bands.ink, float(each)) for each in space * _SPACES]).max(axis=0)
        line_ink = max(_FAINTEST, float(np.quantile(plain.max(axis=0), 0.75)))
        ink = np.minimum(bands.ink / line_ink, _LOUDEST)
        combs = np.stack([_comb(ink, float(each)) for each in space * _SPACES])
        spaces = (space * _SPACES)[combs.argmax(axis=0)]
        return cls(combs.max(axis=0), spaces.astype(np.float32), space, bands.step)


def _comb(ink: Floats, space: float) -> Floats:
    """Ink at five lines around every point, less the ink between them and where a sixth line would be.

    The faintest of the five counts as much as all together: a beam at a line's distance from the staff makes up for
    the line at its other side only where there is a beam.
    """

    def at(*spaces: float) -> Floats:
        return np.stack([_raised(ink, each * space) for each in spaces])

    lines = at(-2, -1, 0, 1, 2)
    others = at(-1.5, -0.5, 0.5, 1.5).mean(axis=0) + 0.5 * at(-3, 3).mean(axis=0)
    return np.asarray((lines.mean(axis=0) + lines.min(axis=0)) / 2 - others, dtype=np.float32)


def _raised(ink: Floats, pixels: float) -> Floats:
    """What stands so far below every point; nothing beyond the edges."""
    matrix = np.array([[1, 0, 0], [0, 1, -pixels]], dtype=np.float32)
    return np.asarray(cv2.warpAffine(ink, matrix, ink.shape[::-1], flags=cv2.INTER_LINEAR), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Path:
    """What may be a staff: its rows, [bands], the first band and the one after the last, and how well it fits."""

    rows: npt.NDArray[np.intp]
    first: int
    last: int
    strength: float

    @classmethod
    def near(cls, arc: Floats, fit: Floats, space: float) -> _Path:
        rows = _followed(arc, fit, space)
        along = fit[rows, np.arange(len(rows))]
        first, last = _extent(along)
        return cls(rows, first, last, float(along[first:last].sum()) / len(rows))


def _strongest_first(combed: _Combed) -> Iterator[_Path]:
    """One staff after the other, until what is left is no staff."""
    arcs, sums = _arcs(combed)
    rows, centre = np.arange(len(combed.fit)), arcs.shape[1] // 2
    fit = combed.fit.copy()
    clearest = _FAINTEST
    while np.isfinite(sums).any():
        row = int(sums.max(axis=0).argmax())
        # The arcs are few, and none may be quite the staff's, so the next lines' turn is also tried.
        tried = (round(row + lines * combed.typical) for lines in (-1, 0, 1))
        paths = [_Path.near(arcs[sums[:, each].argmax()] + each, fit, combed.typical) for each in tried if each in rows]
        path = max(paths, key=lambda path: path.strength)
        is_long = (path.last - path.first) * combed.step > _SHORTEST * combed.typical
        if is_long and path.strength > _WEAKEST * clearest:
            clearest = max(clearest, path.strength)
            fit[np.abs(rows[:, None] - path.rows) < _APART / 2 * combed.typical] = 0  # or another arc would end in it
            yield path
            sums[:, np.abs(rows - path.rows[centre]) < _APART * combed.typical] = -np.inf
        sums[:, np.abs(rows - row) < combed.typical] = -np.inf


def _arcs(combed: _Combed) -> tuple[Floats, Floats]:
    """Slopes and bends that a staff can have: rows from its centre, [arcs, bands]; and the mean fit along each of them
    through every row of the centre, [arcs, height]."""
    height, bands = combed.fit.shape
    across = np.linspace(-1, 1, bands)
    half_a_space = 0.5 * combed.typical
    rise = _STEEPEST * bands * combed.step / 2
    rises = half_a_space * np.arange(-(rise // half_a_space), rise // half_a_space + 1)
    bends = half_a_space * np.arange(-_MOST_BENT / 0.5, _MOST_BENT / 0.5 + 1)
    arcs = np.array([rise * across + bend * across**2 for rise, bend in itertools.product(rises, bends)])
    some = slice(0, bands, 2)  # neighbouring bands overlap
    columns = np.arange(bands)[some]
    margin = int(np.abs(arcs).max()) + 1
    near = cv2.dilate(combed.fit, np.ones((2 * round(0.2 * combed.typical) + 1, 1), np.uint8))
    padded = np.pad(near, ((margin, margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, height, axis=0)  # [starts, bands, height]
    starts = np.rint(arcs[:, some]).astype(np.intp) + margin
    sums = np.array([windows[start, columns].mean(axis=0) for start in starts])
    return arcs.astype(np.float32), sums.astype(np.float32)


def _followed(arc: Floats, fit: Floats, space: float) -> npt.NDArray[np.intp]:
    """The rows of the best path near an arc, [bands]: where the comb fits, with few bends."""
    reach = max(1, round(_CORRIDOR * space))
    shifts = np.arange(-reach, reach + 1)
    rows = np.rint(arc).astype(np.intp)[:, None] + shifts
    inside = rows.clip(0, len(fit) - 1)
    near = fit[inside, np.arange(len(arc))[:, None]]  # [bands, shifts]
    prices = _BEND * (shifts[:, None] - shifts) ** 2
    came_from = np.zeros(near.shape, np.intp)
    total = near[0]
    for band in range(1, len(arc)):
        options = total - prices
        came_from[band] = options.argmax(axis=1)
        total = options.max(axis=1) + near[band]
    chosen = np.zeros(len(arc), np.intp)
    chosen[-1] = total.argmax()
    for band in range(len(arc) - 1, 0, -1):
        chosen[band - 1] = came_from[band, chosen[band]]
    return np.asarray(inside[np.arange(len(arc)), chosen], dtype=np.intp)


def _extent(along: Floats) -> tuple[int, int]:
    """The first band at which there is a staff, and the one after the last."""
    there = np.flatnonzero(np.convolve(along, np.ones(3) / 3, mode="same") > 0.4)
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)


def _place(path: _Path, combed: _Combed, width: int) -> StaffPlace:
    """A path as a smooth line between the pixels."""
    first, last = path.first, path.last
    bands = np.arange(first, last)
    rows = path.rows[first:last]
    above, here, below = (combed.fit[np.clip(rows + shift, 0, len(combed.fit) - 1), bands] for shift in (-1, 0, 1))
    curvature = above - 2 * here + below
    peak = np.where(curvature < 0, (above - below) / np.minimum(2 * curvature, -1e-6), 0).clip(-0.5, 0.5)
    weights = here.clip(1e-3)
    slope, offset = np.polyfit(bands, combed.space[rows, bands], 1, w=weights)  # seen from aside, a staff grows evenly
    at_columns = (np.arange(width) - combed.step // 2) / combed.step
    middle = np.interp(at_columns, bands, _smoothed(rows + peak, weights))
    return StaffPlace(
        middle=middle.astype(np.float32),
        space=(slope * at_columns.clip(first, last - 1) + offset).astype(np.float32),
        left=max(0, first * combed.step),
        right=min(width, last * combed.step),
    )


def _smoothed(values: npt.NDArray[np.floating], weights: Floats, reach: int = 4) -> npt.NDArray[np.floating]:
    """A weighted mean over the neighbouring bands; a slope stays a slope at the ends too."""
    bands = np.arange(len(values))
    slope, offset = np.polyfit(bands, values, 1, w=weights)
    straight = slope * bands + offset
    window = np.hanning(2 * reach + 3)[1:-1]
    half = len(window) // 2
    bent = np.convolve(np.pad((values - straight) * weights, half), window, mode="valid")
    return np.asarray(straight + bent / np.convolve(np.pad(weights, half), window, mode="valid"))
