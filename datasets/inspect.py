"""Look at a corpus: `python -m datasets.inspect data=engraved staff=short to=sheet.png`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from datasets.command_line import check_range, main
from datasets.errors import ConfigError
from datasets.files import write_atomically
from datasets.images import WHITE, Gray, encode_png
from datasets.prepare_config import CORPORA, PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.staff import StaffSample

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTER = 0.42  # of the font's own size
_LINE_HEIGHT = 17
_MARGIN = 18
_SHEET_WIDTH = 1360
_ENLARGED = 2  # a short staff is shown twice as large, or its labels would be wider than itself
_PALE, _INK = 150, 40
_NO_MUSIC = "(no music)"


@dataclass(frozen=True)
class InspectConfig:
    """The fields of the command line.

    Attributes:
        data, staff, corpora: which corpus, as `datasets.prepare` was told.
        split, count, seed: how many staves of which split, and which.
        to: the PNG file to write.
    """

    data: str = "engraved"
    staff: str = "auto"
    corpora: str = field(default_factory=lambda: str(CORPORA))
    split: str = "train"
    count: int = 24
    seed: int = 0
    to: str = "sheet.png"

    def __post_init__(self) -> None:
        check_range("count", self.count, 1, 1000)
        if Path(self.to).suffix.lower() != ".png":
            raise ConfigError(f"`to` must end in .png, but got {self.to}")


def sheet(staves: Sequence[StaffSample]) -> Gray:
    """A page with the staves in columns, each with its name above and its label below it."""
    width = staves[0].image.shape[1]
    zoom = _ENLARGED if width * _ENLARGED * 2 < _SHEET_WIDTH else 1
    columns = max(1, _SHEET_WIDTH // (width * zoom + _MARGIN))
    cells = [_cell(staff, width * zoom, zoom) for staff in staves]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return np.vstack([_row(row, columns, width * zoom) for row in rows])


def _cell(staff: StaffSample, width: int, zoom: int) -> Gray:
    image = cv2.resize(staff.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    framed = cv2.rectangle(image.copy(), (0, 0), (image.shape[1] - 1, image.shape[0] - 1), 225, 1)
    name = _text([f"{staff.source}: {staff.staff_id}"], width, _PALE)
    label = _text(_wrapped(staff.semantic or _NO_MUSIC, width), width, _INK)
    return np.vstack([name, framed, label]).astype(np.uint8)


def _row(cells: Sequence[Gray], columns: int, width: int) -> Gray:
    height = max(cell.shape[0] for cell in cells) + _MARGIN
    row = np.full((height, columns * (width + _MARGIN) + _MARGIN), WHITE, np.uint8)
    for column, cell in enumerate(cells):
        left = _MARGIN + column * (width + _MARGIN)
        row[_MARGIN // 2 : _MARGIN // 2 + cell.shape[0], left : left + width] = cell
    return row


def _text(lines: Sequence[str], width: int, gray: int) -> Gray:
    strip = np.full((_LINE_HEIGHT * len(lines) + 4, width), WHITE, np.uint8)
    for number, line in enumerate(lines, start=1):
        cv2.putText(strip, line, (0, number * _LINE_HEIGHT - 4), _FONT, _LETTER, gray, 1, cv2.LINE_AA)
    return strip


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, _FONT, _LETTER, 1)[0][0] > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def run(config: InspectConfig) -> None:
    """Draw a sheet of staves with their labels beneath, chosen by the seed."""
    prepared = PrepareConfig(data=config.data, staff=config.staff, corpora=config.corpora)
    corpus = PreparedCorpus.open(prepared.address or prepared.folder)
    staves = corpus.staves(config.split)
    chosen = np.random.default_rng(config.seed).permutation(len(staves))[: config.count]
    if not len(chosen):
        raise ConfigError(f"split={config.split} of {corpus.path} is empty")
    write_atomically(Path(config.to), encode_png(sheet([staves[int(index)] for index in chosen])))
    print(f"{len(chosen)} of {len(staves):,} {config.split} staves drawn to {config.to}")


if __name__ == "__main__":
    main(run, InspectConfig())
