"""How much quicker staves are evaluated than by the log's recipe: `python -m tests.benchmarks.evaluation_speed`.

An evaluation is the losses, teacher-forced, and greedy reading. Compared within one run, on the same model and staves:

    uncached, batch 16    the log's recipe: the picture is encoded for the losses and again for reading, and the whole
                          sequence computed anew for each symbol
    uncached, batch 1     the same, a staff at a time
    x-transformers cache  batches as large as ours; keys and values are kept, by x-transformers, of all staves until the
                          last has ended
    ours                  `omr_model.evaluation`'s way: encoded once, then `omr_model.step`

`whole` is an evaluation, `reading` what comes after the encoder.

    size=tiny     real staves, read by a model that was trained: the one in `checkpoint`, or the preset after `epochs`
    size=line     an untrained model that ends no staff, noise for pictures, and `symbols` in each of them
    size=paper    the same, at the paper's size

With `share=true` an evaluation's share of an epoch of the tiny preset is told, too: before, with x-transformers' cache,
and now.

On a CPU this process's own seconds are counted, and a machine that does something else besides matters less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from datasets.command_line import check_choice, check_range, main
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.vocabulary import BOS, EOS
from omr_model import checkpoint
from omr_model.config import LossConfig
from omr_model.data import StaffDataset, collate, validation_choice
from omr_model.decoding import encode, read_off_all, write, write_on
from omr_model.device import autocast, resolve_device, supported_precision
from omr_model.loss import TrOMRLoss
from omr_model.model import Batch, TrOMR
from omr_model.presets import PRESETS
from omr_model.reading import Reading
from omr_model.step import Step
from omr_model.trainer import Trainer
from tests.benchmarks.ratio import Ratio, paired
from tests.slow_decoding import write_with_decoder

REFERENCE_BATCH = 16
"""The log's."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpeedConfig:
    """What is measured.

    Attributes:
        size: tiny, line or paper.
        staves: how many are evaluated.
        symbols: of each staff, of sizes line and paper, with its end; a line of the engraved corpus has 30 or so.
        batch: staves a batch, of ours and of x-transformers' cache; what the trainer takes.
        rounds: of each comparison.
        alone: compare with a staff at a time, too, which takes long.
        precision: as `train.precision`.
        device: as `train.device`.
        checkpoint: of a model of size tiny.
        epochs: to train one where there is no checkpoint.
        corpora: where the corpus of size tiny is, or is prepared.
        share: also tell an evaluation's share of an epoch, which trains one.
    """

    size: str = "tiny"
    staves: int = 128
    symbols: int = 30
    batch: int = 64
    rounds: int = 7
    alone: bool = True
    precision: str = "mixed"
    device: str = "auto"
    checkpoint: str = ""
    epochs: int = 4
    corpora: str = PrepareConfig().corpora
    share: bool = False

    def __post_init__(self) -> None:
        check_choice("size", self.size, ("tiny", "line", "paper"))
        check_range("staves", self.staves, 1)
        check_range("symbols", self.symbols, 2, PRESETS[self.size].model.max_length - 1)
        check_range("batch", self.batch, 1)
        check_range("rounds", self.rounds, 1)


@dataclass(frozen=True)
class Task:
    """A model in evaluation mode, its loss, and one batch of everything that is to be evaluated."""

    model: TrOMR
    loss: TrOMRLoss
    staves: Batch
    precision: str

    @property
    def device(self) -> torch.device:
        return self.staves.image.device

    def parts(self, size: int) -> list[Batch]:
        """Batches; a batch is padded to the longest of all staves, which none of the ways gains by."""
        fields = {name: part.split(size) for name, part in vars(self.staves).items() if part is not None}
        return [Batch(**dict(zip(fields, each, strict=True))) for each in zip(*fields.values(), strict=True)]


# The ways ---------------------------------------------------------------------------------------------------


