"""Look at the camera effects: `python -m datasets.distortion_sheet to=sheet.png photographs=FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from datasets.command_line import check_choice, check_range, main
from datasets.errors import ConfigError
from datasets.files import write_atomically
from datasets.images import IMAGE_SUFFIXES, WHITE, Gray, encode_png, fit, read_gray
from datasets.notation import parse
from datasets.pictures.camera import ALL_EFFECTS
from datasets.pictures.distortion import distort
from datasets.scores.engraving import TooWideError, engrave
from datasets.scores.measures import StaffRun
from datasets.staff import STAFF_SIZES, StaffSize

_STRENGTHS = (0.3, 0.6, 1.0)
_SEEDS = 3  # of all effects together
_SIZES = tuple(name for name, size in STAFF_SIZES.items() if size.staves == 1)

_HEAD = "clef-G2 keySignature-EbM timeSignature-3/4"
_MEASURES = (
    "note-Eb5_quarter note-D5_eighth note-C5_eighth note-B4_quarter",
    "note-AN4_half. tie note-A4_quarter. note-G4_eighth note-F4_sixteenth note-G4_sixteenth rest-eighth",
    "note-C4_quarter note-E4_eighth note-G4_eighth note-C5_eighth note-E5_eighth",
    "note-C6_quarter. note-F#5_eighth note-G5_quarter",
    "rest-half note-D4_half",
    "note-E4_whole|note-G4_whole|note-B4_whole",
)

_NAME_HEIGHT, _MARGIN = 20, 10
_GRAY_OF_NAMES = 110


@dataclass(frozen=True)
class SheetConfig:
    """The fields of the command line.

    Attributes:
        staff: the size of the image that is drawn and distorted.
        photographs: a folder with photographs of staves, to be shown beside the effects; "" is none.
        seed: of the effects, and of the choice of photographs.
        to: the PNG file to write.
    """

    staff: str = "line"
    photographs: str = ""
    seed: int = 0
    to: str = "distortion.png"

    def __post_init__(self) -> None:
        check_choice("staff", self.staff, _SIZES)
        check_range("seed", self.seed, 0)
        if Path(self.to).suffix.lower() != ".png":
            raise ConfigError(f"`to` must end in .png, but got {self.to}")


def examples(image: Gray, seed: int) -> Iterator[tuple[str, Gray]]:
    """The image as it is, with every effect alone, and with all of them; each with its name."""
    yield "as engraved", image
    for effect in ALL_EFFECTS:
        for strength in _STRENGTHS:
            yield f"{effect} {strength}", distort(image, strength, seed, (effect,))
    for strength in _STRENGTHS:
        for number in range(seed, seed + _SEEDS):
            yield f"everything {strength}, seed {number}", distort(image, strength, number)


def sheet(named: Sequence[tuple[str, Gray]], photographs: Sequence[Gray]) -> Gray:
    """A row for each image, with a photograph at its side where there are any."""
    rows = [_named(*one) for one in named]
    if photographs:
        beside = cycle(_named("photograph", photograph) for photograph in photographs)
        rows = [np.hstack([row, next(beside)]) for row in rows]
    return np.vstack(rows)


def staff_image(size: StaffSize, seed: int) -> Gray:
    """A staff as full of symbols as its image allows."""
    try:
        return engrave(_music(len(_MEASURES)), size, seed)
    except TooWideError as error:
        return engrave(_music(error.measures), size, seed)


def read_photographs(folder: Path, size: StaffSize, count: int, seed: int) -> list[Gray]:
    """At most `count` of the pictures in a folder and the folders in it, scaled to the size.

    Raises:
        ConfigError: no such folder, or no picture in it.
        ImageError: one that cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ConfigError(f"photographs={folder}: there is no folder with pictures of this name")
    chosen = np.random.default_rng(seed).permutation(len(paths))[:count]
    return [fit(read_gray(paths[index]), size.height, size.width) for index in chosen]


def _music(measures: int) -> StaffRun:
    return StaffRun(tuple(parse(f"{_HEAD} {' barline '.join(_MEASURES[:measures])} barline")))


def _named(name: str, image: Gray) -> Gray:
    height, width = image.shape
    cell = np.full((height + _NAME_HEIGHT + _MARGIN, width + 2 * _MARGIN), WHITE, np.uint8)
    place = (_MARGIN, _NAME_HEIGHT - 5)
    cv2.putText(cell, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _GRAY_OF_NAMES, 1, cv2.LINE_AA)
    cell[_NAME_HEIGHT : _NAME_HEIGHT + height, _MARGIN : _MARGIN + width] = image
    return cell


def run(config: SheetConfig) -> None:
    """Draw a staff with every camera effect at three strengths, and with all of them, beside photographs."""
    size = STAFF_SIZES[config.staff]
    shown = list(examples(staff_image(size, config.seed), config.seed))
    folder = Path(config.photographs)
    photographs = read_photographs(folder, size, len(shown), config.seed) if config.photographs else []
    write_atomically(Path(config.to), encode_png(sheet(shown, photographs)))
    print(f"{len(shown)} images drawn to {config.to}, beside {len(photographs)} photographs")


if __name__ == "__main__":
    main(run, SheetConfig())
