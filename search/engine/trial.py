"""One trial: the shared trainer, reporting to Tune after every epoch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from omr_model.config import TrainingConfig, replace_fields
from results.samples import SAMPLES_FILE, write_samples
from search.engine.searcher import ADOPTED, DIVERGED, METRIC, METRICS, SETTINGS, STEP

DIVERGED_SER = 10.0  # what the scheduler compares: worse than any SER, but not so far that it moves a rung's cutoff


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a study share.

    Attributes:
        base: the training that a setting is laid over; its seed is every trial's, so that two settings differ
            by nothing else.
        corpus: folder of the prepared corpus.
        threads: that torch may use; None leaves it to torch.
    """

    base: TrainingConfig
    corpus: Path
    threads: int | None


def train_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Train a setting until Tune stops it, it diverges, or it is done; called in a process of Ray's.

    A trial that was interrupted goes on from its last checkpoint, or from the one that it adopted.
    """
    import cv2
    import torch

    from datasets.errors import DivergedError
    from datasets.shards import PreparedCorpus
    from omr_model import checkpoint
    from omr_model.trainer import EpochRecord, Trainer

    if job.threads is not None:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
    training = replace_fields(job.base, config[SETTINGS])
    if training.train.compile:
        torch.compiler.reset()  # trials share a process; after eight of them torch would silently compile no more
    trainer = Trainer(training, PreparedCorpus.open(job.corpus))
    last = tune.get_checkpoint()
    if last is not None:
        with last.as_directory() as folder:
            checkpoint.restore(trainer, Path(folder), adopt=ADOPTED in config)

    def report(record: EpochRecord) -> None:
        folder = Path(tempfile.mkdtemp(prefix="omr-trial-"))
        try:
            checkpoint.write(trainer, record, folder)
            write_samples(record.evaluation.staves, record.epoch, folder / SAMPLES_FILE)
            result = {STEP: record.epoch, METRIC: record.ser, METRICS: record.metrics()}
            tune.report(result, checkpoint=tune.Checkpoint.from_directory(str(folder)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    try:
        trainer.fit(report)
    except DivergedError as error:
        tune.report({STEP: trainer.epoch + 1, METRIC: DIVERGED_SER, DIVERGED: str(error)})
