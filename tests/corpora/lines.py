"""Small staves with their labels, drawn, cropped and compressed: what the made-up corpora are made of."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.accidentals import printed_to_sounding, sounding_to_printed
from datasets.images import WHITE, Gray
from datasets.notation import Symbol, format_semantic, parse
from datasets.pictures.distortion import distort
from datasets.scores.engraving import engrave
from datasets.scores.measures import StaffRun
from datasets.scores.mei_writer import write
from datasets.staff import STAFF_SIZES

_KEYS = ("CM", "GM", "DM", "FM", "BbM")
_LIFTS = ("", "", "", "#", "b", "N")


@dataclass(frozen=True)
class Line:
    """A staff of two bars.

    Attributes:
        symbols: with printed accidentals, none of them by courtesy.
        image: black on white, cropped to its ink.
    """

    symbols: tuple[Symbol, ...]
    image: Gray

    @property
    def printed(self) -> str:
        return format_semantic(self.symbols)

    @property
    def sounding(self) -> str:
        return format_semantic(printed_to_sounding(self.symbols))

    @property
    def mei(self) -> str:
        return write(StaffRun(self.symbols))

    def png(self) -> bytes:
        """As PrIMuS has it: two colours."""
        file = io.BytesIO()
        Image.fromarray(self.image).point(lambda level: WHITE * (level > WHITE // 2)).convert("P").save(file, "PNG")
        return file.getvalue()

    def jpeg(self) -> bytes:
        """As a camera saw it."""
        file = io.BytesIO()
        Image.fromarray(distort(self.image, 0.5, seed=len(self.symbols))).convert("RGB").save(file, "JPEG")
        return file.getvalue()


def line(seed: int) -> Line:
    """The same line for the same seed."""
    rng = np.random.default_rng(seed)
    tokens = ["clef-G2", f"keySignature-{rng.choice(_KEYS)}", "timeSignature-2/4"]
    for _ in range(2):
        tokens += [_note(rng, "quarter")] if rng.random() < 0.5 else [_note(rng, "eighth"), _note(rng, "eighth")]
        tokens += [_note(rng, "quarter"), "barline"]
    symbols = tuple(sounding_to_printed(printed_to_sounding(parse(" ".join(tokens)))))
    image = engrave(StaffRun(symbols), STAFF_SIZES["short"], seed, tight=True)
    rows, columns = (np.flatnonzero((image < WHITE).any(axis=axis)) for axis in (1, 0))
    return Line(symbols, image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _note(rng: np.random.Generator, duration: str) -> str:
    return f"note-{rng.choice(list('CDEFGAB'))}{rng.choice(_LIFTS)}{rng.integers(4, 6)}_{duration}"
