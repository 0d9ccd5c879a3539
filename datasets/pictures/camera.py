"""What a camera does to a printed staff, drawn at random; two renderers show it (`distortion`, `omr_model.distortion`).

`EFFECTS` lists the effects in the order in which they happen: what is printed on the back shines through the paper,
which is not white; the page curls, lies askew and is seen from the side; light falls on it; sensor and lens are no
better than they are; the file is compressed. Each is a function of the shot, the strength and a random generator of
its own, and enters into the shot what it does. It draws the same random numbers at every strength and scales what
they say, so a stronger distortion is the same one, further on; and an effect that is left out changes none of the
others. Lengths are shares of the height of one staff's image, so a staff of 64 x 256 pixels, one of 128 x 1280 and
the two of a grand staff of 256 x 1280 are distorted alike.

At strength 1 a person still reads the staff, and no ink has left the image. How much is how strong was set by eye,
beside the photographs of the CPMS corpus (`datasets.distortion_sheet`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import cv2
import numpy as np

from datasets.images import Gray
from datasets.pictures.shot import Floats, Shot
from datasets.seeds import seed_from

_BEST_QUALITY = 95  # of JPEG, in percent; above it nobody sees a difference
_WORST_QUALITY = 25
_MILDEST = 0.35  # what is always there is drawn between this share of its strength and all of it

_SHINES = 0.3  # of the ink on the back: how much of it is seen
_YELLOWED = 0.2  # of the light: what the paper swallows everywhere
_STAINS, _FIBRES = 0.08, 0.012  # of the light: the darkest stain; standard deviation from grain to grain
_FADED = 0.16  # of white: how light the ink is

# Lengths, as shares of the height.
_CURL = (0.13, 0.05, 0.14)  # an arch, an S, and the fall into the book's gutter
_TILT = 0.14  # how far an end of the staff is lifted or lowered
_SKEW = (0.2, 0.08)  # how far a corner moves inwards on its own, along and across the staff
_BLUR, _SHAKE = 0.0085, 0.02  # standard deviation (1.1 pixels of 128); length of the streak that a point becomes

_SHADE, _SHADOW = 0.5, 0.3  # of the light: lost in the darkest corner; and behind an edge, of a hand or the phone
_COARSEST = 0.66  # of the pixels in a row
_NOISE = 9.0  # gray levels: standard deviation

_NEARLY_WHITE = 245  # gray levels below are print

Effect = Callable[[Shot, float, np.random.Generator], None]


def _show_through(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """What is printed on the back. No other page is at hand, so it is this one, mirrored and shifted; often nothing."""
    opacity = strength * _SHINES * max(0.0, rng.uniform(-0.7, 1))
    along, across = rng.uniform(-1, 1) * shot.unit, rng.uniform(-0.5, 0.5) * shot.unit
    shot.back = (opacity, along, across)


def _paper(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """Paper is not white, not everywhere the same, and made of fibres; ink is not black."""
    stains = _STAINS * _soft(shot, rng, every=0.6)
    fibres = _FIBRES * rng.standard_normal(shot.tone.shape, dtype=np.float32)
    shot.tone *= 1 - np.float32(strength) * (_YELLOWED * np.float32(rng.uniform(_MILDEST, 1)) + stains + fibres)
    shot.ink = strength * _FADED * rng.uniform(0, 1)


def _page_curl(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The page is not flat: it arches, it waves, it falls towards the gutter of the book, at one of its ends."""
    arch, wave, gutter = strength * np.array(_CURL) * rng.uniform(-1, 1, 3)
    shot.curl = (arch, wave, abs(gutter), float(rng.choice((-1, 1))))


