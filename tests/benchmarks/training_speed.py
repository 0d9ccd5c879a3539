"""A training step of ours against the training log's: `python -m tests.benchmarks.training_speed preset=tiny`.

Both train the same model on the same staves in turns, a segment of steps each, within one run; what counts is the
ratio. The reference is `tests.benchmarks.log_recipe`. Without a GPU it has fp32 or bf16 autocast (`reference=`): quote
the smaller of the two ratios. `profile=true` tells where a step of ours goes instead, and what share of the device's
peak it uses: the arithmetic of a step, counted by torch, over its time, against the quickest product of large matrices
in the same precision that is measured here and now.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from datasets.command_line import check_choice, check_range, main
from datasets.shards import PreparedCorpus
from omr_model.config import MixConfig, TrainingConfig
from omr_model.device import autocast
from omr_model.model import Batch
from omr_model.presets import FAST, PRESETS
from omr_model.trainer import Trainer
from tests.benchmarks.log_recipe import BATCH, WORKERS, LogRecipe
from tests.benchmarks.ratio import paired

SIDE = 2048  # of the matrices whose product gives the peak
PARTS = (
    "waiting for data",
    "distortion",
    "backbone",
    "rest of the encoder",
    "decoder",
    "loss",
    "backward",
    "optimiser",
)
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What is measured.

    Attributes:
        corpus: folder of a prepared corpus of the preset's size.
        preset: tiny, paper, ...
        staves: of a segment.
        rounds: segments of each.
        reference: its precision without CUDA, fp32 or bf16.
        reference_workers, workers: loader processes; ours are -1 for the preset's.
        distortion: strength.
        distort_on, images: of ours.
        threads: of torch; 0 leaves it to torch.
        clock: `wall`, or `process`: this process's own seconds, which a busy machine hardly moves; loader processes are
            then left out, so that it counts against ours where that loads in the training process.
        profile: where the time of ours goes instead.
    """

    corpus: str = "datasets/corpora/engraved-short"
    preset: str = "tiny"
    staves: int = 320
    rounds: int = 7
    reference: str = "bf16"
    reference_workers: int = WORKERS
    workers: int = -1
    distortion: float = 0.0
    distort_on: str = "cpu"
    images: str = "auto"
    threads: int = 0
    clock: str = "wall"
    profile: bool = False

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, tuple(PRESETS))
        check_choice("reference", self.reference, ("fp32", "bf16"))
        check_choice("clock", self.clock, tuple(CLOCKS))
        check_range("staves", self.staves, BATCH)
        check_range("rounds", self.rounds, 1)


def training_of(config: SpeedConfig) -> TrainingConfig:
    """The preset, as `fast=true` has it, with the log's batch size."""
    preset = PRESETS[config.preset]
    mix = MixConfig(distortion=config.distortion, distort_on=config.distort_on)
    train = replace(
        preset.train,
        batch_size=BATCH,
        mix=mix,
        images=config.images,
        workers=preset.train.workers if config.workers < 0 else config.workers,
        precision=FAST["train.precision"],
        compile=FAST["train.compile"],
        staves_per_epoch=None,
        epochs=1000,
        validation_staves=1,
    )
    return replace(preset, train=train)


class Ours:
    """The trainer's own steps, a segment at a time."""

    def __init__(self, training: TrainingConfig, corpus: PreparedCorpus) -> None:
        self.trainer = Trainer(training, corpus)
        self.trainer.model.train()
        self.batches = self._endless()
        self.steps = itertools.count()

    def train(self, steps: int) -> None:
        """So many steps; waits for a GPU at the end."""
        for _ in range(steps):
            total = self.trainer._learn(next(self.batches), next(self.steps))
        float(total[0])

    def _endless(self) -> Iterator[Batch]:
        for self.trainer.order.epoch in itertools.count():
            yield from self.trainer.loader


