"""`python -m omr_model.import_tromr FILE to=FOLDER`: TrOMR's published weights as a checkpoint of our model.

    python -m omr_model.import_tromr Polyphonic-TrOMR/tromr/workspace/checkpoints/img2score_epoch47.pth to=published

They are run 0 of the training log. The layout is that of github.com/NetEase/Polyphonic-TrOMR: its `config.yaml`, timm
0.6.5 and x-transformers 0.29.2, where it differs from our `paper` preset: norms after the convolutions, a class token,
heads of width 64 in the decoder, biases in its layer norms. Those are fields of our configuration (`PUBLISHED`), so
that the network is the same. Two things are rewritten:

positions      theirs are multiplied by width ** -0.5 when they are used, so the factor goes into the weights
vocabularies   rows of embeddings and heads go where our vocabulary has their token, for which their tokenizers are
               read: they lie beside the weights. Ours has tokens that theirs lacks (grace notes, fermatas, ties, double
               dots): those get no embedding and a score that is never the largest. Rows of theirs without a
               counterpart (some meters and rests over many bars) are left out and listed.

Their pictures were as wide as the staff; ours are filled up with white on the right to the width of the model, which
was never among what the weights were trained on. They sampled at a temperature of 0.2; we decode greedily.
"""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from datasets.command_line import HELP, check_target, main
from datasets.errors import CheckpointError, ConfigError
from datasets.files import new_folder, sha256_of
from datasets.vocabulary import SYMBOL_BRANCHES, Vocabulary, vocabulary
from omr_model.checkpoint import Checkpoint, write_description
from omr_model.config import BackboneConfig, DecoderConfig, EncoderConfig, ModelConfig, TrainingConfig
from omr_model.decoding import DECODING
from omr_model.layout import WEIGHTS
from omr_model.model import TrOMR

SOURCE = "github.com/NetEase/Polyphonic-TrOMR"
PUBLISHED = ModelConfig(
    backbone=BackboneConfig(preact=False),
    encoder=EncoderConfig(class_token=True),
    decoder=DecoderConfig(head_width=64, norm_bias=True),
)

POSITIONS = "decoder.position_embedding.weight"
NAMES = (  # theirs, and ours
    (r"encoder\.(.+)", r"encoder.transformer.\1"),
    (r"decoder\.net\.(rhythm|pitch|lift)_emb\.emb\.weight", r"decoder.\1_embedding.weight"),
    (r"decoder\.net\.pos_emb\.emb\.weight", POSITIONS),
    (r"decoder\.net\.norm\.(weight|bias)", r"decoder.attention.final_norm.\1"),
    (r"decoder\.net\.to_logits_(rhythm|pitch|lift|note)\.(weight|bias)", r"decoder.heads.\1.\2"),
    (r"decoder\.net\.attn_layers\.layers\.(\d+\.1)\.net\.0\.(.+)", r"decoder.attention.layers.\1.ff.0.\2"),
    (r"decoder\.net\.attn_layers\.layers\.(\d+\.1)\.net\.3\.(.+)", r"decoder.attention.layers.\1.ff.2.\2"),
    (r"decoder\.net\.attn_layers\.(layers\..+)", r"decoder.attention.\1"),
)
NO_WEIGHTS = {"decoder.note_mask": "says which rhythms are notes, as our vocabulary does"}
SPELT = (("note-breve", "note-double_whole"), ("rest-breve", "rest-double_whole"), ("-long", "-quadruple_whole"))

NEVER = -30.0
"""The score of a token that the published model does not have: far under any other, yet a training could raise it."""


@dataclass(frozen=True)
class ImportJob:
    """Attributes.

    file: the published weights, a PyTorch file (.pth) or safetensors.
    tokenizers: folder of tokenizer_rhythm.json, tokenizer_pitch.json and tokenizer_lift.json; empty for the one that
        the published repository has: `tokenizers` beside the folder of the weights, or where the weights are.
    to: the checkpoint to write, a folder that is not there yet.
    """

    file: str = ""
    tokenizers: str = ""
    to: str = ""


