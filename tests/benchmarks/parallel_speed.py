"""What it costs to train in two processes: staves a second beside one process with as many threads.

python -m tests.benchmarks.parallel_speed
python -m tests.benchmarks.parallel_speed rounds=15 staves=320 norm=batch

Both have two cores: one process with two threads, and two processes with one thread each that share every batch over
gloo. The ratio says what sharing costs on a CPU; what several GPUs win, only several GPUs can tell.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datasets.command_line import check_range, main
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from omr_model.config import TrainingConfig
from omr_model.parallel import BY_ITSELF, Parallel
from omr_model.presets import PRESETS
from omr_model.trainer import Trainer
from tests.benchmarks.ratio import paired
from tests.ranks import ranks_of

_trainers: list[Trainer] = []  # in each process, the one that is timed


@dataclass(frozen=True, kw_only=True)
class ParallelSpeed:
    """Attributes: rounds, staves a round, batch size, and the backbone's norm: `group`, or `batch` as in the preset."""

    rounds: int = 9
    staves: int = 160
    batch_size: int = 16
    norm: str = "batch"

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 2)
        check_range("staves", self.staves, self.batch_size)


def build(parallel: Parallel, config: TrainingConfig, corpus: Path) -> None:
    """In a process: the trainer that is timed."""
    _trainers[:] = [Trainer(config, PreparedCorpus.open(corpus), parallel)]


def epoch(_: Parallel) -> None:
    """In a process: the steps of an epoch, without its evaluation."""
    trainer = _trainers[0]
    trainer.model.train()
    for index, batch in enumerate(trainer.loader):
        trainer._learn(batch, index % len(trainer.order))


def compare(job: ParallelSpeed) -> None:
    """Print how many staves a second two processes train for one of a single process."""
    tiny = PRESETS["tiny"]
    widths: dict[str, Any] = {} if job.norm == "batch" else {"bottle_ratio": 1.0}
    backbone = dataclasses.replace(tiny.model.backbone, norm=job.norm, **widths)
    train = dataclasses.replace(tiny.train, staves_per_epoch=job.staves, batch_size=job.batch_size, device="cpu")
    config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, backbone=backbone), train=train)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder, ranks_of(2, Path(folder)) as pair:
        corpus = prepare(PrepareConfig(staff="short", limit=200, corpora=folder), quiet=True)
        build(BY_ITSELF, config, corpus.path)
        pair.run(build, config, corpus.path)
        print(
            paired(
                f"two processes, one thread each, beside one with two ({job.norm} norm, batch {job.batch_size})",
                lambda: epoch(BY_ITSELF),
                lambda: pair.run(epoch),
                rounds=job.rounds,
            )
        )


if __name__ == "__main__":
    main(compare, ParallelSpeed())