def compare(config: SpeedConfig) -> None:
    """Train in turns, or profile ours."""
    if config.threads:
        torch.set_num_threads(config.threads)
    corpus = PreparedCorpus.open(config.corpus)
    training = training_of(config)
    ours, steps = Ours(training, corpus), config.staves // BATCH
    print(f"{ours.trainer.device}, {torch.get_num_threads()} threads, ours in {ours.trainer.precision}", flush=True)
    if config.profile:
        print(profiled(ours, steps))
        return
    log = LogRecipe.start(training, corpus, config.reference, config.reference_workers)
    precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[log.dtype]
    name = f"{steps * BATCH} staves of {config.preset}, against the log's recipe in {precision}"
    measured = paired(
        f"{name}, {config.clock} clock",
        lambda: log.train(steps),
        lambda: ours.train(steps),
        rounds=config.rounds,
        clock=CLOCKS[config.clock],
    )
    print(measured)


def profiled(ours: Ours, steps: int) -> str:
    """Seconds of each part of a step as shares, and the share of the peak."""
    trainer, device = ours.trainer, ours.trainer.device
    ours.train(3)
    parts = dict.fromkeys(PARTS, 0.0)
    timer = _Timer(device, parts)
    for _ in range(steps):
        batch = timer("waiting for data", lambda: next(ours.batches))
        batch = timer("distortion", lambda b=batch: b.to(str(device)).photographed())
        with autocast(device, trainer.precision):
            backbone = trainer.model.encoder.transformer.patch_embed.get_submodule("backbone")
            began = parts["backbone"]
            handles = [
                backbone.register_forward_pre_hook(lambda *_: timer.begin()),
                backbone.register_forward_hook(lambda *_: timer.end("backbone")),
            ]
            picture = timer("rest of the encoder", lambda b=batch: trainer.model.encoder(b.image))
            for handle in handles:
                handle.remove()
            parts["rest of the encoder"] -= parts["backbone"] - began
            logits = timer("decoder", lambda b=batch, p=picture: trainer.model.score(b, p))
            losses = timer("loss", lambda one=logits, b=batch: trainer.loss(one, b))
        timer("backward", lambda one=losses: trainer.scaler.scale(one.total).backward())
        timer("optimiser", lambda: trainer._step(0))
    whole = sum(parts.values())
    rows = [f"| {name} | {seconds / whole:.1%} |" for name, seconds in parts.items()]
    flops, peak = flops_of(ours, batch), peak_of(device, trainer.precision)
    used = flops * steps / whole / peak
    return "\n".join(
        [
            "| part of a step | share |\n|---|---|",
            *rows,
            f"{flops / BATCH / 1e9:.2f} GFLOP a staff (longest sequence of the last batch {batch.rhythm.shape[1]}); "
            f"{used:.1%} of the peak of a product of {SIDE} x {SIDE} matrices in {trainer.precision}, "
            f"{peak / 1e9:.0f} GFLOP a second",
        ]
    )


class _Timer:
    """Adds up seconds by name, waiting for the device before and after."""

    def __init__(self, device: torch.device, parts: dict[str, float]) -> None:
        self.device = device
        self.parts = parts
        self.began = 0.0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def begin(self) -> None:
        self.began = self.now()

    def end(self, name: str) -> None:
        self.parts[name] += self.now() - self.began

    def __call__(self, name: str, do: Callable[[], Batch]) -> Batch:
        began = self.now()
        done = do()
        self.parts[name] += self.now() - began
        return done


def flops_of(ours: Ours, batch: Batch) -> float:
    """Forward and backward of a batch, by torch's counter, which knows products and convolutions."""
    trainer = ours.trainer
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        with autocast(trainer.device, trainer.precision):
            losses = trainer.loss(trainer.model(batch), batch)
        losses.total.backward()
    trainer.optimizer.zero_grad()
    return float(counter.get_total_flops())


def peak_of(device: torch.device, precision: str) -> float:
    """FLOP a second of the quickest of some products of square matrices."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    side = SIDE if device.type == "cpu" else 4 * SIDE
    one, other = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    times: dict[str, float] = {}
    for number in range(6):
        name = str(number)
        times[name] = 0.0
        _Timer(device, times)(name, lambda: one @ other)  # type: ignore[arg-type,return-value]
    return float(2 * side**3 / min(times.values()))


if __name__ == "__main__":
    main(compare, SpeedConfig())