def anew(task: Task, size: int) -> list[Reading]:
    """The log's recipe, in batches of this size."""
    read = []
    for batch in task.parts(size):
        task.loss(task.model(batch), batch)
        read += read_off_all(task.model, *write_with_decoder(task.model, task.model.encoder(batch.image), cached=False))
    return read


def cached(task: Task, size: int) -> list[Reading]:
    """With x-transformers' own cache."""
    read = []
    for batch in task.parts(size):
        task.loss(task.model(batch), batch)
        read += read_off_all(task.model, *write_with_decoder(task.model, task.model.encoder(batch.image), cached=True))
    return read


def ours(task: Task, size: int) -> list[Reading]:
    """As `omr_model.evaluation.evaluate` does, but for the scores."""
    step, read = Step(task.model.decoder), []
    for batch in task.parts(size):
        picture_BPD = encode(task.model, batch.image)
        task.loss(task.model.score(batch, picture_BPD), batch)
        read += read_off_all(task.model, *write_on(step, picture_BPD, task.model.config.max_length))
    return read


def reading_only(task: Task, size: int, way: Callable[[Tensor], object]) -> Callable[[], object]:
    """What comes after the encoder, in batches of this size."""
    pictures = [encode(task.model, batch.image) for batch in task.parts(size)]
    return lambda: [way(picture_BPD) for picture_BPD in pictures]


# The tasks --------------------------------------------------------------------------------------------------


def trained(config: EvaluationSpeedConfig) -> tuple[Task, Trainer | None]:
    """Real staves, and a model that ends them where they end, more or less."""
    corpus = prepare(PrepareConfig(data="engraved", staff="short", corpora=config.corpora))
    preset = PRESETS["tiny"]
    device = resolve_device(config.device, "device")
    plan = replace(preset, train=replace(preset.train, epochs=config.epochs, device=str(device)))
    trainer = Trainer(plan, corpus) if config.share or not config.checkpoint else None
    if config.checkpoint:
        model = checkpoint.load_model(Path(config.checkpoint), device)
    else:
        assert trainer is not None
        trainer.fit()
        model = trainer.model
    validation = corpus.staves("validation")
    chosen = validation_choice(len(validation), config.staves)
    data = StaffDataset(validation, model.vocabulary, chosen)
    batch = collate([data[position] for position in range(len(data))]).to(str(device))
    return Task(model.eval(), _loss(model, device), batch, supported_precision(device, config.precision)), trainer


def untrained(config: EvaluationSpeedConfig) -> Task:
    """Noise for pictures, in each of which `symbols` are read: the last one of all is the longest a model can write."""
    device = resolve_device(config.device, "device")
    torch.manual_seed(0)
    model = TrOMR(PRESETS[config.size].model).to(device).eval()
    model.config = replace(model.config, max_length=config.symbols + 1)
    with torch.no_grad():
        model.decoder.heads["rhythm"].bias[: EOS + 1] = -1e9
    shape = (config.staves, 1, model.config.height, model.config.width)
    ids_BT = torch.full((config.staves, config.symbols + 1), EOS + 1, dtype=torch.int64, device=device)
    ids_BT[:, 0] = BOS
    ones_BT = torch.ones_like(ids_BT)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
    batch = Batch(images, rhythm=ids_BT, pitch=ones_BT, lift=ones_BT, note=ones_BT)
    return Task(model, _loss(model, device), batch, supported_precision(device, config.precision))


def _loss(model: TrOMR, device: torch.device) -> TrOMRLoss:
    return TrOMRLoss(LossConfig(), model.vocabulary).to(device)


# What is told -----------------------------------------------------------------------------------------------


def compare(config: EvaluationSpeedConfig) -> None:
    """Print how many times as quick ours is as each of the other ways."""
    task, trainer = trained(config) if config.size == "tiny" else (untrained(config), None)
    with torch.inference_mode(), autocast(task.device, task.precision):
        print(_told(config, task), flush=True)
        for ratio in _ratios(config, task):
            print(ratio, flush=True)
    if config.share and trainer is not None:
        print(_share(config, task, trainer))


