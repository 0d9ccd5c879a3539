"""A training on disk: weights that anybody can read, and what is needed to go on.

    model.safetensors     the weights
    checkpoint.json       configuration, epoch, SER, vocabulary, corpus hash: enough to rebuild the model; written last
    resume.pt             optimiser, loss scaler, random state: enough to go on to the same numbers (on a GPU, up to
                          rounding: it does not add up in the same order twice)

A checkpoint is written into a folder of a temporary name and renamed: there is never half of one. Who copies it after
that may be cut off, and disks lose bytes: `checkpoint.json` has the digests of the other two.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from datasets.command_line import flat_fields, typed
from datasets.errors import CheckpointError, ConfigError
from datasets.files import new_folder, sha256_of, write_atomically
from datasets.seeds import seed_from
from datasets.vocabulary import vocabulary
from omr_model.config import TrainingConfig
from omr_model.decoding import DECODING
from omr_model.layout import DESCRIPTION, RESUME, WEIGHTS
from omr_model.model import TrOMR
from omr_model.parallel import RandomState, set_random_state
from omr_model.trainer import EpochRecord, Trainer

FORMAT = 1
RESUME_STATE = {"epoch", "first_loss", "optimizer", "scaler", "torch_rng", "cuda_rng"}

# What may change in the middle of a training: weights and the optimiser's state still fit. Which parameters decay
# sorts them into groups, and the fused kernels keep their state in other forms, so neither may.
CHANGEABLE = ("loss.", "optimizer.", "train.mix.", "train.dropout.")
RATES = ("drop_rate", "drop_path_rate", "dropout", "attention_dropout")
PLACES = ("train.device", "train.workers", "train.images")  # where a training runs, which is for each machine to say
FIXED = ("optimizer.decay_norms", "optimizer.decay_biases", "optimizer.decay_embeddings", "optimizer.fused")


@dataclass(frozen=True)
class Checkpoint:
    """What `checkpoint.json` says.

    Attributes:
        config: the whole training configuration.
        epoch: epochs finished.
        ser: validation SER at that epoch; None of weights that were never validated here.
        vocabulary: name and version, such as `full-1`.
        corpus_hash: content hash of the prepared corpus.
        decoding: how SER was decoded.
        digests: SHA-256 of the other files by name; none in checkpoints of the first versions.
        imported: of weights that were not trained here, where they come from.
    """

    config: TrainingConfig
    epoch: int
    ser: float | None
    vocabulary: str
    corpus_hash: str
    decoding: str
    digests: dict[str, str] = field(default_factory=dict)
    imported: str = ""


def save(trainer: Trainer, record: EpochRecord, folder: Path) -> None:
    """Write a checkpoint of a trainer that has just finished `record`; an older one there is replaced."""
    with new_folder(folder) as partial:
        write(trainer, record, partial)


def write(trainer: Trainer, record: EpochRecord, folder: Path) -> None:
    """Write the three files into an existing folder that nobody reads yet."""
    save_file({name: tensor.contiguous() for name, tensor in trainer.model.state_dict().items()}, folder / WEIGHTS)
    torch.save(_resume_state(trainer), folder / RESUME)
    description = Checkpoint(
        config=trainer.config,
        epoch=record.epoch,
        ser=record.ser,
        vocabulary=trainer.model.vocabulary.version,
        corpus_hash=trainer.corpus.manifest.content_hash,
        decoding=DECODING,
        digests={name: sha256_of(folder / name) for name in (WEIGHTS, RESUME)},
    )
    write_description(description, folder)


def write_description(description: Checkpoint, folder: Path) -> None:
    """Write `checkpoint.json`, which makes a checkpoint of the folder."""
    text = json.dumps({"format": FORMAT} | dataclasses.asdict(description), indent=2)
    write_atomically(folder / DESCRIPTION, f"{text}\n".encode())


def describe(folder: Path) -> Checkpoint:
    """Read `checkpoint.json`.

    Raises:
        CheckpointError: the folder is no checkpoint, or one this version cannot read.
    """
    path = folder / DESCRIPTION
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:  # OmegaConf would put variables of the environment in its place
            raise CheckpointError(f"{path}: a checkpoint's configuration has values, not references (${{...}})")
        tree = json.loads(text)
        if tree.pop("format") != FORMAT:
            raise CheckpointError(f"{path}: written by another version of this project (format is not {FORMAT})")
        digests = {str(name): str(digest) for name, digest in tree.get("digests", {}).items()}
        return Checkpoint(**{**tree, "config": typed(TrainingConfig(), tree["config"]), "digests": digests})
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {DESCRIPTION}; "
            "give a folder that omr_model.train or results.export wrote"
        ) from None
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        ConfigError,
    ) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def load_model(folder: Path, device: torch.device) -> TrOMR:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: missing or damaged, or of a vocabulary that has changed since.
    """
    description = describe(folder)
    now = vocabulary(description.config.model.vocabulary).version
    if description.vocabulary != now:
        raise CheckpointError(f"{folder} was trained with vocabulary {description.vocabulary}, this version has {now}")
    model = TrOMR(description.config.model)
    model.load_state_dict(_weights(folder, description, model))
    return model.to(device).eval()


def may_change(target: str) -> bool:
    """Whether a leaf of the configuration may change in the middle of a training: `optimizer.weight_decay`."""
    is_rate = target.startswith("model.") and target.rpartition(".")[2] in RATES
    return target not in FIXED and (is_rate or target.startswith(CHANGEABLE))


