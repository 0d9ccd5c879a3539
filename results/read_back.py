"""An export tried out before it is handed over: the copied weights read a few validation staves again.

What keeps that from being done is remarked and loses nobody an export: the corpus may be gone, torch not installed.
A disk that is full is another matter, and so are weights that are damaged and what was asked for by name (ONNX).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from datasets.errors import CheckpointError, CorpusError, OmrError
from datasets.files import DISK_ERRORS
from datasets.images import Gray
from datasets.notation import parse_written
from datasets.shards import PreparedCorpus
from datasets.vocabulary import Vocabulary
from omr_model.layout import ATTENTION_FILE, ONNX_FOLDER
from omr_model.metrics import score_staff
from omr_model.reading import Reading
from results.study import CorpusRecord

if TYPE_CHECKING:  # torch takes seconds to import
    from omr_model.torch_reader import TorchReader

Made = TypeVar("Made")

STAVES = 9  # odd, so that the one in the middle is the median


@dataclass(frozen=True)
class RecordedStaff:
    """A validation staff, and what the search has read on it."""

    image: Gray
    prediction: str


@dataclass(frozen=True)
class ReadBack:
    """How what is read now compares with what the search has recorded.

    Attributes:
        staves: read again.
        equal: of these, symbol for symbol as recorded.
        symbols: recorded on them.
        different: edits between what was recorded and what is read now.
    """

    staves: int
    equal: int
    symbols: int
    different: int


@dataclass(frozen=True)
class TriedOut:
    """What was read back by torch, and by onnxruntime if that was asked for; `remarks` say what is missing, and why."""

    torch: ReadBack | None
    onnx: ReadBack | None
    remarks: tuple[str, ...]


def try_out(folder: Path, corpus: CorpusRecord, samples: pa.Table, words: Vocabulary, onnx: bool) -> TriedOut:
    """Read with the weights in an export; draw `figures/attention.png` and write `onnx/` on the way.

    Args:
        folder: of the export; it has the checkpoint and `figures/`.
        corpus: that the samples are of.
        samples: what the trial has read, rows of `samples`.
        words: the vocabulary that they are written in.
        onnx: write the model for onnxruntime as well.

    Raises:
        CheckpointError: the weights are damaged.
        OmrError: ONNX was asked for, and cannot be written.
    """
    remarks: list[str] = []
    staves = attempt(remarks, "The weights were not read back", lambda: recorded_staves(corpus, samples))
    reader = attempt(remarks, "The weights were not loaded again", lambda: _load(folder))
    by_torch = by_onnx = None
    if onnx:
        by_onnx = _write_onnx(_load(folder) if reader is None else reader, folder / ONNX_FOLDER, staves, words)
    if staves is not None and reader is not None:
        by_torch = compare(reader.read(_images(staves)), staves, words)
        attempt(remarks, f"There is no {ATTENTION_FILE}", lambda: _draw(reader, staves[0], folder / ATTENTION_FILE))
    return TriedOut(by_torch, by_onnx, tuple(remarks))


def attempt(remarks: list[str], what: str, make: Callable[[], Made]) -> Made | None:
    """What `make` gives; None and a remark if it fails. A disk that is full and damaged weights stay errors."""
    try:
        return make()
    except CheckpointError:
        raise
    except Exception as error:  # whatever torch, a figure's library or a corpus that cannot be read comes up with
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        why = str(error) if isinstance(error, OmrError) else f"{type(error).__name__}: {error}"
        remarks.append(f"{what}: {why}")
        return None


def recorded_staves(corpus: CorpusRecord, samples: pa.Table) -> list[RecordedStaff]:
    """A handful of the validation staves with their pictures; first the one whose rate of errors is the median.

    Raises:
        CorpusError: the corpus is not what the study had, or no longer where it was.
    """
    path = corpus.folder
    if not path.is_dir():
        raise CorpusError("the corpus is no longer where the study had it")
    opened = PreparedCorpus.open(path)
    if opened.manifest.content_hash != corpus.hash:
        raise CorpusError("the corpus was prepared anew since, with other contents")
    staves = opened.staves("validation")
    place = {staves.staff_id(index): index for index in range(len(staves))}
    rows = [row for row in _handful(samples) if row["staff_id"] in place]
    if not rows:
        raise CorpusError("the study has no samples of this trial, or of other staves than the corpus has")
    return [RecordedStaff(staves.image(place[row["staff_id"]]), row["prediction"]) for row in rows]


def compare(readings: Sequence[Reading], staves: Sequence[RecordedStaff], words: Vocabulary) -> ReadBack:
    """What is read now against what was recorded."""
    scores = [
        score_staff(words.reduce(reading.symbols), parse_written(staff.prediction)).total
        for reading, staff in zip(readings, staves, strict=True)
    ]
    return ReadBack(
        staves=len(scores),
        equal=sum(score.distance == 0 for score in scores),
        symbols=sum(score.length for score in scores),
        different=sum(score.distance for score in scores),
    )


def _handful(samples: pa.Table) -> list[dict[str, Any]]:
    """Rows spread evenly from the best to the worst read staff, the median first."""
    rows = samples.select(["staff_id", "prediction", "distance", "reference_length"]).to_pylist()
    rows.sort(key=lambda row: (row["distance"] / max(row["reference_length"], 1), row["staff_id"]))
    if not rows:
        return []
    spread = np.linspace(0, len(rows) - 1, STAVES).round().astype(int).tolist()
    return [rows[place] for place in dict.fromkeys([spread[STAVES // 2], *spread])]


def _load(folder: Path) -> TorchReader:
    from omr_model.torch_reader import TorchReader

    return TorchReader(folder, "cpu")  # which whoever gets the export has, too


def _write_onnx(
    reader: TorchReader, folder: Path, staves: Sequence[RecordedStaff] | None, words: Vocabulary
) -> ReadBack | None:
    """Write the model for onnxruntime, and let that read."""
    from omr_model.onnx_model import OnnxReader, export_onnx

    export_onnx(reader.model, folder)
    return None if staves is None else compare(OnnxReader(folder).read(_images(staves)), staves, words)


def _draw(reader: TorchReader, staff: RecordedStaff, path: Path) -> None:
    from omr_model.attention import attend, draw_strip

    path.write_bytes(draw_strip(attend(reader.model, staff.image)))


def _images(staves: Sequence[RecordedStaff]) -> list[Gray]:
    return [staff.image for staff in staves]
