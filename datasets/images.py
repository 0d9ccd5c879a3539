"""Gray staff images: read, fit to the model's picture, encode, decode. All are uint8 [height, width].

Files of the user are read by Pillow, which says of a truncated file that it is one, where OpenCV fills up with gray
without a word; and it knows a picture's size before it decodes it, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from datasets.errors import ImageError

Gray = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
WHITE = 255
MAX_PIXELS = 64_000_000

TOO_LARGE = f"picture larger than {MAX_PIXELS // 1_000_000} megapixels"
DAMAGED = "picture is damaged"
NO_PICTURE = "not a picture"
NO_CONTRAST = "picture without contrast"


class PictureError(ValueError):
    """Bytes that are no usable picture: the message is `TOO_LARGE`, `DAMAGED`, `NO_PICTURE` or `NO_CONTRAST`."""


def read_gray(path: Path) -> Gray:
    """Read a picture file as gray levels; transparent parts become white paper.

    Raises:
        ImageError: no such file, not a picture, a truncated one, or one of more than 64 megapixels.
    """
    try:
        return decode_picture(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
    except PictureError as error:
        allowed = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ImageError(f"{path}: not a readable picture ({error}); allowed are {allowed} files, whole ones") from None


def decode_picture(data: bytes) -> Gray:
    """The gray levels of a file's contents, turned upright as the camera noted.

    Raises:
        PictureError: it is no picture, a truncated one, too large, or one of 16 or 32 bits with but one level.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which does no harm
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PictureError(TOO_LARGE)
                return _gray_levels(image)
        except PictureError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise PictureError(TOO_LARGE) from None
        except UnidentifiedImageError:
            raise PictureError(NO_PICTURE) from None
        except Exception:  # whatever the reader of a format stumbles over
            raise PictureError(DAMAGED) from None


def fit(image: Gray, height: int, width: int) -> Gray:
    """Scale to a height, less if it would be too wide; the staff stands on the left, half-way up, on white.

    Half-way up, because that is where the engraved staves stand.
    """
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrinks = scale < 1
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    above = (height - size[1]) // 2
    fitted = np.full((height, width), WHITE, dtype=np.uint8)
    fitted[above : above + size[1], : size[0]] = scaled
    return fitted


def pad(image: Gray, height: int, width: int) -> Gray:
    """Fill up with white on the right and below; the image must not be larger than asked for."""
    padded = np.full((height, width), WHITE, dtype=np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def encode_png(image: Gray) -> bytes:
    """8-bit gray PNG."""
    return bytes(cv2.imencode(".png", image)[1])


def decode_png(data: bytes) -> Gray:
    """The gray levels of a PNG that `encode_png` wrote.

    Raises:
        ImageError: the bytes are no picture.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ImageError("a stored image is damaged: its bytes are no picture")
    return np.asarray(image, dtype=np.uint8)


def _gray_levels(image: Image.Image) -> Gray:
    """Decode; the size has been checked."""
    image.draft("L", None)  # a JPEG holds the gray levels by themselves
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _by_range(np.asarray(upright, dtype=np.float32))
    if upright.has_transparency_data:
        sheet = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(sheet, upright.convert("RGBA"))
    return np.asarray(upright.convert("L"), dtype=np.uint8)


def _by_range(levels: npt.NDArray[np.float32]) -> Gray:
    """Levels of 16 or 32 bits, the darkest as black and the brightest as white.

    No file says how many of its bits are used: scanners write 12 bits into 16, and levels from 0 to 1 into 32.
    """
    low, high = float(levels.min()), float(levels.max())
    if not 0 < high - low < math.inf:
        raise PictureError(NO_CONTRAST)
    return np.asarray(((levels - low) * (WHITE / (high - low))).round(), dtype=np.uint8)
