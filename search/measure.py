"""How fast settings train on this machine: the real trainer for a moment, in processes side by side as trials are.

Neither Ray nor a study is needed. The learning rate is zero: a step takes as long, and no setting diverges.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import ConfigError, OmrError
from datasets.shards import PreparedCorpus
from omr_model.config import TrainingConfig, replace_fields
from omr_model.layout import RESUME
from search.cost import Measurement
from search.resources import let_memory_grow, trials_on_a_gpu

if TYPE_CHECKING:  # torch takes seconds, and a command line that only helps or refuses does not wait for it
    from multiprocessing.synchronize import Barrier

    import torch

    from omr_model.trainer import EpochRecord, Trainer

TRAINING_SECONDS = 4.0  # what a measurement aims at; the first two epochs come on top
SCORING_SECONDS = 12.0  # at the most: many staves together take less than so many times a few
MOST_BATCHES, SCORED_TOGETHER, FEWEST_SCORED = 100, 64, 4  # the trainer's evaluation reads 64 staves at a time
LONGEST_WAIT = 300.0  # for the others, to whom a first step may take as long as compiling does
CONTEXT_BYTES = 700 * 2**20  # CUDA's own part of a process on a GPU and that of its libraries, where nobody tells it
SLOW_SECONDS = 20.0  # an epoch of one step that takes longer is a measurement already


@dataclass(frozen=True)
class Job:
    """A setting to be measured.

    Attributes:
        label: for the result.
        training: as a trial runs it.
        corpus: folder of the prepared corpus.
        scale: how many times as many staves the search's corpus has.
        threads: that torch may use; None leaves it to torch.
        device: the GPU to be seen, as CUDA_VISIBLE_DEVICES says it; None leaves it as it is.
    """

    label: str
    training: TrainingConfig
    corpus: Path
    scale: float
    threads: int | None
    device: str | None


def gpu_of(slot: int, gpus: float, visible: Sequence[str]) -> str | None:
    """The GPUs that the trial in a slot sees, as Ray gives them: it fills one before it begins the next.

    Args:
        slot: counted from 0.
        gpus: of one trial.
        visible: the machine's, as CUDA_VISIBLE_DEVICES names them.
    """
    if not gpus or not visible:
        return None
    many = max(1, int(gpus))
    first = slot // trials_on_a_gpu(gpus) * many
    return ",".join(visible[index % len(visible)] for index in range(first, first + many))


def visible_gpus(count: int) -> list[str]:
    """The machine's GPUs, of which there are so many, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [one.strip() for one in named.split(",") if one.strip()] or [str(index) for index in range(count)]


