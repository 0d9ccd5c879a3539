"""`python -m omr_model.train`: one training, without a search.

python -m omr_model.train to=runs/first
python -m omr_model.train to=runs/deep preset=tiny model.decoder.depth=4 train.seed=1
python -m omr_model.train to=runs/first resume=true
torchrun --nproc-per-node 2 -m omr_model.train to=runs/first     on two GPUs together
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.command_line import check_choice, main
from datasets.errors import CheckpointError, ConfigError
from datasets.files import restore_folder
from datasets.prepare import prepare
from datasets.prepare_config import CORPORA, Choices, PrepareConfig
from omr_model import checkpoint
from omr_model.config import TrainingConfig, replace_fields
from omr_model.device import preset_for_device, resolve_device
from omr_model.metrics import percent
from omr_model.parallel import from_environment, meet
from omr_model.presets import FAST, PLAIN, PRESETS, STAFF_OF_PRESET
from omr_model.trainer import EpochRecord, Trainer


@dataclass(frozen=True, kw_only=True)
class TrainJob(TrainingConfig, Choices):
    """One training.

    Attributes:
        preset: one of `PRESETS`, or `auto` by the device; names the defaults of everything else.
        fast: mixed precision, torch.compile and fused AdamW, or none of them; None leaves it to the preset.
        data, staff, corpora: the corpus, as `datasets.prepare` is told; prepared first where it is not yet.
        to: the checkpoint's folder, written after every epoch.
        resume: go on from the checkpoint in `to`.
    """

    preset: str = "auto"
    fast: bool | None = None
    data: str = "engraved"
    staff: str = "short"
    corpora: str = str(CORPORA)
    to: str = ""
    resume: bool = False

    def preparation(self) -> PrepareConfig:
        """The part that names the corpus."""
        return PrepareConfig(data=self.data, staff=self.staff, corpora=self.corpora, **self.choices())

    def training(self) -> TrainingConfig:
        """The part that decides the numbers."""
        return TrainingConfig(model=self.model, loss=self.loss, optimizer=self.optimizer, train=self.train)


def default_job(words: Sequence[str]) -> TrainJob:
    """The job that the words are laid over: the preset that they name, or that of the device that they name."""
    named = dict(word.split("=", 1) for word in words if "=" in word)
    preset = named.get("preset", "auto")
    check_choice("preset", preset, ("auto", *PRESETS))
    if preset == "auto":
        preset = preset_for_device(named.get("train.device", "auto"))
    speed = {"true": FAST, "false": PLAIN}.get(named.get("fast", "").lower(), {})
    config = replace_fields(PRESETS[preset], speed)
    return TrainJob(**vars(config), staff=STAFF_OF_PRESET[preset])


def train(job: TrainJob) -> None:
    """Train one model and leave its checkpoint in `to`."""
    if not job.to:
        raise ConfigError("to=: name the folder for the checkpoint, such as to=runs/first")
    folder = Path(job.to)
    parallel = from_environment()
    device = parallel.device(resolve_device(job.train.device))
    if parallel.rank == 0:
        restore_folder(folder)
        if folder.exists() and not job.resume:
            raise CheckpointError(f"{folder} is there already; resume=true goes on with it, or name another folder")
    corpus = prepare(job.preparation())  # by one, for whom the others wait as long as it takes
    meet(parallel, device)

    trainer = Trainer(job.training(), corpus, parallel)
    if job.resume:
        checkpoint.restore(trainer, folder)
    if parallel.rank == 0:
        print(
            f"{trainer.model.parameter_count:,} parameters on {trainer.device}, {len(trainer.data):,} training staves"
        )
        print("\n".join(trainer.notes), end="\n" if trainer.notes else "")

    def report(record: EpochRecord) -> None:
        checkpoint.save(trainer, record, folder)
        print(
            f"epoch {record.epoch}/{job.train.epochs}  SER {percent(record.ser)}  loss {record.losses['total']:.3f}  "
            f"{record.samples_per_second:.0f} staves/s",
            flush=True,
        )

    trainer.fit(report)
    if parallel.rank == 0:
        print(f"checkpoint in {folder}")


if __name__ == "__main__":
    main(train, default_job)
