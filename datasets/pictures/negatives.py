"""Strips of ordinary documents: images without music, whose label is empty.

A model that has only ever seen staves reads one into everything. `KINDS` lists what a page holds beside staves:
print and handwriting, tables and ruled lines, charts, bare paper, patterns, photographs. All but the real pictures are
drawn, so that no corpus has to be there, and much of it black on pure white, as the engraved staves are: a model that
told them apart by the paper would have learned nothing.

Ruled lines keep a quarter of the height between them, so there are never five of them as in a staff; patterns run
askew for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import WHITE, Gray
from datasets.pictures.examples import PICTURES, package_picture
from datasets.pictures.typesetting import FONTS, letters_in, words, write

Kind = Callable[[Gray, np.random.Generator], None]
"""Draws on the paper that it is given."""

_RULE_DISTANCE = 0.25  # of the height: the least between two ruled lines
_SLANTS = (0.3, 1.3)  # radians: how far the lines of a pattern are from level


def negative(height: int, width: int, seed: int) -> Gray:
    """An image without music, uint8 [height, width]; the same seed gives the same pixels."""
    rng = np.random.default_rng(seed)
    image = _sheet(height, width, rng)
    names = list(KINDS)
    KINDS[names[rng.integers(len(names))]](image, rng)
    return image


def _sheet(height: int, width: int, rng: np.random.Generator) -> Gray:
    """Paper: pure white half of the time, else gray and not evenly so."""
    if rng.random() < 0.5:
        return np.full((height, width), WHITE, np.uint8)
    return _levels(_smooth(height, width, rng, cells=1) * rng.uniform(5, 60) + rng.uniform(170, 200))


def _print(image: Gray, rng: np.random.Generator) -> None:
    """Lines of print in one to three columns, cut off at the edges as a strip cuts them; at times a heading."""
    height, width = image.shape
    letter = max(6, round(height * rng.uniform(0.12, 0.4)))
    font, ink, top = FONTS[rng.integers(len(FONTS))], _ink(rng), rng.uniform(0, 1.2) * letter
    if rng.random() < 0.25:
        size = round(letter * rng.uniform(1.2, 1.8))
        heading = words(int(rng.integers(8, 30)), rng).title()
        write(image, [((width * rng.uniform(0, 0.4), top + size), heading)], font, size, ink)
        top += 2 * size
    baselines = np.arange(top, height + letter, letter * rng.uniform(1.15, 1.8))
    columns = int(rng.integers(1, 4)) if width > 30 * letter else 1
    filled = rng.uniform(0.8, 0.95)
    for column in np.array_split(np.arange(width), columns):
        letters = letters_in(filled * len(column), letter)
        ends = np.where(rng.random(len(baselines)) < 0.12, rng.random(len(baselines)), 1)  # of paragraphs
        lines = [
            ((2.0, float(baseline)), words(int(letters * end), rng))
            for baseline, end in zip(baselines, ends, strict=True)
        ]
        write(image[:, column[0] : column[-1] + 1], lines, font, letter, ink)


def _handwriting(image: Gray, rng: np.random.Generator) -> None:
    """Loops of a pen in words, on lines that do not keep level. No alphabet: what a strip shows of one is strokes."""
    height, width = image.shape
    letter = height * rng.uniform(0.08, 0.25)  # of those without strokes up or down
    ink, thickness = _ink(rng), 1 + int(letter > 10 and rng.random() < 0.6)
    slope, slant, narrow = rng.uniform(-0.03, 0.03), rng.uniform(-0.1, 0.7), rng.uniform(0.25, 0.45)
    for baseline in np.arange(rng.uniform(1, 3) * letter, height + letter, letter * rng.uniform(2.6, 4.5)):
        end, margin = width * rng.uniform(0.3, 1), letter * rng.uniform(-0.5, 3)
        while margin < end:
            strokes = int(rng.integers(3, 22))
            x = margin + np.cumsum(letter * narrow * rng.uniform(0.3, 1.7, strokes))
            heights = np.where(rng.random(strokes) < 0.15, rng.uniform(1.5, 2.2, strokes), rng.uniform(0.6, 1, strokes))
            heights[1::2] = np.where(rng.random(strokes // 2) < 0.1, -1, rng.uniform(-0.1, 0.1, strokes // 2))
            anchors = np.stack([x + slant * letter * heights, baseline + slope * x - letter * heights], axis=1)
            curve = cv2.resize(anchors.astype(np.float32), (2, 6 * strokes), interpolation=cv2.INTER_CUBIC)
            cv2.polylines(image, [curve.astype(np.int32)], False, ink, thickness, cv2.LINE_AA)
            margin = x[-1] + letter * rng.uniform(0.6, 1.5)


def _table(image: Gray, rng: np.random.Generator) -> None:
    """Ruled lines; most often with columns, and entries in some of the cells."""
    height, width = image.shape
    ink, thickness = _ink(rng), 1 + int(rng.random() < 0.3)
    left, right = round(width * rng.uniform(0, 0.1)), round(width * rng.uniform(0.6, 1))
    distance = height * rng.uniform(_RULE_DISTANCE, 0.6)
    rules = np.arange(rng.uniform(0, 0.25) * height, height, distance).astype(int)
    for rule in rules:
        cv2.line(image, (left, rule), (right, rule), ink, thickness)
    if rng.random() < 0.3:
        return  # ruled paper
    columns = left + np.cumsum(rng.uniform(0.4, 3, size=2 + width // height) * height).astype(int)
    columns = np.array([left, *columns[columns < right]])
    letter = max(6, round(distance * rng.uniform(0.4, 0.7)))
    entries = []
    for column in columns:
        cv2.line(image, (column, rules[0]), (column, rules[-1]), ink, thickness)
        entries += [
            ((column + 0.3 * letter, rule + 0.75 * distance), words(int(rng.integers(1, 6)), rng))
            for rule in rules[rng.random(len(rules)) < 0.7]
        ]
    write(image, entries, FONTS[rng.integers(len(FONTS))], letter, ink)


def _chart(image: Gray, rng: np.random.Generator) -> None:
    """Axes with curves, bars or dots between them, and figures below."""
    height, width = image.shape
    ink, thickness = _ink(rng), 1 + int(height > 80)
    left, right = round(width * rng.uniform(0.02, 0.3)), round(width * rng.uniform(0.6, 0.98))
    base = round(height * rng.uniform(0.7, 0.9))
    cv2.line(image, (left, base), (right, base), ink, thickness)
    cv2.line(image, (left, round(0.05 * height)), (left, base), ink, thickness)
    steps = np.linspace(left, right, int(rng.integers(8, 60)))
    for _ in range(rng.integers(1, 4)):
        values = np.cumsum(rng.standard_normal(len(steps)))
        tops = base - 0.8 * base * (values - values.min()) / (np.ptp(values) or 1)
        points = np.stack([steps, tops], axis=1).astype(np.int32)
        form, shade = rng.integers(3), int(rng.integers(0, 170))
        if form == 0:
            cv2.polylines(image, [points], isClosed=False, color=shade, thickness=thickness, lineType=cv2.LINE_AA)
        for x, y in points if form else ():
            if form == 1:
                cv2.rectangle(image, (x, y), (x + (right - left) // (2 * len(steps)), base), shade, -1)
            else:
                cv2.circle(image, (x, y), 1 + height // 40, shade, -1, cv2.LINE_AA)
    figures = [((float(x), 0.98 * height), f"{rng.integers(1, 2000)}") for x in steps[:: 1 + len(steps) // 6]]
    write(image, figures, FONTS[0], max(6, round(0.6 * (height - base))), ink)


def _paper(image: Gray, rng: np.random.Generator) -> None:
    """Nothing is printed: grain, stains, a shadow towards an edge."""
    height, width = image.shape
    slope = np.linspace(0, rng.uniform(-1, 1), width, dtype=np.float32) + np.linspace(
        0, rng.uniform(-1, 1), height, dtype=np.float32
    ).reshape(-1, 1)
    stains = _smooth(height, width, rng, cells=int(rng.integers(2, 12)))
    grain = rng.standard_normal((height, width), dtype=np.float32)
    levels = image + 40 * slope - rng.uniform(0, 60) * stains + rng.uniform(0, 12) * grain
    image[:] = _levels(levels)


def _pattern(image: Gray, rng: np.random.Generator) -> None:
    """Cloth, wood, hatching or a printer's dots: waves across the strip, bent by the stuff."""
    height, width = image.shape
    period = height * rng.uniform(0.05, 0.4)
    bend = rng.uniform(0, 8) * _smooth(height, width, rng, cells=int(rng.integers(1, 5)))
    waves = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 3)):
        slant = rng.uniform(*_SLANTS) * rng.choice((-1, 1))
        across = np.arange(width, dtype=np.float32) * np.float32(np.sin(slant) * 2 * np.pi / period)
        along = np.arange(height, dtype=np.float32) * np.float32(np.cos(slant) * 2 * np.pi / period)
        waves += np.cos(across + along[:, None] + bend)
    contrast = rng.uniform(20, 90) * (1 if rng.random() < 0.5 else 8)  # soft, or as good as black and white
    image[:] = _levels(rng.uniform(110, 200) + (contrast * waves).clip(-110, 110))


