"""Real pictures on every machine: those that the matplotlib package ships as examples.

A portrait, a drawing, a logo, a section through a head and two landscapes seen from above: few, but no drawing of
ours has their textures.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import WHITE, Gray, read_gray
from datasets.pictures.typesetting import matplotlib_data

_SCAN_SIDE = 256  # pixels: s1045.ima is a bare square of 16-bit levels


@functools.lru_cache(maxsize=16)
def package_picture(name: str) -> Gray:
    """One of `PICTURES`, uint8 [height, width]; not to be written to."""
    picture = PICTURES[name](matplotlib_data() / "sample_data" / name)
    picture.flags.writeable = False
    return picture


def _scan(path: Path) -> Gray:
    with gzip.open(path) as file:
        levels = np.frombuffer(file.read(), np.uint16).reshape(_SCAN_SIDE, _SCAN_SIDE)
    return _stretched(levels)


def _elevation(path: Path) -> Gray:
    with np.load(path) as arrays:
        return _stretched(arrays["elevation"])


def _relief(path: Path) -> Gray:
    """Land and sea under a light from the left."""
    with np.load(path) as arrays:
        return _stretched(cv2.Sobel(arrays["topo"].astype(np.float32), cv2.CV_32F, 1, 0, ksize=5))


def _stretched(levels: npt.NDArray[np.generic]) -> Gray:
    """Any numbers as gray levels, all but the outermost hundredths."""
    values = np.asarray(levels, dtype=np.float32)
    low, high = np.percentile(values, (1, 99))
    return np.asarray(((values - low) / (high - low) * WHITE).clip(0, WHITE), dtype=np.uint8)


PICTURES: dict[str, Callable[[Path], Gray]] = {
    "grace_hopper.jpg": read_gray,
    "Minduka_Present_Blue_Pack.png": read_gray,
    "logo2.png": read_gray,
    "s1045.ima.gz": _scan,
    "jacksboro_fault_dem.npz": _elevation,
    "topobathy.npz": _relief,
}
"""Their files, and how each is read."""
