"""A few photographed documents with the masks that are published beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.images import WHITE, encode_png
from datasets.pictures.distortion import distort
from datasets.pictures.negatives import KINDS

_HEIGHT, _WIDTH = 420, 300


def make(root: Path, count: int) -> None:
    """So many pages of print, named as in the published lists, each with its mask."""
    for number in range(count):
        add(root, f"{number:05}.png", page(number), None)
        masks = root / "DIW" / "5k" / "seg"
        masks.mkdir(parents=True, exist_ok=True)
        (masks / f"{number:05}.png.png").write_bytes(encode_png(np.zeros((_HEIGHT, _WIDTH), np.uint8)))


def add(root: Path, name: str, picture: bytes | None, label: bytes | None) -> None:
    """A page of that name; documents have no labels."""
    del label
    folder = root / "DIW" / "5k" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    if picture is not None:
        (folder / f"{name}.png").write_bytes(picture)


def page(seed: int) -> bytes:
    """A page of print as a camera saw it."""
    sheet = np.full((_HEIGHT, _WIDTH), WHITE, np.uint8)
    for band in np.array_split(sheet, 6):
        KINDS["print"](band, np.random.default_rng(seed))
    return encode_png(distort(sheet, 0.5, seed))