@dataclass(frozen=True)
class Imported:
    """Weights for `PUBLISHED`, and what became of the file.

    Attributes:
        weights: of our model, all of them.
        given: how many tensors the file has.
        left_out: tensors of the file that are not used, with the reason.
        dropped: by branch, tokens of theirs that our vocabulary lacks.
        new: by branch, tokens of ours that theirs lack.
    """

    weights: dict[str, Tensor]
    given: int
    left_out: dict[str, str]
    dropped: dict[str, list[str]]
    new: dict[str, list[str]]

    def table(self) -> str:
        """What fits and what does not."""
        lines = [f"mapped {self.given - len(self.left_out)} of {self.given} tensors"]
        lines += [f"  left out: {name} ({reason})" for name, reason in self.left_out.items()]
        lines += [f"  rewritten: {POSITIONS} (their factor, width ** -0.5, is in it)"]
        for branch in SYMBOL_BRANCHES:
            dropped, new = self.dropped[branch], self.new[branch]
            lines.append(f"{branch}: {len(dropped)} of their tokens dropped, {len(new)} of ours unknown to them")
            lines += [f"  dropped: {' '.join(dropped)}"] if dropped else []
            lines += [f"  unknown: {' '.join(new)}"] if new else []
        return "\n".join(lines)


def import_weights(job: ImportJob) -> None:
    """Write TrOMR's published weights as a checkpoint that predict and evaluate take.

    python -m omr_model.import_tromr img2score_epoch47.pth to=published tokenizers=workspace/tokenizers

    Without `tokenizers` they are looked for beside the file.
    """
    if not job.file or not job.to:
        raise ConfigError("name both: FILE to=FOLDER, where FILE is the published img2score_epoch47.pth")
    source, target = Path(job.file), Path(job.to)
    if target.exists():
        raise ConfigError(f"to={target}: it is there already; choose another folder")
    check_target("to", target, folder=True)
    imported = converted(read_weights(source), read_tokenizers(_tokenizers(job)))
    with new_folder(target) as folder:
        save_file(imported.weights, folder / WEIGHTS)
        description = Checkpoint(
            config=TrainingConfig(model=PUBLISHED),
            epoch=0,
            ser=None,
            vocabulary=vocabulary(PUBLISHED.vocabulary).version,
            corpus_hash="",
            decoding=DECODING,
            digests={WEIGHTS: sha256_of(folder / WEIGHTS)},
            imported=f"{SOURCE}, {source.name}, SHA-256 {sha256_of(source)}",
        )
        write_description(description, folder)
    print(f"{imported.table()}\n{target}")


def converted(published: dict[str, Tensor], tokens: dict[str, list[str]]) -> Imported:
    """The published weights under our names, with the rows of our vocabulary.

    Args:
        published: tensors by their published names.
        tokens: their tokens by branch, in the order of their numbers.

    Raises:
        CheckpointError: a tensor that our model needs is missing, or has another shape than the published one.
    """
    words = vocabulary(PUBLISHED.vocabulary)
    rows = {branch: places(words, branch, theirs) for branch, theirs in tokens.items()}
    with torch.device("meta"):
        ours = {name: tensor.shape for name, tensor in TrOMR(PUBLISHED).state_dict().items()}
    weights: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    wrong: list[str] = []
    for name, tensor in published.items():
        here = our_name(name)
        branch = _branch(here)
        if here not in ours:
            left_out[name] = NO_WEIGHTS.get(name, "the published model has no such tensor")
        elif tensor.shape != (shape := (len(tokens[branch]), *ours[here][1:]) if branch else tuple(ours[here])):
            wrong.append(f"{name} is {list(tensor.shape)} and should be {list(shape)}")
        else:
            weights[here] = _rewritten(here, tensor.float(), rows[branch] if branch else None)
    lacking = ours.keys() - {our_name(name) for name in published}
    wrong += [f"nothing is there for {name} of our model" for name in sorted(lacking)]
    if wrong:
        shown = "; ".join(wrong[:5])
        raise CheckpointError(f"not the published TrOMR weights, {len(wrong)} tensors do not fit: {shown}")
    dropped = {
        branch: [token for token in theirs if our_token(token) not in getattr(words, branch)]
        for branch, theirs in tokens.items()
    }
    new = {
        branch: [token for token, row in zip(getattr(words, branch), rows[branch], strict=True) if row is None]
        for branch in tokens
    }
    return Imported(weights, len(published), left_out, dropped, new)


