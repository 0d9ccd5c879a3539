"""Print in the fonts that the matplotlib package ships, for pages that hold no music.

The words are none: letters as frequent as in English, in words and sentences of usual lengths. What a strip of print
looks like is a matter of its letters, not of their sense.
"""

from __future__ import annotations

import functools
import importlib.util
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.images import Gray

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmss10",
    "cmti10",
)
_LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz" + "etaoinshrdlu" * 3))
_DIGITS = np.array(list(string.digits))
_WORD, _SENTENCE = 4.7, 12  # letters and words, on the average in English
_NUMBERS = 0.05  # of the words
_LETTER_WIDTH = 0.5  # of the height of a font's square, on the average


def write(image: Gray, texts: Iterable[tuple[tuple[float, float], str]], font: str, height: int, ink: int) -> None:
    """Print texts on an image.

    Args:
        texts: each with the left end of its baseline, as x and y in pixels.
        font: one of `FONTS`.
        height: of the font's square, in pixels.
        ink: gray level.
    """
    sheet = Image.fromarray(image)
    pen, letters = ImageDraw.Draw(sheet), _font(font, height)
    for place, text in texts:
        pen.text(place, text, fill=ink, font=letters, anchor="ls")
    image[:] = np.asarray(sheet)


def words(letters: int, rng: np.random.Generator) -> str:
    """About so many letters of running text."""
    count = 1 + int(letters / (_WORD + 1))
    lengths = 1 + rng.poisson(_WORD - 1, count)
    ends = np.cumsum(lengths)
    supply = "".join(rng.choice(_LETTERS, ends[-1]))
    found = [supply[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    for index in np.flatnonzero(rng.random(count) < _NUMBERS):
        found[index] = "".join(rng.choice(_DIGITS, lengths[index]))
    for index in np.flatnonzero(rng.random(count) < 1 / _SENTENCE):
        found[index] = found[index].capitalize()
        found[index - 1] += str(rng.choice([".", ",", ";", "?"]))
    return " ".join(found)[: max(1, letters)]


def letters_in(width: float, height: int) -> int:
    """How many letters stand in a width, on the average."""
    return int(width / (_LETTER_WIDTH * height))


def matplotlib_data() -> Path:
    """The folder with the fonts and pictures of matplotlib, which is not imported: that would take a second."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None, "pyproject.toml requires matplotlib"
    assert spec.origin is not None
    return Path(spec.origin).parent / "mpl-data"


@functools.lru_cache(maxsize=256)
def _font(name: str, height: int) -> ImageFont.FreeTypeFont:
    path = matplotlib_data() / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(path, height, layout_engine=ImageFont.Layout.BASIC)
