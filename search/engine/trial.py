"""One trial: the shared trainer, reporting to Tune after every epoch."""

from __future__ import annotations

import errno
import shutil
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ray import tune

from omr_model.config import TrainingConfig, replace_fields
from results.samples import SAMPLES_FILE, write_samples
from search.engine import keys
from search.engine.corpus_cache import kept_corpus
from search.engine.memory import free_memory, is_out_of_memory, memory_told, wait_for_memory
from search.engine.places import own_scratch
from search.engine.stop import NO_ROOM
from search.engine.stored_checkpoints import checkpoints_at, report_again
from search.resources import compile_on, let_memory_grow

if TYPE_CHECKING:
    from ray.exceptions import RayActorError

    from omr_model.parallel import Parallel

NO_SER = 10.0  # what the scheduler compares where there is none: worse than any SER
MACHINE = (
    *(errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM),
)
"""Errors of a disk, a network or a folder that is gone, which no setting causes. One of memory is none of these."""


Tell: TypeAlias = Callable[[dict[str, Any], Path], None]


class WorkerDiedError(RuntimeError):
    """One of a trial's processes has died, or has lost the others.

    Attributes:
        death: as Ray tells of it, by which Tune knows a node's death from the trial's own; None if it does not.
    """

    def __init__(self, message: str, death: RayActorError | None = None) -> None:
        super().__init__(message)
        self.death = death


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a study share.

    Attributes:
        base: the training that a setting is laid over.
        corpus: folder of the prepared corpus, or its address.
        threads: that torch may use; None leaves it to torch.
        scratch: folder for checkpoints that are being written, on the study's own disk.
        shared: trials share GPUs, so one that runs out of memory may do with a GPU of its own.
        memory_bytes: of the GPU, that are to be free before a trial begins; None where nobody measured it.
        processes: that train one trial together, each with a GPU of its own (`search.engine.distributed`).
        study: its address; None where its folder is on this machine, or on a disk that all share.
        share: of a GPU that each trial holds; 1 for all of one, or of several.
        cores: of each of a trial's processes.
        corpus_hash: of the corpus that the search began with; None for a trainable that reads none.
    """

    base: TrainingConfig
    corpus: Path | str
    threads: int | None
    scratch: Path
    shared: bool = False
    memory_bytes: int | None = None
    processes: int = 1
    study: str | None = None
    corpus_hash: str | None = None
    share: float = 1.0
    cores: int = 1


def train_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Train a setting until Tune stops it, it diverges, or it is done; called in a process of Ray's.

    A trial that was begun before goes on from its newest checkpoint that is sound, or from the one that it adopted. An
    error of the training ends the trial and no other: the same would happen again, so it is not tried again. What dies
    is: the process, or the GPU in it. Where the machine is at fault, nothing is: the search ends, to be gone on with.
    One that ran out of a GPU's memory beside others says so, and is taken up again alone.

    Raises:
        RuntimeError: of CUDA, after which a process can use the GPU no more; Tune begins the trial again in a new one.
        RayActorError: a process beside this one has died, and Tune does the same; or a RuntimeError where only that is
            known.
    """
    from datasets.errors import DivergedError

    end = None
    try:
        _train(config, job)
    except DivergedError as error:
        end = _end(keys.DIVERGED, str(error))
    except Exception as error:  # whatever it is, it is told
        traceback.clear_frames(error.__traceback__)  # they hold the model, and with it the GPU's memory
        end = _end_of(error, beside=job.shared and not config.get(keys.ALONE))
    if end is not None:
        free_memory()  # before it is told: the next trial may begin at once
        tune.report(end)


def _end_of(error: Exception, beside: bool) -> dict[str, Any]:
    """The last report of a trial that an error has ended.

    Args:
        beside: others on the same GPU.

    Raises:
        RayActorError, RuntimeError: of CUDA, or of a process that has died.
    """
    from datasets.errors import CorpusError, StorageError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = f"{type(error).__name__}: {lines[0] if lines else ''}"
    if is_out_of_memory(error):
        return _end(keys.OUT_OF_MEMORY if beside else keys.FAILED, "; ".join(filter(None, [message, memory_told()])))
    if isinstance(error, WorkerDiedError) and error.death is not None:
        raise error.death from RuntimeError(message)
    if "CUDA error" in message or isinstance(error, WorkerDiedError):
        raise RuntimeError(message) from None
    number = error.errno if isinstance(error, OSError) else None
    machine = number in MACHINE or isinstance(error, (CorpusError, StorageError))
    return _end(keys.DISK_FULL if number in NO_ROOM else keys.CUT_OFF if machine else keys.FAILED, message)


