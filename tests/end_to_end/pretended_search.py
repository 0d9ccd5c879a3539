"""`python -m search.run` as it is, but for the training: a search of seconds, for faults that are inflicted on it.

Real are the command line, Ray, Tune, Optuna, the journal, the agenda, the keeper, and what `search.engine.trial` does
with whatever a training raises. A pretended training carries a chain of hashes through its checkpoints, one link an
epoch, and its SER follows from the chain. So a trial that went on from the wrong checkpoint, or trained an epoch too
few or too many, is seen in every number after that.

Torch is never imported here, so a session starts in seconds.
"""

from __future__ import annotations

import dataclasses
import errno
import faulthandler
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.command_line import guarded
from datasets.errors import DivergedError
from omr_model.layout import DESCRIPTION, RESUME, WEIGHTS
from results import read_back
from results.journal import Journal
from search import run as command
from search import study
from search.engine.cluster import ENVIRONMENT
from search.engine.trial import TrialJob
from tests.studies import metrics, samples, unloadable

for variable, value in ENVIRONMENT.items():  # Ray reads it when it is imported, here before the search would
    os.environ.setdefault(variable, value)

from search.engine import keys, trial, tuning  # noqa: E402
from search.engine.stored_checkpoints import checkpoints_at  # noqa: E402

DROPOUT = "model.decoder.dropout"
DAY = 86400.0


class OutOfMemoryError(RuntimeError):
    """Of the name and the family of torch's own."""


RAISED: dict[str, Callable[[], Exception]] = {
    "exception": lambda: RuntimeError("the graphics card has melted"),
    "CUDA out of memory": lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "MemoryError": lambda: MemoryError(),
    "diverged": lambda: DivergedError("the loss is nan in epoch 3"),
    "no space in a trial": lambda: OSError(errno.ENOSPC, "No space left on device"),
}


@dataclass(frozen=True)
class Pretence:
    """How a search pretends.

    Attributes:
        trained: the file to which every epoch is written when its training begins: number, epoch, process.
        seconds: of an epoch.
        held: a folder; a trial waits in an epoch as long as the file `hold-TRIAL-EPOCH` is in it.
        slow: a trial, an epoch and its seconds, the first time that it is trained.
        raises: a trial, an epoch, and what it raises (of `RAISED`); `once`: only the first time.
        full_after: events of this session, after which the disk with the journal is full.
        clock_jumps: the driver's clock goes a day forward after three seconds, and two back after three more.
    """

    trained: str
    seconds: float = 0.08
    held: str | None = None
    slow: tuple[int, int, float] | None = None
    raises: tuple[int, int, str] | None = None
    once: bool = False
    full_after: int | None = None
    clock_jumps: bool = False


def drive(words: Sequence[str], pretence: Pretence, said: str) -> None:
    """Be the process of `python -m search.run WORDS`, with its words in the file `said`; never returns."""
    os.setpgrp()  # as a shell begins a command
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
    faulthandler.enable(sys.stderr)
    trainable = functools.partial(pretended_trial, pretence=pretence)
    tuning.run_trials = functools.partial(tuning.run_trials, trainable=trainable)
    study.estimate = lambda _: None  # it builds models, with torch
    read_back._load = unloadable
    if pretence.full_after is not None:
        _fill_disk(pretence.full_after)
    if pretence.clock_jumps:
        _make_clock_jump()
    guarded(lambda: command.main(list(words)))


def pretended_trial(config: Mapping[str, Any], job: TrialJob, pretence: Pretence) -> None:
    """`search.engine.trial.train_trial` around a training that is none."""
    trial._train = functools.partial(_train, pretence=pretence)
    trial.train_trial(config, job)