def our_name(name: str) -> str:
    """The name that our model gives to a tensor of theirs; it need not have it."""
    for pattern, ours in NAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    return name


def our_token(token: str) -> str:
    """How we write a token of theirs; a pitch is a step with its octave."""
    pitch = re.fullmatch(r"note-([A-G]\d)", token)
    if pitch:
        return pitch[1]
    for theirs, ours in SPELT:
        token = token.replace(theirs, ours)
    return token


def places(words: Vocabulary, branch: str, theirs: list[str]) -> list[int | None]:
    """For each token of ours the row that it has in their tensors; None if they do not have it."""
    numbers = {our_token(token): number for number, token in enumerate(theirs)}
    return [numbers.get(token) for token in getattr(words, branch)]


def _branch(here: str) -> str | None:
    """The branch whose tokens are the rows of a tensor of ours."""
    found = re.match(r"decoder\.(?:heads\.)?(rhythm|pitch|lift)(?:_embedding)?\.", here)
    return found[1] if found else None


def _rewritten(here: str, tensor: Tensor, rows: list[int | None] | None) -> Tensor:
    if here == POSITIONS:
        return tensor / math.sqrt(tensor.shape[1])
    if rows is None:
        return tensor.contiguous()
    known = torch.tensor([row is not None for row in rows])
    new = torch.full((len(rows), *tensor.shape[1:]), NEVER if here.endswith("bias") else 0.0)
    new[known] = tensor[[row for row in rows if row is not None]]
    return new


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU; no code in the file is run.

    Raises:
        CheckpointError: no such file, or one that holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except Exception:  # torch.load raises whatever the pickle layer does, and advises to run the code in the file
        raise CheckpointError(f"{path} is no PyTorch file, or a damaged one, or has more in it than weights") from None
    if not isinstance(tree, dict) or not all(isinstance(tensor, Tensor) for tensor in tree.values()):
        raise CheckpointError(f"{path} holds no tensors by name, as the published weights do")
    return tree


def read_tokenizers(folder: Path) -> dict[str, list[str]]:
    """Their tokens by branch, in the order of their numbers.

    Raises:
        CheckpointError: a tokenizer is missing, or is none.
    """
    tokens: dict[str, list[str]] = {}
    for branch in SYMBOL_BRANCHES:
        path = folder / f"tokenizer_{branch}.json"
        try:
            numbers = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
            tokens[branch] = sorted(numbers, key=lambda token: int(numbers[token]))
            numbered = sorted(numbers.values()) == list(range(len(numbers)))
        except OSError as error:
            raise CheckpointError(
                f"{path}: {error.strerror}; the order of the published tokens is in it: "
                f"name its folder, tokenizers=FOLDER ({SOURCE} has it at tromr/workspace/tokenizers)"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is no tokenizer: {error!r}") from None
        if not numbered:
            raise CheckpointError(f"{path}: its tokens are not numbered from 0 without a gap")
    return tokens


def _tokenizers(job: ImportJob) -> Path:
    if job.tokenizers:
        return Path(job.tokenizers)
    beside = Path(job.file).resolve().parent
    published = beside.parent / "tokenizers"
    return published if published.is_dir() else beside


if __name__ == "__main__":
    given = [word if "=" in word or word in HELP else f"file={word}" for word in sys.argv[1:]]
    main(import_weights, ImportJob(), given)