def _photograph(image: Gray, rng: np.random.Generator) -> None:
    """Shapes of different gray before a soft background, a little grainy; it may end within the strip."""
    height, width = image.shape
    picture = 255 * _smooth(height, width, rng, cells=2)
    for _ in range(rng.integers(3, 12)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(height * rng.uniform(0.1, 1.2)) + 1, int(height * rng.uniform(0.05, 0.6)) + 1)
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0, 255)), -1)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), height * rng.uniform(0.01, 0.06)), dtype=np.float32)
    picture += rng.uniform(10, 50) * (_smooth(height, width, rng, cells=8) - 0.5)
    picture += rng.uniform(0, 10) * rng.standard_normal((height, width), dtype=np.float32)
    start, end = (0, width) if rng.random() < 0.5 else sorted(rng.integers(0, width + 1, 2))
    image[:, start:end] = _levels(picture[:, start:end])


def _picture(image: Gray, rng: np.random.Generator) -> None:
    """A part of a real picture, lighter or darker, as wide as the strip or with paper beside it."""
    height, width = image.shape
    start, end = (0, width) if rng.random() < 0.5 else sorted(rng.permutation(width + 1)[:2])
    names = list(PICTURES)
    whole = package_picture(names[rng.integers(len(names))])
    across = min(whole.shape[1], whole.shape[0] * (end - start) / height) * rng.uniform(0.5, 1)
    columns, rows = max(1, int(across)), max(1, int(across * height / (end - start)))
    top, left = rng.integers(whole.shape[0] - rows + 1), rng.integers(whole.shape[1] - columns + 1)
    part = whole[top : top + rows, left : left + columns][:, :: rng.choice((-1, 1))]
    scaled = cv2.resize(np.ascontiguousarray(part), (int(end - start), height), interpolation=cv2.INTER_LINEAR)
    image[:, start:end] = cv2.convertScaleAbs(scaled, alpha=rng.uniform(0.5, 1), beta=rng.uniform(0, 100))


def _smooth(height: int, width: int, rng: np.random.Generator, cells: int) -> npt.NDArray[np.float32]:
    """Soft noise from 0 to 1: random levels, `cells` of them a height apart, with smooth passages between."""
    grid = rng.random((1 + cells, 1 + cells * max(1, width // height)), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _ink(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 90))


def _levels(values: npt.NDArray[np.floating]) -> Gray:
    return values.clip(0, WHITE).astype(np.uint8)


KINDS: dict[str, Kind] = {
    "print": _print,
    "handwriting": _handwriting,
    "table": _table,
    "chart": _chart,
    "paper": _paper,
    "pattern": _pattern,
    "photograph": _photograph,
    "picture": _picture,
}
"""By name, each as frequent as the others."""