def _ratios(config: EvaluationSpeedConfig, task: Task) -> Sequence[Ratio]:
    size, encoder, longest = config.batch, task.model.encoder, task.model.config.max_length

    def against(name: str, reference: Callable[[], object], way: Callable[[], object], rounds: int) -> Ratio:
        clock = time.process_time if task.device.type == "cpu" else time.perf_counter
        return paired(name, _to_the_end(task, reference), _to_the_end(task, way), rounds=rounds, clock=clock)

    def slowly(cached: bool) -> Callable[[Tensor], object]:
        return lambda picture_BPD: write_with_decoder(task.model, picture_BPD, cached=cached)

    whole, step = (lambda: ours(task, size)), Step(task.model.decoder)
    reading = reading_only(task, size, lambda picture_BPD: write_on(step, picture_BPD, longest))
    rounds, few = config.rounds, min(3, config.rounds)
    ratios = [
        against("whole: uncached, batch 16", lambda: anew(task, REFERENCE_BATCH), whole, rounds),
        against("whole: x-transformers cache", lambda: cached(task, size), whole, rounds),
        against("reading: uncached, batch 16", reading_only(task, REFERENCE_BATCH, slowly(False)), reading, rounds),
        against("reading: x-transformers cache", reading_only(task, size, slowly(True)), reading, rounds),
    ]
    if config.alone:
        ratios.append(against("whole: uncached, batch 1", lambda: anew(task, 1), whole, few))
        ratios.append(against("reading: uncached, batch 1", reading_only(task, 1, slowly(False)), reading, few))
    pictures = [batch.image for batch in task.parts(size)]
    ratios.append(
        against("encoder alone: whole", whole, lambda: [encode(task.model, image) for image in pictures], rounds)
    )
    ratios.append(
        against(
            "encoder: together or a few at a time",
            lambda: [encoder(image) for image in pictures],
            lambda: [encode(task.model, image) for image in pictures],
            rounds,
        )
    )
    return ratios


def _to_the_end(task: Task, way: Callable[[], object]) -> Callable[[], object]:
    """A GPU works on after its caller has gone on."""

    def run() -> object:
        found = way()
        if task.device.type == "cuda":
            torch.cuda.synchronize()
        return found

    return run


def _told(config: EvaluationSpeedConfig, task: Task) -> str:
    ids_BTS, _ = write(task.model, task.staves.image[:64])
    steps = [row.index(EOS) + 1 if EOS in row else len(row) for row in ids_BTS[..., 0].tolist()]
    pairs = zip(ours(task, config.batch), anew(task, REFERENCE_BATCH), strict=True)
    others = sum(one.symbols != other.symbols for one, other in pairs)  # in bf16 a tie falls as batches round it
    device = torch.cuda.get_device_name() if task.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return (
        f"{config.size}, {config.staves} staves of {statistics.mean(steps):.1f} symbols with their end "
        f"({min(steps)} to {max(steps)}), {task.precision}, {device}; "
        f"{others} of them read otherwise than by the recipe"
    )


def _share(config: EvaluationSpeedConfig, task: Task, trainer: Trainer) -> str:
    """Of an epoch of the preset: its evaluation's seconds, of training and evaluation together."""
    record = trainer._run_epoch()
    evaluation = record.evaluation.seconds
    training = record.seconds - evaluation
    with torch.inference_mode(), autocast(task.device, task.precision):
        ratio = paired("cache", lambda: cached(task, config.batch), lambda: ours(task, config.batch), rounds=3)
    before = evaluation * ratio.median
    return (
        f"an epoch of {trainer.config.train.staves_per_epoch} staves with {len(trainer.validation)} to validate: its "
        f"evaluation is {evaluation / (training + evaluation):.1%} of it, and with x-transformers' cache would be "
        f"{before / (training + before):.1%}"
    )


if __name__ == "__main__":
    main(compare, EvaluationSpeedConfig())
