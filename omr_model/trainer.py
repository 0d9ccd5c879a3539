"""The shared trainer: every number of this project comes out of this loop.

It knows nothing of searches. A caller sees each epoch as it ends (`fit(on_epoch=...)`) and may save or stop
there. Learning rate and dropout are pure functions of the step, so a resumed training needs no scheduler state.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datasets.errors import DivergedError
from datasets.pixels import pictures_of
from datasets.seeds import seed_from
from datasets.shards import PreparedCorpus
from datasets.vocabulary import vocabulary
from omr_model.compiled import PADDED_TO, compile_regions, obstacle, pays, uncompiled
from omr_model.config import TrainingConfig
from omr_model.data import EpochOrder, StaffDataset, TrainingStaves, check_lengths, collate, validation_choice
from omr_model.device import autocast, grad_scaler, resolve_device, supported_precision
from omr_model.dropout import DropoutSchedule
from omr_model.energy import energy_meter
from omr_model.evaluation import Evaluation, evaluate
from omr_model.fits import check_fits
from omr_model.kernels import choose_kernels
from omr_model.loss import LOSS_PARTS, Losses, TrOMRLoss
from omr_model.mix import MixPlan, Stock
from omr_model.model import Batch, TrOMR
from omr_model.optimizer import adamw, learning_rate
from omr_model.parallel import BY_ITSELF, Parallel, RandomState, ShareOfOrder, random_state
from omr_model.whole_batch import WholeLoss, with_whole_batch_norms

STEPS_BETWEEN_CHECKS = 20  # reading the loss waits for the GPU, so divergence is looked for now and then
DIVERGENCE_FACTOR = 2.0  # an epoch whose mean loss is so many times the untrained model's has diverged


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's numbers: losses as means, SER as a fraction, times in seconds, memory in bytes.

    `data_seconds` is the part of the training time spent waiting for batches; `samples_per_second` counts
    training staves over the training time, without the validation. `energy_joules` is what the whole device took, and
    None where the driver does not tell (`omr_model.energy`).
    """

    epoch: int
    samples_seen: int
    losses: dict[str, float]
    evaluation: Evaluation = field(repr=False)
    learning_rate: float
    samples_per_second: float
    seconds: float
    data_seconds: float
    gpu_seconds: float
    peak_memory_bytes: int
    energy_joules: float | None = None

    @property
    def ser(self) -> float:
        """Corpus-level symbol error rate on the validation staves."""
        return self.evaluation.summary.ser

    def metrics(self) -> dict[str, float]:
        """Everything as flat columns, named as in the `epochs` table."""
        summary = self.evaluation.summary
        plain = ("epoch", "samples_seen", "learning_rate", "samples_per_second", "seconds", "data_seconds")
        row: dict[str, float] = {name: getattr(self, name) for name in (*plain, "gpu_seconds", "peak_memory_bytes")}
        if self.energy_joules is not None:
            row["energy_joules"] = self.energy_joules
        for part in LOSS_PARTS:
            suffix = "" if part == "total" else f"_{part}"
            row[f"train_loss{suffix}"] = self.losses[part]
            row[f"validation_loss{suffix}"] = self.evaluation.losses[part]
        row |= {
            "ser": summary.ser,
            "ser_rhythm": summary.ser_rhythm,
            "ser_pitch": summary.ser_pitch,
            "ser_lift": summary.ser_lift,
            "log_ser": summary.log_ser,
        }
        return row | {f"ser_class_{name}": share for name, share in summary.by_class.items()}


