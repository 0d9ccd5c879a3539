"""Gray staff images: read, fit to the model's picture, encode, decode. All are uint8 [height, width]."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datasets.errors import ImageError

Gray = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
WHITE = 255


def read_gray(path: Path) -> Gray:
    """Read a picture file as gray levels; transparent parts become white paper.

    Raises:
        ImageError: no such file, or not a picture that OpenCV reads.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None or image.size == 0:
        raise ImageError(
            f"{path}: not a readable picture; allowed are {', '.join(sorted(IMAGE_SUFFIXES))} files, whole ones"
        )
    return _flatten(image)


def fit(image: Gray, height: int, width: int) -> Gray:
    """Scale to a height, less if it would be too wide, and fill up with white on the right and below."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrinks = scale < 1
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return pad(np.asarray(scaled, dtype=np.uint8), height, width)


def pad(image: Gray, height: int, width: int) -> Gray:
    """Fill up with white on the right and below; the image must not be larger than asked for."""
    padded = np.full((height, width), WHITE, dtype=np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def encode_png(image: Gray) -> bytes:
    """8-bit gray PNG."""
    return bytes(cv2.imencode(".png", image)[1])


def decode_png(data: bytes) -> Gray:
    """The gray levels of a PNG.

    Raises:
        ImageError: the bytes are no picture.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ImageError("a stored image is damaged: its bytes are no picture")
    return np.asarray(image, dtype=np.uint8)


def _flatten(image: npt.NDArray[np.generic]) -> Gray:
    scale = 257 if image.dtype == np.uint16 else 1  # 16-bit scans
    levels = (image.astype(np.float32) / scale).clip(0, WHITE)
    if levels.ndim == 2:
        return levels.astype(np.uint8)
    if levels.shape[2] == 4:
        alpha = levels[:, :, 3:] / WHITE
        levels = levels[:, :, :3] * alpha + WHITE * (1 - alpha)
    return np.asarray(cv2.cvtColor(levels.astype(np.uint8), cv2.COLOR_BGR2GRAY), dtype=np.uint8)
