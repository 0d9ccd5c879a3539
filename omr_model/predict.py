"""`python -m omr_model.predict`: pictures of staves to semantic text.

python -m omr_model.predict checkpoint=runs/first image=staff.png
python -m omr_model.predict checkpoint=runs/first image=scans/ to=scans-read/
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from datasets.command_line import main
from datasets.errors import ConfigError, ImageError
from datasets.files import write_atomically
from datasets.images import IMAGE_SUFFIXES, fit, read_gray
from datasets.notation import format_semantic
from omr_model import checkpoint
from omr_model.decoding import read_batches
from omr_model.device import resolve_device
from omr_model.model import TrOMR


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """Attributes.

    checkpoint: folder of a checkpoint or of an exported trial.
    image: a picture of one staff, or a folder of them.
    to: a folder for `NAME.semantic` files; without it the text goes to the terminal.
    """

    checkpoint: str = ""
    image: str = ""
    to: str = ""
    device: str = "auto"


def predict(job: PredictJob) -> None:
    """Read a picture of a staff, or every picture in a folder."""
    if not job.checkpoint or not job.image:
        raise ConfigError("name both: checkpoint=FOLDER image=FILE_OR_FOLDER")
    paths = _pictures(Path(job.image))
    model = checkpoint.load_model(Path(job.checkpoint), resolve_device(job.device))
    stems = Counter(path.stem for path in paths)
    unread = 0
    for path in tqdm(paths, unit="staff", disable=len(paths) == 1 or not sys.stderr.isatty(), leave=False):
        try:
            text = read_staff(model, path)
        except ImageError as error:
            if len(paths) == 1:
                raise
            unread += 1
            print(f"skipped: {error}", file=sys.stderr)
            continue
        if job.to:
            folder = Path(job.to)
            folder.mkdir(parents=True, exist_ok=True)
            name = path.stem if stems[path.stem] == 1 else path.name  # a.png and a.jpg stay apart
            write_atomically(folder / f"{name}.semantic", f"{text}\n".encode())
        else:
            print(f"{path.name}: {text}" if len(paths) > 1 else text)
    if unread:
        raise ImageError(f"{unread} of {len(paths)} files in {job.image} could not be read; the rest were")


def read_staff(model: TrOMR, path: Path) -> str:
    """The semantic text of one picture.

    Raises:
        ImageError: no readable picture.
    """
    picture = fit(read_gray(path), model.config.height, model.config.width)
    [symbols] = read_batches(model, [torch.from_numpy(picture)[None, None]])
    return format_semantic(symbols)


def _pictures(path: Path) -> list[Path]:
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    if path.is_file():
        return [path]
    found = sorted(
        one for one in path.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES and not one.name.startswith("._")
    )
    if not found:
        raise ImageError(f"{path}: no pictures in this folder; it may hold {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


if __name__ == "__main__":
    main(predict, PredictJob())
