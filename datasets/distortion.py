"""What a camera does to a printed staff: the page lies askew, the light is uneven, the lens blurs, the sensor is
noisy, the file is compressed.

`EFFECTS` lists them in the order in which they happen. Each is a function of the image, the strength and a random
generator of its own. It draws the same random numbers at every strength and scales what they say, so a stronger
distortion is the same one, further on; and an effect that is left out changes none of the others. Lengths are shares
of the image's height, so a staff of 64 x 256 pixels and one of 128 x 1280 are distorted alike.

At strength 1 a person still reads the staff, and no ink has left the image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from datasets.images import WHITE, Gray
from datasets.seeds import seed_from

Effect = Callable[[Gray, float, np.random.Generator], Gray]

_TILT = 0.1  # of the height: how far an end of the staff is lifted or lowered
_SKEW = 0.06  # of the height: how far a corner moves on its own, in each direction
_SHADE = 0.5  # of the light: how much is lost in the darkest shadow
_BLUR = 0.012  # of the height: standard deviation; 0.77 pixels of 64
_NOISE = 14.0  # gray levels: standard deviation
_BEST_QUALITY, _WORST_QUALITY = 95, 20  # of JPEG, in percent
_MILDEST = 0.35  # every effect is drawn between this share of its strength and all of it


def distort(image: Gray, strength: float, seed: int) -> Gray:
    """An image as a camera might have seen it.

    Args:
        image: uint8 [height, width]; it is not changed.
        strength: from 0, which gives back the same pixels, to 1.
        seed: of everything random; the same seed gives the same pixels.
    """
    if strength == 0:
        return image
    for name, effect in EFFECTS.items():
        image = effect(image, strength, np.random.default_rng(seed_from(seed, name)))
    return image


def _viewpoint(image: Gray, strength: float, rng: np.random.Generator) -> Gray:
    """The page is turned a little and seen from the side. Corners only move inwards: what is printed stays visible."""
    height, width = image.shape
    turn = strength * _TILT * rng.uniform(-1, 1)
    inwards = strength * _SKEW * rng.uniform(0, 1, (4, 2)) + [[0, max(side, 0)] for side in (turn, -turn, turn, -turn)]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    to_the_middle = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    moved = (corners + height * inwards * to_the_middle).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    seen = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=WHITE)
    return np.asarray(seen, dtype=np.uint8)


def _light(image: Gray, strength: float, rng: np.random.Generator) -> Gray:
    """Soft shadows: light that is known at a few points two heights apart, and smooth between."""
    height, width = image.shape
    dark = strength * _SHADE * rng.uniform(0, 1, (2, 2 + width // (2 * height)))
    lit = cv2.resize((1 - dark).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.multiply(image, lit, dtype=cv2.CV_8U), dtype=np.uint8)


def _blur(image: Gray, strength: float, rng: np.random.Generator) -> Gray:
    """The lens is a little out of focus."""
    variance = strength * rng.uniform(_MILDEST, 1)  # in proportion to it, because a small deviation shows nothing
    sigma = _BLUR * image.shape[0] * variance**0.5
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def _noise(image: Gray, strength: float, rng: np.random.Generator) -> Gray:
    """The sensor's grain."""
    deviation = np.float32(strength * _NOISE * rng.uniform(_MILDEST, 1))
    grain = rng.standard_normal(image.shape, dtype=np.float32) * deviation
    return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), dtype=np.uint8)


def _compression(image: Gray, strength: float, rng: np.random.Generator) -> Gray:
    """The file is a JPEG."""
    lost = strength * (_BEST_QUALITY - _WORST_QUALITY) * rng.uniform(_MILDEST, 1)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, round(_BEST_QUALITY - lost)])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


EFFECTS: dict[str, Effect] = {
    "viewpoint": _viewpoint,
    "light": _light,
    "blur": _blur,
    "noise": _noise,
    "compression": _compression,
}
"""By name, in the order in which they happen."""