class Trainer:
    """Trains one TrOMR on one prepared corpus.

    Args:
        config: model, loss and training.
        corpus: its `train` split is learned, its `validation` split scored.
        parallel: this process's place among those that train together; all of them make the same calls.

    Attributes:
        notes: what a person should know of how it is trained here, a sentence each.

    Raises:
        ConfigError: the mix names a source that the corpus does not have, or the processes cannot share a batch.
        VocabularyError: the corpus has symbols that the model's vocabulary lacks; before any training.
        CorpusError: a split without staves, or staves larger than the model's picture.
    """

    def __init__(self, config: TrainingConfig, corpus: PreparedCorpus, parallel: Parallel = BY_ITSELF) -> None:
        parallel.check(config.train.batch_size)
        self.config = config
        self.corpus = corpus
        self.parallel = parallel
        self.device = parallel.device(resolve_device(config.train.device))
        check_fits(config.model, corpus)
        torch.manual_seed(config.train.seed)  # initial weights and dropout; the order has its own

        # data
        words = vocabulary(config.model.vocabulary)
        train, validation = corpus.staves("train"), corpus.staves("validation")
        mapped = config.train.images == "mapped" or (config.train.images == "auto" and self.device.type == "cuda")
        pictures = [pictures_of(staves) if mapped else None for staves in (train, validation)]
        self.data = StaffDataset(train, words, pictures=pictures[0])
        chosen = validation_choice(len(validation), config.train.validation_staves)
        self.validation = StaffDataset(validation, words, chosen, pictures[1])
        for data in (self.data, self.validation):
            check_lengths(data, config.model.max_length)
        self.order = EpochOrder(
            MixPlan(Stock.of(train), config.train.mix, config.train.seed),
            config.train.staves_per_epoch,
            config.train.batch_size,
            config.train.accumulation,
        )
        self.compiled = config.train.compile and pays(self.device)
        self.notes = [note] if config.train.compile and (note := obstacle(self.device)) else []
        self.loader = self._loader()

        # model
        self.model = TrOMR(config.model).to(self.device)
        if parallel.world > 1:
            with_whole_batch_norms(self.model)  # before anything is compiled
        self.loss = TrOMRLoss(config.loss, words).to(self.device)
        self.optimizer = adamw(self.model, config.optimizer)
        self.dropout = DropoutSchedule(self.model, config.train.dropout)
        self.precision = supported_precision(self.device, config.train.precision)
        self.scaler = grad_scaler(self.device, self.precision)
        choose_kernels(self.model, self.device, self.precision)
        if self.compiled:
            compile_regions(self.model, self.loss)
        self.forward: Callable[[Batch], Any] = self.model
        self.objective: Callable[[Any, Batch], Losses] = self.loss
        if parallel.world > 1:
            self._share_batches()

        # progress
        self.energy = energy_meter(self.device)
        self.epoch = 0
        self.first_loss: float | None = None
        self.random_states: list[RandomState] = []  # after the last epoch, of all ranks; none of a training alone

    def fit(self, on_epoch: Callable[[EpochRecord], None] | None = None) -> list[EpochRecord]:
        """Train until `config.train.epochs` are done, counting those of a checkpoint that was restored.

        Args:
            on_epoch: called by the first of several processes alone, while the others wait.

        Raises:
            DivergedError: the loss is not finite, or has grown to a multiple of the untrained model's.
            StoppedError: in the other processes, if `on_epoch` raised.
        """
        records = []
        while self.epoch < self.config.train.epochs:
            records.append(self._run_epoch())
            if self.parallel.world > 1:
                self.random_states = self.parallel.gather(random_state(self.device))
            with self.parallel.first_alone() as first:
                if on_epoch is not None and first:
                    on_epoch(records[-1])
        return records

    def evaluate(self) -> Evaluation:
        """The model as it is, on the validation staves."""
        train = self.config.train
        with uncompiled() if self.compiled else nullcontext():
            return evaluate(
                self.model,
                self.loss,
                self.validation,
                batch_size=max(64, train.batch_size),
                precision=self.precision,
                scored_in=vocabulary(train.scored_in or self.config.model.vocabulary),
                parallel=self.parallel,
            )

    def _run_epoch(self) -> EpochRecord:
        started = time.perf_counter()
        self.energy.lap()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.model.train()
        self.order.epoch = self.epoch
        total = torch.zeros(len(LOSS_PARTS), device=self.device)
        batches = _Stopwatch(self.loader)
        for index, batch in enumerate(batches):
            total += self._learn(batch, self.epoch * len(self.order) + index)
            if self.first_loss is None:
                self.first_loss = float(self.parallel.mean(total)[0])
            if (index + 1) % STEPS_BETWEEN_CHECKS == 0:
                self._check_finite(self.parallel.mean(total), index + 1)
                self.energy.read()
        total = self.parallel.mean(total)
        self._check_finite(total, len(self.order))
        losses = dict(zip(LOSS_PARTS, (total / len(self.order)).tolist(), strict=True))
        trained = time.perf_counter() - started
        self._check_growth(losses["total"])
        evaluation = self.evaluate()
        if not math.isfinite(evaluation.losses["total"]):  # the last step alone may have spoilt the weights
            raise DivergedError(f"the validation loss after epoch {self.epoch + 1} is not finite")
        self.epoch += 1
        seconds = time.perf_counter() - started
        per_epoch = len(self.order) * self.config.train.batch_size
        data_seconds, memory, energy = self._of_all(batches.seconds)
        return EpochRecord(
            epoch=self.epoch,
            samples_seen=self.epoch * per_epoch,
            losses=losses,
            evaluation=evaluation,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            samples_per_second=per_epoch / trained,
            seconds=seconds,
            data_seconds=data_seconds,
            gpu_seconds=seconds * self.parallel.world if self.device.type == "cuda" else 0.0,
            peak_memory_bytes=memory,
            energy_joules=energy,
        )

    def _learn(self, batch: Batch, index: int) -> Tensor:
        """Add a batch's gradient, and step once enough of them are added up; the loss's parts on the device."""
        accumulated = self.config.train.accumulation
        step, place = divmod(index, accumulated)
        self.dropout.set(step / self.steps)
        batch = batch.to(str(self.device)).photographed()
        last = place == accumulated - 1
        with self.parallel.accumulating(self.forward, last):
            with autocast(self.device, self.precision):
                losses: Losses = self.objective(self.forward(batch), batch)
            self.scaler.scale(losses.total / accumulated).backward()  # type: ignore[no-untyped-call]
        if last:
            self._step(step)
        return losses.detached()

    def _step(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, step, self.steps)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def steps(self) -> int:
        """The optimiser's steps of a whole training."""
        return self.config.train.epochs * len(self.order) // self.config.train.accumulation

    def _check_finite(self, total: Tensor, steps: int) -> None:
        if not bool(torch.isfinite(total[0])):
            raise DivergedError(
                f"the loss is no longer finite within {steps} steps of epoch {self.epoch + 1}; "
                f"a smaller optimizer.learning_rate than {self.config.optimizer.learning_rate:g} may help"
            )

    def _check_growth(self, mean_loss: float) -> None:
        if self.first_loss is not None and mean_loss > DIVERGENCE_FACTOR * self.first_loss:
            raise DivergedError(
                f"epoch {self.epoch + 1} has mean loss {mean_loss:.3g}, the untrained model had "
                f"{self.first_loss:.3g}; a smaller optimizer.learning_rate than "
                f"{self.config.optimizer.learning_rate:g} may help"
            )

    def _loader(self) -> DataLoader[Any]:
        train = self.config.train
        cv2.setNumThreads(1)  # the workers are forked: in OpenCV's pool of threads, which they would inherit, nobody is
        return DataLoader(
            TrainingStaves(self.data, train.mix),
            batch_sampler=self.order if self.parallel.world == 1 else ShareOfOrder(self.order, self.parallel),
            collate_fn=_Collate(PADDED_TO if self.compiled else 1, self.config.model.max_length + 1),
            num_workers=train.workers,
            persistent_workers=train.workers > 0,
            generator=torch.Generator().manual_seed(train.seed),  # else it draws from dropout's, once a start
            pin_memory=self.device.type == "cuda",
        )

    def _share_batches(self) -> None:
        """Make the model and its loss those of one rank of several."""
        self.forward = self.parallel.wrap(self.model)
        self.objective = WholeLoss(self.loss, self.parallel)
        if self.parallel.rank > 0:  # the first draws as a training alone, the others differently
            torch.manual_seed(seed_from(self.config.train.seed, f"dropout of rank {self.parallel.rank}"))

    def _of_all(self, data_seconds: float) -> tuple[float, int, float | None]:
        """The longest wait for data, the largest memory, and the joules: all GPUs', or those of one CPU package."""
        own = (data_seconds, self._peak_memory(), self.energy.lap())
        waits, memories, joules = zip(*self.parallel.gather(own), strict=True)
        counted = [taken for taken in joules if taken is not None]
        energy = (sum(counted) if self.device.type == "cuda" else counted[0]) if counted else None
        return max(waits), max(memories), energy

    def _peak_memory(self) -> int:
        """Bytes: allocated on the GPU in this epoch, or on a CPU the process's largest size so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True)
class _Collate:
    """`collate` with its lengths, as an object that loader processes can receive."""

    multiple: int
    at_most: int

    def __call__(self, samples: Any) -> Batch:
        return collate(samples, self.multiple, self.at_most)


class _Stopwatch:
    """Iterates batches and adds up the seconds spent waiting for them."""

    def __init__(self, batches: DataLoader[Any]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self.batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
