"""An image as a camera might have seen it: the shots of `datasets.pictures.camera`, made with OpenCV."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import WHITE, Gray
from datasets.pictures.camera import ALL_EFFECTS, draw_shot
from datasets.pictures.shot import Floats, Shot, streak

_BYTES = 2  # a grain is the sum of so many random bytes: less of a bell than a normal number, but five times as quick
_BYTES_DEVIATION = (_BYTES * (256**2 - 1) / 12) ** 0.5


def distort(image: Gray, strength: float, seed: int, effects: Collection[str] = ALL_EFFECTS, staves: int = 1) -> Gray:
    """An image as a camera might have seen it.

    Args:
        image: uint8 [height, width]; it is not changed.
        strength: from 0, which gives back the same pixels, to 1.
        seed: of everything random; the same seed gives the same pixels.
        effects: names out of `datasets.pictures.camera.EFFECTS`.
        staves: how many stand in the image, one above the other: lengths are shares of the height of one.
    """
    if strength == 0:
        return image
    return photograph(image, draw_shot(image, strength, seed, effects, staves))


def photograph(image: Gray, shot: Shot) -> Gray:
    """The image as this shot shows it, uint8 [height, width]."""
    tone = shot.tone
    if shot.moves or shot.back[0]:
        sources = shot.sources()
        tone = tone * (1 - _back(image, shot, sources)) if shot.back[0] else tone
        image = _moved(image, shot, sources) if shot.moves else image
    if shot.ink:
        image = _gray(cv2.convertScaleAbs(image, None, 1 - shot.ink, WHITE * shot.ink))
    if tone.min() < 1:
        light = _whole((tone * WHITE).round().clip(0, WHITE).astype(np.uint8), shot)
        image = _gray(cv2.multiply(image, light, scale=1 / WHITE))
    image = _seen(image, shot)
    if shot.noise:
        image = _noisy(image, shot)
    return image if shot.quality is None else _compressed(image, shot.quality)


def _back(image: Gray, shot: Shot, sources: Floats) -> Floats:
    """What the ink on the back swallows, [grid rows, grid columns]; the grid alone makes it soft."""
    opacity, along, across = shot.back
    size = (-(-shot.width // shot.step), -(-shot.height // shot.step))
    ink = cv2.resize(WHITE - image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    mirrored = np.stack([shot.width - 1 + along - sources[0], across + sources[1]])
    x, y = ((mirrored + 0.5) / shot.step - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(ink, x, y, cv2.INTER_LINEAR) * (opacity / WHITE), dtype=np.float32)


def _moved(image: Gray, shot: Shot, sources: Floats) -> Gray:
    """Every pixel from its source; beyond the image its paper goes on."""
    x, y = (_whole(one, shot) for one in sources + np.float32(1))  # 1 for the frame
    border = cv2.BORDER_REPLICATE
    return _gray(cv2.remap(_framed(image, shot), x, y, cv2.INTER_LINEAR, borderMode=border))


def _framed(image: Gray, shot: Shot) -> Gray:
    """The image with one row and column of paper more on every side: the lightest of what is printed nearby."""
    near = np.ones(2 * shot.near + 1, np.uint8)
    framed = _gray(cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE))
    for edge in (0, -1):
        framed[edge] = cv2.dilate(framed[edge], near)[:, 0]
        framed[:, edge] = cv2.dilate(framed[:, edge].copy(), near)[:, 0]
    return framed


def _seen(image: Gray, shot: Shot) -> Gray:
    """With the sensor's pixels and through the lens."""
    if shot.pixels != image.shape:
        coarse = cv2.resize(image, shot.pixels[::-1], interpolation=cv2.INTER_AREA)
        image = _gray(cv2.resize(coarse, (shot.width, shot.height), interpolation=cv2.INTER_LINEAR))
    if shot.blur:
        image = _gray(cv2.GaussianBlur(image, (0, 0), shot.blur, borderType=cv2.BORDER_REPLICATE))
    if any(shot.shake):
        image = _gray(cv2.filter2D(image, -1, streak(shot.shake), borderType=cv2.BORDER_REPLICATE))
    return image


def _noisy(image: Gray, shot: Shot) -> Gray:
    random = np.random.default_rng(shot.noise_seed).bytes(_BYTES * image.size)
    grain = np.frombuffer(random, np.uint8).reshape(_BYTES, *image.shape).sum(0, dtype=np.int16)
    scale = shot.noise / _BYTES_DEVIATION
    return _gray(cv2.addWeighted(image, 1, grain, scale, -scale * _BYTES * 255 / 2, dtype=cv2.CV_8U))


def _compressed(image: Gray, quality: int) -> Gray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def _whole(grid: npt.NDArray[Any], shot: Shot) -> npt.NDArray[Any]:
    """What is known on the grid, for every pixel."""
    rows, columns = (length * shot.step for length in grid.shape[:2])
    large = cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[shot.step : shot.step + shot.height, shot.step : shot.step + shot.width])


def _gray(image: npt.NDArray[Any]) -> Gray:
    return np.asarray(image, dtype=np.uint8)