def measure(jobs: Sequence[Job]) -> list[Measurement]:
    """Measure some settings at the same time, each in a process of its own; none begins before all are ready.

    Raises:
        OmrError: what a trial of the setting would say too; or the process died, or a GPU has not the memory.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    receivers: dict[Connection, int] = {}
    found: dict[int, Measurement] = {}
    together = context.Barrier(len(jobs), timeout=LONGEST_WAIT)
    try:
        for number, job in enumerate(jobs):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(job, time.monotonic(), sender, together))
            process.start()
            sender.close()  # the child's end alone is left, so that its death ends the waiting
            processes.append(process)
            receivers[receiver] = number
        while receivers:
            for ready in wait(list(receivers)):
                number = receivers.pop(ready)  # type: ignore[call-overload]
                found[number] = _received(ready, jobs[number], processes[number])  # type: ignore[arg-type]
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [found[number] for number in range(len(jobs))]


def _received(receiver: Connection, job: Job, process: SpawnProcess) -> Measurement:
    try:
        outcome = receiver.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"was killed (signal {-code}), as happens when memory runs out" if code < 0 else f"ended with {code}"
        raise OmrError(f"the process that measured a setting ({job.label}) {how}") from None
    if isinstance(outcome, OmrError):
        raise type(outcome)(f"a setting that was to be measured ({job.label}): {outcome}")
    assert isinstance(outcome, Measurement)
    return outcome


def _child(job: Job, launched: float, sender: Connection, together: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    if job.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.device  # before torch looks
    let_memory_grow()
    outcome: Measurement | OmrError
    try:
        outcome = _measured(job, launched, together)
    except OmrError as error:
        outcome = error
        together.abort()  # nobody waits for one that does not come
    sender.send(outcome)


def _measured(job: Job, launched: float, together: Barrier) -> Measurement:
    import cv2
    import torch

    from omr_model.trainer import Trainer

    began = time.monotonic()
    if job.threads is not None:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
    train, corpus = job.training.train, PreparedCorpus.open(job.corpus)
    try:
        trainer = Trainer(replace_fields(job.training, {"train.epochs": 3, "optimizer.learning_rate": 0.0}), corpus)
        staves_per_epoch = len(trainer.order) * train.batch_size
        built = time.monotonic() - began
        first, last = _short_epochs(trainer, together)
    except torch.OutOfMemoryError:
        raise ConfigError("the GPU has not the memory for it; try a smaller model or train.batch_size") from None
    validation = round(job.scale * len(corpus.staves("validation")))
    to_score = min(validation, train.validation_staves or validation)
    written = _checkpoint(trainer, last)
    scored = len(last.evaluation.staves)
    return Measurement(
        label=job.label,
        staves_per_epoch=round(staves_per_epoch * (1 if train.staves_per_epoch else job.scale)),
        validation_staves=to_score,
        staves_per_second=last.samples_per_second,
        scored_per_second=scored / last.evaluation.seconds,
        start_seconds=built + (first.seconds if first is not last else 0.0),
        process_seconds=began - launched,
        checkpoint_seconds=written.seconds,
        memory_bytes=_held(trainer.device, max(first.peak_memory_bytes, last.peak_memory_bytes)),
        memory_limit_bytes=_memory(trainer.device),
        kept_bytes=written.weights_bytes + written.samples_bytes * to_score // scored,
        resume_bytes=written.resume_bytes,
    )


def _short_epochs(trainer: Trainer, together: Barrier | None = None) -> tuple[EpochRecord, EpochRecord]:
    """The record of a first epoch, and of one that is as long as the pace of a second one allows.

    The first two are a single step each: one has what a first step costs, such as compiling, the other has not.
    Where a step takes very long, they are enough. All that are measured at the same time begin the second epoch
    together, and the third; else one would be measured while another still compiles.
    """
    from omr_model.data import StaffDataset, validation_choice

    accumulation, validation = trainer.config.train.accumulation, trainer.validation
    records: list[EpochRecord] = []

    def shorten(batches: int, scored: int) -> None:
        trainer.order.batches = batches
        chosen = [validation.indices[place] for place in validation_choice(len(validation), scored)]
        trainer.validation = StaffDataset(validation.staves, validation.vocabulary, chosen, validation.pictures)

    def look(record: EpochRecord) -> None:
        records.append(record)
        steady = len(records) > 1 or not trainer.compiled
        if steady and record.seconds > SLOW_SECONDS:
            raise _EnoughError
        if together is not None and len(records) < 3:
            with suppress(threading.BrokenBarrierError):  # another one failed, or is done
                together.wait()
        if len(records) == 2:
            batch_seconds = trainer.config.train.batch_size / record.samples_per_second
            shorten(
                batches_for(batch_seconds, accumulation), scored_for(record.evaluation.seconds, trainer.device.type)
            )

    shorten(accumulation, FEWEST_SCORED)
    with suppress(_EnoughError):
        trainer.fit(look)
    if together is not None:
        together.abort()  # those that are slower wait for nobody
    return records[0], records[-1]


class _EnoughError(Exception):
    """The trainer has run for long enough."""


def batches_for(batch_seconds: float, accumulation: int) -> int:
    """Batches that take about `TRAINING_SECONDS`, in whole steps of the optimiser."""
    batches = min(MOST_BATCHES, int(TRAINING_SECONDS / batch_seconds))
    return max(1, batches // accumulation) * accumulation


def scored_for(few_seconds: float, device: str) -> int:
    """Validation staves that take `SCORING_SECONDS` at the most, if the fewest take `few_seconds`.

    A GPU reads as many as the trainer gives it at a time in little more than the time of one.
    """
    if device == "cuda":
        return SCORED_TOGETHER
    return max(FEWEST_SCORED, min(SCORED_TOGETHER, int(SCORING_SECONDS * FEWEST_SCORED / few_seconds)))


@dataclass(frozen=True)
class _Written:
    """A checkpoint's parts in bytes, and the seconds that writing it took."""

    seconds: float
    weights_bytes: int
    samples_bytes: int
    resume_bytes: int


def _checkpoint(trainer: Trainer, record: EpochRecord) -> _Written:
    """Write what a trial writes after an epoch, for its size."""
    from omr_model import checkpoint
    from results.samples import SAMPLES_FILE, write_samples

    with tempfile.TemporaryDirectory(prefix="omr-plan-") as name:
        folder, began = Path(name), time.monotonic()
        checkpoint.write(trainer, record, folder)
        write_samples(record.evaluation.staves, record.epoch, folder / SAMPLES_FILE)
        seconds = time.monotonic() - began
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    samples, resume = sizes.pop(SAMPLES_FILE), sizes.pop(RESUME)
    return _Written(seconds, sum(sizes.values()), samples, resume)


def _held(device: torch.device, peak: int) -> int:
    """Bytes that the process holds at most: of a GPU all that torch has reserved, and what CUDA itself takes beside."""
    import torch

    if device.type != "cuda":
        return peak
    counted = _of_process(device)
    beside = CONTEXT_BYTES if counted is None else max(0, counted - torch.cuda.memory_reserved(device))
    return torch.cuda.max_memory_reserved(device) + beside


def _of_process(device: torch.device) -> int | None:
    """Bytes of the GPU that the driver counts for this process; None where it does not, as in most containers."""
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        mine = (one for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid == os.getpid())
        return next((int(one.usedGpuMemory) for one in mine if one.usedGpuMemory), None)
    except Exception:  # no driver, no right to read: `CONTEXT_BYTES` does
        return None


def _memory(device: torch.device) -> int:
    """Bytes of the GPU, or of the machine."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
