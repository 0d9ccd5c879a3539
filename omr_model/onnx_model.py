"""A model for onnxruntime: greedy decoding of staves on a machine without torch.

    encoder.onnx     pictures [B, 1, H, W] of gray levels 0..255, uint8, to keys and values of every cell for the
                     decoder's cross-attention, [L, 2, B, N, P, K]; mean and deviation of the gray levels are inside
    decoder.onnx     symbols so far, those keys and values, and those of the past, [L, 2, B, N, T - 1, K], to the
                     scores of the next symbol, [B, V] a branch, and the keys and values of the past with it
    model.json       size of the picture, longest sequence, name and version of the vocabulary

Letters: B staves, P cells of the picture, T symbols so far (BOS among them), L layers and N heads of the decoder, K
width of a head, V entries of a branch's vocabulary, S branches. There is no torch here: `omr_model.onnx_graphs` writes
the two graphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.errors import CheckpointError, ConfigError
from datasets.files import new_folder, write_atomically
from datasets.images import Gray, fit
from datasets.vocabulary import BOS, EOS, NO_NOTE, PAD, SYMBOL_BRANCHES, VOCABULARIES
from omr_model.reading import Reading, read_off

if TYPE_CHECKING:
    from omr_model.model import TrOMR

FORMAT = 1
ENCODER, DECODER, DESCRIPTION = "encoder.onnx", "decoder.onnx", "model.json"
USUAL_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
INSTALL = "pip install 'omr-search[onnx]'"

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OnnxDescription:
    """What `model.json` says; the ids are those of the rhythm branch.

    Attributes:
        format: of the three files; raised when they change.
        vocabulary, vocabulary_version: such as `full` and `full-1`.
        height, width: of the picture.
        max_length: of a sequence with its BOS.
        pad, bos, eos: padding, begin and end of a sequence.
    """

    format: int = FORMAT
    vocabulary: str
    vocabulary_version: str
    height: int
    width: int
    max_length: int
    pad: int = PAD
    bos: int = BOS
    eos: int = EOS


def export_onnx(model: TrOMR, folder: Path) -> None:
    """Write a model as `encoder.onnx`, `decoder.onnx` and `model.json`: a whole folder, or none.

    The model is not changed, and may be on any device. What there is in place of `folder` is replaced.

    Raises:
        ConfigError: a package for the export is missing.
    """
    try:
        from omr_model.onnx_graphs import write_decoder, write_encoder
    except ModuleNotFoundError as error:
        raise ConfigError(f"an export to ONNX needs {error.name}: {INSTALL}") from None

    config = model.config
    description = OnnxDescription(
        vocabulary=model.vocabulary.name,
        vocabulary_version=model.vocabulary.version,
        height=config.height,
        width=config.width,
        max_length=config.max_length,
    )
    with new_folder(folder) as partial:
        write_encoder(model, partial / ENCODER)
        write_decoder(model, partial / DECODER)
        text = json.dumps(asdict(description), indent=2)
        write_atomically(partial / DESCRIPTION, f"{text}\n".encode())


def describe(folder: Path) -> OnnxDescription:
    """Read `model.json`.

    Raises:
        CheckpointError: it is missing or damaged, or of a version or vocabulary that this one does not have.
    """
    path = folder / DESCRIPTION
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {tree['format']}, where this version reads {FORMAT}")
        description = OnnxDescription(**tree)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no model for onnxruntime: it has no {DESCRIPTION}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from None
    words = VOCABULARIES.get(description.vocabulary)
    if words is None or words.version != description.vocabulary_version:
        here = ", ".join(each.version for each in VOCABULARIES.values())
        raise CheckpointError(f"{path}: written with vocabulary {description.vocabulary_version}; this has {here}")
    return description


class OnnxReader:
    """Reads staves with onnxruntime, as `omr_model.decoding.greedy` does with torch."""

    def __init__(self, folder: Path, providers: Sequence[str] | None = None, threads: int = 0) -> None:
        """Open the two graphs.

        Args:
            folder: what `export_onnx` has written.
            providers: onnxruntime's, first choice first; None is CUDA where it is there, and the CPU.
            threads: of each graph; 0 is one for each core.

        Raises:
            CheckpointError: the folder is missing, damaged, or of another version.
            ConfigError: onnxruntime is missing, or lacks a provider, or cannot start it.
        """
        self.description = describe(folder)
        self.vocabulary = VOCABULARIES[self.description.vocabulary]
        self._encoder = _session(folder / ENCODER, providers, threads)
        self._decoder = _session(folder / DECODER, providers, threads)

    def read(self, images: Sequence[Gray], batch_size: int = 16) -> list[Reading]:
        """Read pictures of one staff each, of any size, so many at a time."""
        return [
            reading
            for start in range(0, len(images), batch_size)
            for reading in self._read_batch(images[start : start + batch_size])
        ]

    def _read_batch(self, images: Sequence[Gray]) -> Iterator[Reading]:
        size = (self.description.height, self.description.width)
        image_B1HW = np.stack([fit(image, *size) for image in images])[:, None]
        [picture_L2BNPK] = self._encoder.run(None, {"image": image_B1HW})
        past: Floats = picture_L2BNPK[..., :0, :]
        ids_BTS: Ids = np.full((len(images), 1, len(SYMBOL_BRANCHES)), NO_NOTE, dtype=np.int64)
        ids_BTS[..., 0] = BOS
        ended_B = np.zeros(len(images), dtype=bool)
        probabilities: list[Floats] = []
        while ids_BTS.shape[1] < self.description.max_length and not ended_B.all():
            so_far = {branch: ids_BTS[..., index] for index, branch in enumerate(SYMBOL_BRANCHES)}
            *scores, past = self._decoder.run(None, {**so_far, "picture": picture_L2BNPK, "past": past})
            next_BS = np.stack([scores_BV.argmax(axis=1) for scores_BV in scores], axis=1)
            next_BS[ended_B, 0] = PAD
            ended_B |= next_BS[:, 0] == EOS
            ids_BTS = np.concatenate((ids_BTS, next_BS[:, None]), axis=1)
            probabilities.append(np.stack([_of_the_largest(scores_BV) for scores_BV in scores], axis=1))
        for ids_TS, probabilities_TS in zip(ids_BTS[:, 1:], np.stack(probabilities, axis=1), strict=True):
            yield read_off(self.vocabulary, ids_TS, probabilities_TS)


def _of_the_largest(scores_BV: Floats) -> Floats:
    """Softmax of the largest score, [B]."""
    largest_B1 = scores_BV.max(axis=1, keepdims=True)
    probability: Floats = 1 / np.exp(scores_BV - largest_B1).sum(axis=1)
    return probability


def _session(path: Path, providers: Sequence[str] | None, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError(f"{path}: to read with it, install onnxruntime: {INSTALL}") from None
    there = onnxruntime.get_available_providers()
    if missing := [name for name in providers or () if name not in there]:
        raise ConfigError(f"onnxruntime has no {', '.join(missing)} here; it has {', '.join(there)}")
    chosen = list(providers or (name for name in USUAL_PROVIDERS if name in there))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # onnxruntime's own have no common class but this
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    runs_on = session.get_providers()[0]
    if providers and runs_on != chosen[0]:  # it takes the next one without an error
        raise ConfigError(
            f"onnxruntime cannot start {chosen[0]} here, and would read with {runs_on}; look for its message above, or "
            "say device=auto"
        )
    return session
