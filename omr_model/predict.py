"""`python -m omr_model.predict`: pictures of staves to semantic text, MusicXML and MEI.

    python -m omr_model.predict checkpoint=runs/first image=staff.png
    python -m omr_model.predict checkpoint=runs/first image=scans/ to=scans-read/ formats=musicxml,mei

An export reads with torch or with onnxruntime, and with the latter alone torch need not be installed: it is imported
where it is used. `predict.py` of an export calls `run`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from datasets.command_line import HELP, check_choice, check_range, check_target, fail, main
from datasets.errors import CheckpointError, ConfigError, ImageError
from datasets.files import DISK_ERRORS, file_text, write_atomically
from datasets.images import IMAGE_SUFFIXES, Gray, read_gray
from datasets.notation import Symbol, format_semantic
from omr_model.layout import ONNX_FOLDER, WEIGHTS
from omr_model.predictions import READINGS_FILE, Prediction, print_predictions, readings_file
from omr_model.reading import Reader

FORMATS = ("semantic", "musicxml", "mei")
RUNTIMES = ("auto", "torch", "onnx")
EXIT_PARTLY = 1  # some pictures of a folder could not be read, but the others were


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """Attributes.

    checkpoint: folder of a checkpoint or of an exported trial.
    image: a picture of one staff, or a folder of them; folders within it are passed over.
    to: a folder for `NAME.semantic`, `NAME.musicxml`, `NAME.mei`, and the `readings.parquet` of a folder of
        pictures; without it the text goes to the terminal.
    overwrite: replace files that are there already.
    formats: what is written; the terminal gets the first.
    runtime: torch, onnx, or auto: torch where it is installed, else onnxruntime with the export's `onnx/`.
    batch_size: pictures that are read at a time.
    device: cpu, cuda, or auto: the GPU where there is one; with torch also cuda:N.
    """

    checkpoint: str = ""
    image: str = ""
    to: str = ""
    overwrite: bool = False
    formats: tuple[str, ...] = ("semantic",)
    runtime: str = "auto"
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(dict.fromkeys(self.formats)))  # a YAML list
        if not self.formats:
            raise ConfigError(f"formats=: name at least one of {', '.join(FORMATS)}")
        for form in self.formats:
            check_choice("formats", form, FORMATS)
        check_choice("runtime", self.runtime, RUNTIMES)
        check_range("batch_size", self.batch_size, 1)


def run(words: Sequence[str], checkpoint: str = "") -> NoReturn:
    """The command with these words; the one without `=` is the picture or the folder.

    Args:
        checkpoint: where none is named.
    """
    if len(pictures := [word for word in words if _is_bare(word)]) > 1:
        fail(f"name one picture or one folder, not {len(pictures)}: {' '.join(pictures)}")
    fields = [f"image={word}" if _is_bare(word) else word for word in words]
    main(predict, PredictJob(checkpoint=checkpoint), fields)


def predict(job: PredictJob) -> None:
    """Read a picture of a staff, or every picture in a folder; `image=` may be left out before its name.

    formats are semantic, musicxml and mei, runtimes auto, torch and onnx: formats=musicxml,mei runtime=onnx
    device is auto, cpu or cuda, with torch also cuda:N.
    """
    if not job.checkpoint or not job.image:
        raise ConfigError("name both: checkpoint=FOLDER image=FILE_OR_FOLDER")
    image, to = Path(job.image), Path(job.to) if job.to else None
    paths = _pictures(image)
    names = _names(paths)
    if to is not None:
        check_target("to", to, folder=True)
        files = [f"{name}.{form}" for name in names.values() for form in job.formats]
        _check_free(to, [*files, READINGS_FILE] if image.is_dir() else files, job.overwrite)
    if to is None and image.is_dir() and job.formats[0] != "semantic":
        raise ConfigError(f"formats={job.formats[0]} of a folder needs another folder for the files: to=FOLDER")
    reader = open_reader(Path(job.checkpoint), job.runtime, job.device)
    if image.is_dir():
        if unread := _read_folder(reader, names, to, job):
            _end_partly(image, unread, len(names))
        return
    [reading] = reader.read([read_gray(image)])
    if to is None:
        sys.stdout.write(written(reading.symbols, job.formats[0], image.stem))
    else:
        write_files(reading.symbols, to, names[image], job.formats)


def open_reader(checkpoint: Path, runtime: str = "auto", device: str = "auto") -> Reader:
    """A model that reads, by one of `RUNTIMES`.

    Raises:
        CheckpointError: a checkpoint that is missing, damaged, or not there for this runtime.
        ConfigError: a runtime that is not installed, or a device that there is not.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    has_onnx = (checkpoint / ONNX_FOLDER).is_dir()
    if runtime == "auto":
        runtime = "onnx" if has_onnx and not (has_torch and (checkpoint / WEIGHTS).is_file()) else "torch"
    if runtime == "torch":
        if not has_torch:
            raise ConfigError(f"torch is not installed; without it, {ONNX_FOLDER}/ of an export can be read")
        from omr_model.torch_reader import TorchReader

        return TorchReader(checkpoint, device)
    if not has_onnx:
        raise CheckpointError(f"{checkpoint} has no {ONNX_FOLDER}/; an export has one with onnx=true")
    from omr_model.onnx_model import OnnxReader

    providers = {"auto": None, "cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}
    check_choice("device", device, tuple(providers))
    return OnnxReader(checkpoint / ONNX_FOLDER, providers[device])


def written(symbols: Sequence[Symbol], form: str, title: str) -> str:
    """A staff as the text of a file, in one of `FORMATS`."""
    if form == "musicxml":
        from datasets.scores.musicxml import to_musicxml

        return to_musicxml(symbols, title)
    if form == "mei":
        from datasets.scores.mei_document import to_mei

        return to_mei(symbols, title)
    return f"{format_semantic(symbols)}\n"


def write_files(symbols: Sequence[Symbol], folder: Path, name: str, formats: Sequence[str]) -> None:
    """Write `NAME.FORMAT` for each format; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for form in formats:
        write_atomically(folder / f"{name}.{form}", written(symbols, form, name).encode())


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """What the files of each picture are called: as it is, without its ending where that keeps all of them apart.

    Some file systems do not tell small letters from capitals.
    """
    alone = len({path.stem.casefold() for path in paths}) == len(paths)
    return {path: path.stem if alone else path.name for path in paths}


def _check_free(to: Path, names: Sequence[str], overwrite: bool) -> None:
    """Nothing is replaced unasked: a folder of pictures may hold their labels, too."""
    taken = [] if overwrite else [name for name in names if os.path.lexists(to / name)]
    if taken:
        more = f" and {len(taken) - 1:,} more" if taken[1:] else ""
        raise ConfigError(f"to={to}: {taken[0]}{more} would be replaced; choose another folder, or say overwrite=true")


def _read_folder(reader: Reader, names: Mapping[Path, str], to: Path | None, job: PredictJob) -> list[str]:
    """Read all pictures that can be read, and say of which the model is least sure.

    Args:
        names: of the files to write, by picture.

    Returns:
        Which could not be read, or their files not be written, and why; the rest were.
    """
    from datasets.scores.transcript import transcribe

    paths = list(names)
    predictions: list[Prediction] = []
    unread: list[str] = []
    with tqdm(total=len(paths), unit="staff", disable=not sys.stderr.isatty(), leave=False) as bar:
        for batch in _batches(paths, job.batch_size):
            pictures = dict(_readable(batch, unread))
            readings = reader.read(list(pictures.values()), job.batch_size)
            for path, reading in zip(pictures, readings, strict=True):
                if to is None:
                    bar.write(f"{file_text(path)}: {format_semantic(reading.symbols)}")
                elif why := _why_unwritten(reading.symbols, to, names[path], job.formats):
                    unread.append(why)
                    continue
                predictions.append(Prediction(file_text(path), reading, transcribe(reading.symbols).remarks))
            bar.update(len(batch))
    if predictions and to is not None:
        write_atomically(to / READINGS_FILE, readings_file(predictions))
        print_predictions(predictions, sys.stdout)
    return unread


def _end_partly(folder: Path, unread: Sequence[str], pictures: int) -> NoReturn:
    """Exit with `EXIT_PARTLY`, and say which pictures were not read.

    Raises:
        ImageError: not one was.
    """
    message = "\n  ".join([f"{len(unread)} of {pictures} files in {folder} could not be read:", *unread])
    if len(unread) == pictures:
        raise ImageError(message)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_PARTLY)


def _why_unwritten(symbols: Sequence[Symbol], to: Path, name: str, formats: Sequence[str]) -> str:
    """Write the files of one picture; empty, or why not: its name may be one that the file system refuses."""
    try:
        write_files(symbols, to, name, formats)
    except OSError as error:
        if error.errno in (*DISK_ERRORS, errno.EACCES):
            raise
        return f"{to / name}: {error.strerror}"
    return ""


def _readable(paths: Sequence[Path], unread: list[str]) -> Iterator[tuple[Path, Gray]]:
    """Those that are pictures; why others are none is added to `unread`."""
    for path in paths:
        try:
            yield path, read_gray(path)
        except ImageError as error:
            unread.append(str(error))


def _batches(paths: Sequence[Path], size: int) -> Iterator[list[Path]]:
    waiting = iter(paths)
    while batch := list(islice(waiting, size)):
        yield batch


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


def _is_bare(word: str) -> bool:
    return "=" not in word and not word.startswith("-") and word not in HELP


if __name__ == "__main__":
    run(sys.argv[1:])