def _train(config: Mapping[str, Any], job: TrialJob, pretence: Pretence) -> None:
    number, settings, seed = config[keys.NUMBER], config[keys.SETTINGS], config[keys.SEED]
    stored = None if job.study is None else checkpoints_at(job.study, config, job.scratch)
    reached, chain, notes = _restored(stored or trial._checkpoints(config))
    for epoch in range(reached + 1, job.base.train.epochs + 1):
        first_time = _write_down(Path(pretence.trained), number, epoch)
        while pretence.held is not None and Path(pretence.held, f"hold-{number}-{epoch}").exists():
            time.sleep(0.02)
        slow = pretence.slow is not None and pretence.slow[:2] == (number, epoch) and first_time
        time.sleep(pretence.slow[2] if slow and pretence.slow else pretence.seconds)
        if pretence.raises is not None and pretence.raises[:2] == (number, epoch) and (first_time or not pretence.once):
            raise RAISED[pretence.raises[2]]()
        chain = _next(chain, settings, seed, epoch)
        folder = Path(tempfile.mkdtemp(prefix="omr-trial-"))
        try:
            ser, link = _write_checkpoint(folder, epoch, chain, job, settings)
            result = {keys.STEP: epoch, keys.METRIC: ser, keys.METRICS: metrics(epoch, ser) | {"link": link}}
            if notes:
                result[keys.NOTE] = "; ".join(notes)
                notes.clear()
            trial._tell(result, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _restored(folders: Sequence[Path]) -> tuple[int, str, list[str]]:
    """Epoch and chain of the newest checkpoint that is sound, as `omr_model.checkpoint.restore_newest` finds it."""
    notes = []
    for folder in folders:
        try:
            digests = json.loads((folder / DESCRIPTION).read_text())["digests"]
            if damaged := [name for name in (WEIGHTS, RESUME) if _digest(folder / name) != digests[name]]:
                raise ValueError(f"{folder / damaged[0]} is damaged: it is not what was written")
            state = json.loads((folder / RESUME).read_text())
        except (OSError, ValueError, KeyError) as error:
            notes.append(str(error))
        else:
            return state["epoch"], state["chain"], notes
    return 0, "", notes


def _write_checkpoint(
    folder: Path, epoch: int, chain: str, job: TrialJob, settings: Mapping[str, Any]
) -> tuple[float, float]:
    """What a training would write; its SER, and the latest link of its chain as a number."""
    dice = _dice(chain)
    table = samples(epoch, _curve(settings, epoch), seed=dice)
    ser = pc.sum(table["distance"]).as_py() / pc.sum(table["reference_length"]).as_py()
    pq.write_table(table, folder / "samples.parquet")
    (folder / WEIGHTS).write_bytes(bytes.fromhex(chain) * 16)
    (folder / RESUME).write_text(json.dumps({"epoch": epoch, "chain": chain}))
    description = {
        "format": 1,
        "epoch": epoch,
        "ser": ser,
        "config": dataclasses.asdict(job.base),
        "digests": {name: _digest(folder / name) for name in (WEIGHTS, RESUME)},
    }
    (folder / DESCRIPTION).write_text(json.dumps(description))
    return ser, dice / 16**12


def _curve(settings: Mapping[str, Any], epoch: int) -> float:
    """The share of symbols that is missed: the less, the longer it was trained and the nearer the dropout is to 0.2."""
    end = 0.15 + abs(settings.get(DROPOUT, 0.4) - 0.2)
    return end + (0.95 - end) * math.exp(-epoch / 2)


def _write_down(trained: Path, number: int, epoch: int) -> bool:
    """Write that an epoch's training begins; whether it does for the first time."""
    word = f"{number} {epoch} "
    first_time = not (trained.exists() and any(line.startswith(word) for line in trained.read_text().splitlines()))
    with trained.open("a") as file:
        file.write(f"{word}{os.getpid()}\n")
    return first_time


def link_of(settings: Mapping[str, Any], seed: int, epoch: int) -> float:
    """The number that a training reports after an epoch, if each of its epochs came after the one before."""
    chain = ""
    for one in range(1, epoch + 1):
        chain = _next(chain, settings, seed, one)
    return _dice(chain) / 16**12


def _next(chain: str, settings: Mapping[str, Any], seed: int, epoch: int) -> str:
    return hashlib.sha256(f"{chain} {json.dumps(settings, sort_keys=True)} {seed} {epoch}".encode()).hexdigest()


def _dice(chain: str) -> int:
    return int(chain[:12], 16)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fill_disk(events: int) -> None:
    """Have the journal find the disk full after so many events of this process."""
    append, written = Journal.append, 0

    def append_or_fail(self: Journal, event: Any) -> None:
        nonlocal written
        written += 1
        if written > events:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        append(self, event)

    Journal.append = append_or_fail  # type: ignore[method-assign]


def _make_clock_jump() -> None:
    real, began = time.time, time.monotonic()

    def jumping() -> float:
        return real() + DAY * (0, 1, -1)[min(2, int((time.monotonic() - began) / 3))]

    time.time = jumping
