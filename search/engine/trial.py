"""One trial: the shared trainer, reporting to Tune after every epoch."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from omr_model.config import TrainingConfig, replace_fields
from results.samples import SAMPLES_FILE, write_samples
from search.engine.searcher import (
    ADOPTED,
    CHECKPOINTS,
    CUT_OFF,
    DISK_FULL,
    DIVERGED,
    EXCHANGED,
    FAILED,
    METRIC,
    METRICS,
    NOTE,
    SEED,
    SETTINGS,
    STEP,
)
from search.engine.stop import NO_ROOM

NO_SER = 10.0  # what the scheduler compares where there is none: worse than any SER
MACHINE = (
    *(errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM),
)
"""Errors of a disk, a network or a folder that is gone, which no setting causes. One of memory is none of these."""


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a study share.

    Attributes:
        base: the training that a setting is laid over.
        corpus: folder of the prepared corpus.
        threads: that torch may use; None leaves it to torch.
        scratch: folder for checkpoints that are being written, on the study's own disk.
    """

    base: TrainingConfig
    corpus: Path
    threads: int | None
    scratch: Path


def train_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Train a setting until Tune stops it, it diverges, or it is done; called in a process of Ray's.

    A trial that was begun before goes on from its newest checkpoint that is sound, or from the one that it adopted. An
    error of the training ends the trial and no other: the same would happen again, so it is not tried again. What dies
    is: the process, or the GPU in it. Where the machine is at fault, nothing is: the search ends, to be gone on with.

    Raises:
        RuntimeError: of CUDA, after which a process can use the GPU no more; Tune begins the trial again in a new one.
    """
    from datasets.errors import CorpusError, DivergedError

    try:
        _train(config, job)
    except DivergedError as error:
        tune.report(_end(DIVERGED, str(error)))
    except Exception as error:  # whatever it is, it is told
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = f"{type(error).__name__}: {lines[0] if lines else ''}"
        if "CUDA error" in message:
            raise RuntimeError(message) from None
        number = error.errno if isinstance(error, OSError) else None
        machine = number in MACHINE or isinstance(error, CorpusError)
        tune.report(_end(DISK_FULL if number in NO_ROOM else CUT_OFF if machine else FAILED, message))


def _train(config: Mapping[str, Any], job: TrialJob) -> None:
    import cv2
    import torch

    from datasets.shards import PreparedCorpus
    from omr_model import checkpoint
    from omr_model.trainer import EpochRecord, Trainer

    if job.threads is not None:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
    training = replace_fields(job.base, {**config[SETTINGS], "train.seed": config[SEED]})
    if training.train.compile:
        torch.compiler.reset()  # trials share a process; after eight of them torch would silently compile no more
    trainer = Trainer(training, PreparedCorpus.open(job.corpus))
    notes = list(checkpoint.restore_newest(trainer, _checkpoints(config), adopt=ADOPTED in config).notes)

    def report(record: EpochRecord) -> None:
        job.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=job.scratch))
        try:
            checkpoint.write(trainer, record, folder)
            write_samples(record.evaluation.staves, record.epoch, folder / SAMPLES_FILE)
            result: dict[str, Any] = {STEP: record.epoch, METRIC: record.ser, METRICS: record.metrics()}
            if notes:
                result[NOTE] = "; ".join(notes)
                notes.clear()
            tune.report(result, checkpoint=tune.Checkpoint.from_directory(str(folder)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    trainer.fit(report)


def _checkpoints(config: Mapping[str, Any]) -> list[Path]:
    """Where the trial may go on from, the newest first: this session's own, then those from before; after an exchange
    those since then, and the one that it took over."""
    latest = tune.get_checkpoint()
    if latest is None:
        return [Path(folder) for folder in config[CHECKPOINTS]]
    newest = Path(latest.path)
    since = config.get(EXCHANGED, "")
    own = (one for one in newest.parent.glob("checkpoint_[0-9]*") if since < one.name < newest.name)
    before = (Path(folder) for folder in config[CHECKPOINTS])
    return [newest, *sorted(own, reverse=True), *(folder for folder in before if folder != newest)]


def _end(what: str, message: str) -> dict[str, Any]:
    """The last report of a trial that ends without an epoch."""
    return {STEP: 0, METRIC: NO_SER, what: message}
