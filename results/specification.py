"""What somebody would have to know to run a model without our code: its pictures and its vocabulary, as plain JSON."""

from __future__ import annotations

from typing import Any

from datasets.images import MAX_PIXELS, WHITE
from datasets.vocabulary import BOS, EOS, NO_NOTE, PAD, vocabulary
from omr_model.config import GRAY_MEAN, GRAY_STD, ModelConfig


def preprocessing(model: ModelConfig) -> dict[str, Any]:
    """How a picture becomes what the model sees (`datasets.images`, `omr_model.encoder`)."""
    return {
        "input": {"shape": ["batch", 1, model.height, model.width], "type": "uint8", "values": "gray levels 0 to 255"},
        "read": {
            "gray": "luminance (ITU-R 601, as Pillow's mode L); turned upright as the camera noted in EXIF",
            "transparent": "laid on white",
            "16 or 32 bits": "the darkest level becomes 0, the brightest 255",
            "most_pixels": MAX_PIXELS,
        },
        "fit": {
            "height": model.height,
            "width": model.width,
            "scale": "to the height, or to the width if it would be too wide; proportions are kept",
            "interpolation": {"smaller": "area (OpenCV INTER_AREA)", "larger": "cubic (OpenCV INTER_CUBIC)"},
            "place": "left, half-way up",
            "fill": WHITE,
        },
        "normalise": {"formula": "(gray / 255 - mean) / std", "mean": GRAY_MEAN, "std": GRAY_STD, "by": "the model"},
    }


def vocabulary_of(model: ModelConfig) -> dict[str, Any]:
    """The tokens of each branch in the order of their ids, and how a sequence of ids is read."""
    words = vocabulary(model.vocabulary)
    return {
        "name": words.name,
        "version": words.version,
        "max_length": model.max_length,
        "ids": {"padding": PAD, "begin": BOS, "end": EOS, "no_note": NO_NOTE},
        "decoding": "greedy: the most likely entry of each branch, until the rhythm branch says end; pitch and lift "
        "count where the rhythm is a note",
        "rhythm": list(words.rhythm),
        "pitch": list(words.pitch),
        "lift": list(words.lift),
    }