def _train(config: Mapping[str, Any], job: TrialJob) -> None:
    if job.study is None:
        checkpoints: Sequence[Path] = _checkpoints(config)
    else:
        own_scratch(job.scratch)
        checkpoints = checkpoints_at(job.study, config, job.scratch)
    if job.processes == 1:
        learn(config, job, checkpoints, _tell)
    else:
        from search.engine.distributed import train_together  # its processes train by what is here

        train_together(config, job, checkpoints, _tell)


def _tell(result: dict[str, Any], folder: Path) -> None:
    report_again(lambda: tune.report(result, checkpoint=tune.Checkpoint.from_directory(str(folder))))


def learn(
    config: Mapping[str, Any], job: TrialJob, checkpoints: Sequence[Path], tell: Tell, parallel: Parallel | None = None
) -> None:
    """Train a setting in this process.

    Args:
        checkpoints: to go on from, newest first.
        tell: takes what is reported after an epoch, and a folder with checkpoint and staves that is gone after it.
        parallel: this process's place among several.
    """
    let_memory_grow()
    compile_on(job.cores)
    import cv2
    import torch

    from omr_model import checkpoint
    from omr_model.parallel import BY_ITSELF
    from omr_model.trainer import EpochRecord, Trainer

    if job.threads is not None:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
    training = replace_fields(job.base, {**config[keys.SETTINGS], "train.seed": config[keys.SEED]})
    if training.train.compile:
        torch.compiler.reset()  # trials share a process; after some of them torch would silently compile no more
    waited = _wait(config, job)
    trainer = Trainer(training, kept_corpus(job.corpus, job.corpus_hash), parallel or BY_ITSELF)
    notes = [
        *waited,
        *trainer.notes,
        *checkpoint.restore_newest(trainer, checkpoints, adopt=keys.ADOPTED in config).notes,
    ]

    held = 1.0 if config.get(keys.ALONE) else job.share  # of each GPU that the trainer counts whole

    def report(record: EpochRecord) -> None:
        job.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=job.scratch))
        try:
            checkpoint.write(trainer, record, folder)
            write_samples(record.evaluation.staves, record.epoch, folder / SAMPLES_FILE)
            metrics = record.metrics() | {"gpu_seconds": record.gpu_seconds * held}
            result: dict[str, Any] = {keys.STEP: record.epoch, keys.METRIC: record.ser, keys.METRICS: metrics}
            if notes:
                result[keys.NOTE] = "; ".join(notes)
                notes.clear()
            tell(result, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    trainer.fit(report)


def _wait(config: Mapping[str, Any], job: TrialJob) -> list[str]:
    """Until the GPU's memory is free, where it is known how much is needed; what a person should know of it."""
    alone = bool(config.get(keys.ALONE))
    free_memory()
    if not alone and job.memory_bytes is None:
        return []
    note = wait_for_memory(None if alone else job.memory_bytes)
    return [] if note is None else [note]


def _checkpoints(config: Mapping[str, Any]) -> list[Path]:
    """Where the trial may go on from, the newest first: this session's own, then those from before; after an exchange
    those since then, and the one that it took over."""
    latest = tune.get_checkpoint()
    if latest is None:
        return [Path(folder) for folder in config[keys.CHECKPOINTS]]
    newest = Path(latest.path)
    since = config.get(keys.EXCHANGED, "")
    own = (one for one in newest.parent.glob("checkpoint_[0-9]*") if since < one.name < newest.name)
    before = (Path(folder) for folder in config[keys.CHECKPOINTS])
    return [newest, *sorted(own, reverse=True), *(folder for folder in before if folder != newest)]


def _end(what: str, message: str) -> dict[str, Any]:
    """The last report of a trial that ends without an epoch."""
    return {keys.STEP: 0, keys.METRIC: NO_SER, what: message}
