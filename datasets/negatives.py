"""Strips of ordinary documents: images without music, whose label is empty.

A model that has only ever seen staves reads one into everything. `KINDS` lists what a page holds beside staves:
lines of text, tables and ruled lines, bare paper, photographs. Everything is drawn, so that no corpus has to be
there, and much of it black on pure white, as the engraved staves are: a model that told them apart by the paper
would have learned nothing.

Ruled lines keep a quarter of the height between them, so there are never five of them as in a staff.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import WHITE, Gray

Kind = Callable[[Gray, np.random.Generator], None]
"""Draws on the paper that it is given."""

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz" + "etaoinshrdlu" * 3 + "ETAOINSH" + string.digits + ".,"))
_CAPITAL = 22  # pixels: height of these fonts' capitals at scale 1
_RULE_DISTANCE = 0.25  # of the height: the least between two ruled lines


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


def _text(image: Gray, rng: np.random.Generator) -> None:
    """Lines of print, cut off at the edges as a strip cuts them."""
    height, width = image.shape
    letter = height * rng.uniform(0.1, 0.35)
    distance = letter * rng.uniform(1.7, 2.6)
    indent = round(rng.uniform(-0.5, 1) * letter)
    font, thickness, ink = _FONTS[rng.integers(len(_FONTS))], 1 + int(letter > 14 and rng.random() < 0.5), _ink(rng)
    for baseline in np.arange(rng.uniform(0.5, 1.3) * letter, height + letter, distance):
        words = _words(int(width / letter * rng.choice((0.4, 1.0, 1.6))), rng)
        place = (indent, round(baseline))
        cv2.putText(image, words, place, font, letter / _CAPITAL, ink, thickness, cv2.LINE_AA)


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
    letter = distance * rng.uniform(0.3, 0.6)
    for column in columns:
        cv2.line(image, (column, rules[0]), (column, rules[-1]), ink, thickness)
        for rule in rules[rng.random(len(rules)) < 0.7]:
            place = (int(column + 0.3 * letter), int(rule + 0.75 * distance))
            entry = _words(int(rng.integers(1, 6)), rng)
            cv2.putText(image, entry, place, _FONTS[0], letter / _CAPITAL, ink, 1, cv2.LINE_AA)


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


def _smooth(height: int, width: int, rng: np.random.Generator, cells: int) -> npt.NDArray[np.float32]:
    """Soft noise from 0 to 1: random levels, `cells` of them a height apart, with smooth passages between."""
    grid = rng.random((1 + cells, 1 + cells * max(1, width // height)), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _words(letters: int, rng: np.random.Generator) -> str:
    """About so many letters, in words."""
    text = rng.choice(_LETTERS, max(1, letters))
    text[rng.random(len(text)) < 0.17] = " "
    return "".join(text)


def _ink(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 90))


def _levels(values: npt.NDArray[np.floating]) -> Gray:
    return values.clip(0, WHITE).astype(np.uint8)


KINDS: dict[str, Kind] = {"text": _text, "table": _table, "paper": _paper, "photograph": _photograph}
"""By name, each as frequent as the others."""