def restore(trainer: Trainer, folder: Path, adopt: bool = False) -> int:
    """Put a trainer where it was when the checkpoint was written.

    On the same device it goes on to the same numbers; on a GPU up to rounding, with which two trainings drift apart.

    Everything is read and checked before the trainer is touched.

    Args:
        adopt: go on with the trainer's own configuration, which may differ in what `may_change`: weights, the
            optimiser's moments, epoch and random state are the checkpoint's.

    Returns:
        How many processes had trained it together. Where there are more now, some draw a new dropout.

    Raises:
        CheckpointError: missing or damaged, or of another model, loss or training.
    """
    description = describe(folder)
    changed = _differences(description.config, trainer.config)
    if changed and not adopt:
        raise CheckpointError(f"{folder} is of another configuration; resume with the one in its {DESCRIPTION}")
    fixed = [target for target in changed if not may_change(target)]
    if fixed:
        raise CheckpointError(f"{folder} differs in {', '.join(fixed)}, which cannot change during a training")
    if description.corpus_hash != trainer.corpus.manifest.content_hash:
        raise CheckpointError(f"{folder} was trained on another version of the corpus than {trainer.corpus.path}")
    weights, state = _weights(folder, description, trainer.model), _resume(folder, description)
    trainer.model.load_state_dict(weights)
    own = [{name: value for name, value in group.items() if name != "params"} for group in _groups(trainer)]
    trainer.optimizer.load_state_dict(state["optimizer"])
    if adopt:
        for group, options in zip(_groups(trainer), own, strict=True):
            group.update(options)  # betas and weight decay came with the state
    if state["scaler"]:  # of a training on a CPU there is none, and a GPU begins with its own
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.epoch = state["epoch"]
    loss_changed = any(target.startswith("loss.") for target in changed)
    trainer.first_loss = math.inf if loss_changed else state["first_loss"]  # of another loss it says nothing
    _restore_randomness(trainer, state)
    return 1 + len(state.get("other_ranks", ()))


def _restore_randomness(trainer: Trainer, state: dict[str, Any]) -> None:
    """Each of several processes goes on with its own; one that was not there draws a sequence of its own."""
    rank = trainer.parallel.rank
    states = [RandomState(state["torch_rng"], state["cuda_rng"])]
    states += [RandomState(*other) for other in state.get("other_ranks", ())]
    if rank < len(states):
        set_random_state(states[rank], trainer.device)
    else:
        torch.manual_seed(seed_from(trainer.config.train.seed, f"dropout of rank {rank} from epoch {trainer.epoch} on"))


@dataclass(frozen=True)
class Restored:
    """Which checkpoint was restored, if any, and in a sentence each why newer ones were not."""

    folder: Path | None
    notes: tuple[str, ...]


def restore_newest(trainer: Trainer, folders: Sequence[Path], adopt: bool = False) -> Restored:
    """Restore the first of the checkpoints that is sound and fits; the trainer stays as it was if none does.

    Args:
        folders: newest first.
        adopt: as `restore`.
    """
    notes: list[str] = []
    for folder in folders:
        try:
            before = restore(trainer, folder, adopt)
        except CheckpointError as error:
            notes.append(str(error))
        else:
            if before != trainer.parallel.world:
                now = trainer.parallel.world
                notes.append(f"{before} processes had trained it, {now} go on: dropout is drawn differently")
            return Restored(folder, tuple(notes))
    return Restored(None, tuple(notes))


def _differences(one: TrainingConfig, other: TrainingConfig) -> list[str]:
    """The leaves that are not the same, of those that say what is trained."""
    others = flat_fields(other)
    return [target for target, value in flat_fields(one).items() if value != others[target] and target not in PLACES]


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    return trainer.optimizer.param_groups


def _resume_state(trainer: Trainer) -> dict[str, Any]:
    return {
        "epoch": trainer.epoch,
        "first_loss": trainer.first_loss,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(trainer.device) if trainer.device.type == "cuda" else None,
        "other_ranks": [tuple(state) for state in trainer.random_states[1:]],
    }


def _weights(folder: Path, description: Checkpoint, model: TrOMR) -> dict[str, Tensor]:
    """The weights of a checkpoint, on the CPU; they fit the model."""
    path = folder / WEIGHTS
    _check_digest(path, description)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    here, there = (
        {name: tuple(tensor.shape) for name, tensor in state.items()} for state in (model.state_dict(), weights)
    )
    if different := [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]:
        name = different[0]
        raise CheckpointError(
            f"{path} does not fit the model: {len(different)} tensors differ, such as {name}: "
            f"{there.get(name, 'none')} for {here.get(name, 'none')}"
        )
    return weights


def _resume(folder: Path, description: Checkpoint) -> dict[str, Any]:
    """What `_resume_state` has written, on the CPU: the optimiser moves its own part to the weights' device."""
    path = folder / RESUME
    _check_digest(path, description)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises whatever the pickle layer does
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(state, dict) or not state.keys() >= RESUME_STATE:
        raise CheckpointError(f"{path} is damaged: it lacks a part of what is needed to go on")
    return state


def _check_digest(path: Path, description: Checkpoint) -> None:
    expected = description.digests.get(path.name)
    try:
        damaged = expected is not None and sha256_of(path) != expected
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if damaged:
        raise CheckpointError(f"{path} is damaged: it is not what was written")
