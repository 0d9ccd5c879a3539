"""Picture files: read as gray, refused when they are no good, fitted to the model's image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import ImageError
from datasets.images import (
    DAMAGED,
    NO_CONTRAST,
    NO_PICTURE,
    TOO_LARGE,
    WHITE,
    Gray,
    PictureError,
    decode_picture,
    fit,
    read_gray,
)

LEVELS: Gray = np.random.default_rng(0).integers(0, 256, (40, 90), dtype=np.uint8)
PICTURE = Image.fromarray(LEVELS)


def picture_or_reason(data: bytes) -> str:
    try:
        decode_picture(data)
    except PictureError as error:
        return str(error)
    return "a picture"


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        encoded(PICTURE),
        encoded(PICTURE, "TIFF"),
        encoded(PICTURE, "BMP"),
        encoded(PICTURE.convert("RGB"), "WEBP", lossless=True),
        encoded(PICTURE.convert("LA")),
        encoded(PICTURE.convert("RGBA")),
        encoded(Image.fromarray(LEVELS.astype(np.uint16) * 257)),
        encoded(Image.fromarray(LEVELS.astype(np.uint16) * 16)),
        encoded(Image.fromarray(LEVELS.astype(np.int32) * 1000), "TIFF"),
        encoded(Image.fromarray(LEVELS.astype(np.float32) / WHITE), "TIFF"),
    ],
    ids=["png", "tiff", "bmp", "webp", "alpha", "rgba", "16 bits", "12 of 16 bits", "32 bits", "from 0 to 1"],
)
def test_every_kind_of_picture_gives_the_same_levels(data: bytes) -> None:
    assert np.array_equal(decode_picture(data), LEVELS)


def test_transparent_parts_become_paper() -> None:
    assert (decode_picture(encoded(Image.new("RGBA", (9, 5), (0, 0, 0, 0)))) == WHITE).all()


@pytest.mark.parametrize("levels", [np.full((5, 9), 7, np.uint16), np.full((5, 9), np.nan, np.float32)])
def test_a_scan_of_one_level_has_no_contrast(levels: np.ndarray) -> None:
    with pytest.raises(PictureError, match=NO_CONTRAST):
        decode_picture(encoded(Image.fromarray(levels), "TIFF"))


def test_a_palette_of_two_colours_is_read() -> None:
    levels = decode_picture(encoded(PICTURE.convert("1").convert("P")))
    assert set(np.unique(levels)) == {0, WHITE}


def test_a_picture_is_turned_upright_as_the_camera_noted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned by 90 degrees
    assert decode_picture(encoded(PICTURE, "JPEG", exif=exif)).shape == (90, 40)


@given(share=st.floats(0.2, 0.99), format_=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP"]))
def test_a_truncated_picture_is_damaged(share: float, format_: str) -> None:
    data = encoded(PICTURE, format_)
    with pytest.raises(PictureError, match=f"{DAMAGED}|{NO_PICTURE}"):
        decode_picture(data[: int(share * len(data))])


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), format_=st.sampled_from(["PNG", "JPEG", "TIFF"]))
def test_whatever_a_byte_is_changed_to_there_is_a_picture_or_a_reason(position: int, byte: int, format_: str) -> None:
    data = bytearray(encoded(PICTURE, format_))
    data[position % len(data)] = byte
    reasons = (DAMAGED, NO_CONTRAST, NO_PICTURE, TOO_LARGE)
    assert picture_or_reason(bytes(data)) in ("a picture", *reasons)


@pytest.mark.parametrize("data", [b"", b"clef-G2 keySignature-CM", b"\0" * 500])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(PictureError, match=NO_PICTURE):
        decode_picture(data)


@pytest.mark.parametrize("side", [8001, 10_000, 14_000])
def test_a_picture_that_is_too_large_is_not_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (side, 8000)))
    monkeypatch.setattr("datasets.images._gray_levels", lambda _: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=TOO_LARGE):
        decode_picture(data)


def test_a_file_that_cannot_be_read_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a, b ä.png").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"a, b ä\.png: not a readable picture \(not a picture\); allowed are .bmp"):
        read_gray(tmp_path / "a, b ä.png")
    with pytest.raises(ImageError, match=r"nothing here\.png: No such file"):
        read_gray(tmp_path / "nothing here.png")


@given(height=st.integers(1, 300), width=st.integers(1, 900))
def test_a_fitted_picture_stands_on_the_left_half_way_up(height: int, width: int) -> None:
    fitted = fit(np.zeros((height, width), np.uint8), 64, 256)
    assert fitted.shape == (64, 256)
    rows, columns = (np.flatnonzero((fitted < WHITE).any(axis=axis)) for axis in (1, 0))
    assert columns[0] == 0
    assert abs(int(rows[0]) - (63 - int(rows[-1]))) <= 1
    assert len(rows) == 64 or len(columns) == 256