def _rotation(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The page lies askew."""
    angle = np.arctan(strength * _TILT * rng.uniform(-1, 1) / max(shot.half[0], 0.5))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shot.view = turn @ shot.view


def _perspective(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The page is seen from the side: its corners move inwards."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    moved = corners * (shot.half - strength * np.array(_SKEW) * rng.uniform(0, 1, (4, 2)))
    matrix = cv2.getPerspectiveTransform((corners * shot.half).astype(np.float32), moved.astype(np.float32))
    shot.view = matrix @ shot.view


def _light(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The light falls off over a few heights; and at times something stands in it, with a more or less sharp edge."""
    shot.tone *= 1 - np.float32(strength * _SHADE * rng.uniform(_MILDEST, 1)) * _soft(shot, rng, every=3.5)
    x, y = shot.grid()
    place, angle = rng.uniform(-1, 1) * shot.half[0], rng.uniform(-np.pi, np.pi)
    softness = 0.02 * 15 ** rng.uniform(0, 1)
    beyond = ((x - place) * np.cos(angle) + y * np.sin(angle)) / softness
    dark = strength * _SHADOW * max(0.0, rng.uniform(-1, 1))
    shot.tone *= (1 - dark / (1 + np.exp(-np.clip(beyond, -30, 30)))).astype(np.float32)


def _resolution(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The camera had fewer pixels for the staff than the image has."""
    share = 1 - strength * (1 - _COARSEST) * rng.uniform(0, 1)
    shot.pixels = (max(1, round(shot.height * share)), max(1, round(shot.width * share)))


def _blur(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The lens is a little out of focus, and the hand shakes."""
    variance = strength * rng.uniform(_MILDEST, 1)  # in proportion to it, because a small deviation shows nothing
    shot.blur = _BLUR * shot.unit * variance**0.5
    length, angle = strength * _SHAKE * shot.unit * rng.uniform(0, 1), rng.uniform(0, np.pi)
    shot.shake = (length * np.cos(angle), length * np.sin(angle))


def _noise(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The sensor's grain."""
    shot.noise = strength * _NOISE * rng.uniform(_MILDEST, 1)
    shot.noise_seed = int(rng.integers(2**63))


def _compression(shot: Shot, strength: float, rng: np.random.Generator) -> None:
    """The file is a JPEG."""
    lost = strength * (_BEST_QUALITY - _WORST_QUALITY) * rng.uniform(_MILDEST, 1)
    shot.quality = round(_BEST_QUALITY - lost)


def _soft(shot: Shot, rng: np.random.Generator, every: float) -> Floats:
    """From 0 to 1 at random at points so many units apart, and smooth between: float32 [grid rows, grid columns]."""
    across, along = (2 + int(2 * length / every) for length in shot.half[::-1])
    rows, columns = shot.tone.shape
    known = rng.random((across, along), dtype=np.float32)
    return np.asarray(cv2.resize(known, (columns, rows), interpolation=cv2.INTER_CUBIC).clip(0, 1), dtype=np.float32)


EFFECTS: dict[str, Effect] = {
    "show_through": _show_through,
    "paper": _paper,
    "page_curl": _page_curl,
    "rotation": _rotation,
    "perspective": _perspective,
    "light": _light,
    "resolution": _resolution,
    "blur": _blur,
    "noise": _noise,
    "compression": _compression,
}
"""By name, in the order in which they happen."""

ALL_EFFECTS = tuple(EFFECTS)


def draw_shot(image: Gray, strength: float, seed: int, effects: Collection[str] = ALL_EFFECTS, staves: int = 1) -> Shot:
    """How a camera sees an image. Of the image itself only its size counts, and where it is printed on.

    Args:
        strength: from 0 to 1.
        seed: of everything random.
        effects: names out of `EFFECTS`; their order does not matter.
        staves: how many stand in the image, one above the other.
    """
    height, width = image.shape
    unit = min(height / staves, width)
    shot = Shot(height, width, unit, _printed(image, unit))
    for name, effect in EFFECTS.items():
        if name in effects:
            effect(shot, strength, np.random.default_rng(seed_from(seed, name)))
    return shot


def _printed(image: Gray, unit: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is not white; gray paper counts as print, for its ink may be anywhere."""
    height, width = image.shape
    columns, rows = (np.flatnonzero(image.min(axis=axis) < _NEARLY_WHITE) for axis in (0, 1))
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    x, y = (np.array([inked[0], inked[-1] + 1]) for inked in (columns, rows))
    (left, right), (top, bottom) = (x - width / 2) / unit, (y - height / 2) / unit
    return float(left), float(top), float(right), float(bottom)
