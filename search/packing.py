"""`trial.gpus=auto`: how many trials train side by side on one GPU.

Measured, not guessed: the base alone and the largest setting of the space alone say what memory a trial needs; then
2, 3, 4, 6 and 8 trials of the base train at the same time, for as long as more of them get more done. What is chosen
fits into the GPU's memory by bytes, and is written into the journal with its session, so that a search that is resumed
on the same GPU does not measure again. Without Ray, and without torch in this process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import optuna

from datasets.command_line import typed
from datasets.errors import OmrError
from omr_model.config import TrainingConfig
from results.journal import SessionStarted, read
from results.study import EVENTS_FILE
from search.config import AUTO, SearchConfig
from search.cost import Measurement
from search.measure import Job, measure, visible_gpus
from search.memory_order import size_of
from search.resources import Machine, capacity, cores_here, on_its_device, share_of_a_gpu
from search.space import SearchSpace

COUNTS = (2, 3, 4, 6, 8)
PAYS = 1.05  # one more step is worth it where all trials together get at least so many times as much done
RESERVE = 0.08  # of a GPU's memory, for what a moment of training did not show, and for others
DRAWN = 64  # settings of the space, of which the largest one is measured

Meter: TypeAlias = Callable[[Sequence[TrainingConfig]], list[Measurement]]
"""Trains some settings side by side on one GPU for a moment.

Raises:
    OmrError: one of them cannot be trained, for want of memory, say.
"""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How trials share a GPU; written into the journal as it stands.

    Attributes:
        trials: side by side on one GPU.
        throughput: what they get done together, as a multiple of what one alone does.
        memory_bytes: that a trial needs at most, as far as that was seen, with CUDA's own part.
        gpu_bytes: that the GPU has.
        gpu: its name.
    """

    trials: int = 1
    throughput: float = 1.0
    memory_bytes: int = 0
    gpu_bytes: int = 0
    gpu: str = ""

    @property
    def share(self) -> float:
        """What each trial asks of a GPU."""
        return share_of_a_gpu(self.trials)

    def __str__(self) -> str:
        needs = f"{self.memory_bytes / 1e9:.2g} of {self.gpu_bytes / 1e9:.0f} GB"
        if self.trials == 1:
            return f"1 trial a GPU: more of them pay no more, or do not fit; {needs} ({self.gpu})"
        return (
            f"{self.trials} trials a GPU: {self.throughput:.2g} times the throughput of one; {needs} each ({self.gpu})"
        )


def fitting(memory_bytes: int, gpu_bytes: int) -> int:
    """How many trials of so many bytes a GPU holds, with a reserve left; 0 if none."""
    return math.floor((1 - RESERVE) * gpu_bytes / max(1, memory_bytes))


def choose(meter: Meter, base: TrainingConfig, largest: TrainingConfig, most: int, gpu: str = "") -> Packing:
    """Measure, and say how many trials share a GPU: at least one, never more than `most` or than fit.

    Args:
        base: the setting that is trained side by side.
        largest: the setting of the space that needs the most memory.
        most: trials on one GPU that cores and budget allow.

    Raises:
        OmrError: the base cannot be trained even alone.
    """
    alone = meter([base])[0]
    memory, limit = alone.memory_bytes, alone.memory_limit_bytes
    if largest != base:
        with suppress(OmrError):  # it will fail as a trial, too, and be told there
            memory = max(memory, meter([largest])[0].memory_bytes)
    pays = {1: 1.0}
    for count in COUNTS:
        if count > min(most, fitting(memory, limit)):
            break
        try:
            together = meter([base] * count)
        except OmrError:
            break
        memory = max([memory, *(one.memory_bytes for one in together)])
        throughput = sum(alone.epoch_seconds / one.epoch_seconds for one in together)
        if throughput < PAYS * max(pays.values()):
            break
        pays[count] = throughput
    trials = max(count for count in pays if count == 1 or count <= fitting(memory, limit))
    return Packing(trials=trials, throughput=pays[trials], memory_bytes=memory, gpu_bytes=limit, gpu=gpu)


def largest_of(space: SearchSpace, seed: int) -> TrainingConfig:
    """The setting that needs the most memory, of the base, the queued ones and some that are drawn."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    drawn = (space.draw(study.ask()) for _ in range(DRAWN))
    values = [*(values for values, _ in space.points), *drawn]
    return max([space.base, *(space.training(space.settings(one)) for one in values)], key=size_of)


def gpu_meter(config: SearchConfig, corpus: Path, cpus: int) -> Meter:
    """Measures on this machine's first GPU that it may see.

    Args:
        cpus: cores that all trials of a GPU share.
    """
    device = visible_gpus(1)[0]

    def meter(settings: Sequence[TrainingConfig]) -> list[Measurement]:
        share = config.trial.cpus or max(1, cpus // len(settings))
        return measure(
            [
                Job(
                    label=f"{len(settings)} side by side",
                    training=_as_measured(on_its_device(setting, share, 1.0)),
                    corpus=corpus,
                    scale=1.0,
                    threads=None,
                    device=device,
                )
                for setting in settings
            ]
        )

    return meter


def _as_measured(training: TrainingConfig) -> TrainingConfig:
    """On the GPU and nowhere else; which staves are drawn costs nothing, and a sample may lack some of them."""
    mix = replace(training.train.mix, weights={})
    return replace(training, train=replace(training.train, device="cuda", mix=mix))


def packed(
    config: SearchConfig,
    space: SearchSpace,
    corpus: Path,
    gpus: Sequence[str],
    say: Callable[[str], None],
    meter: Meter | None = None,
) -> tuple[SearchConfig, Packing | None]:
    """The search with a number in place of `trial.gpus=auto`, and what that comes from.

    Args:
        gpus: names of this machine's.
        say: tells the person.
        meter: another one than this machine's GPU.

    Raises:
        OmrError: the base cannot be trained even alone.
    """
    if config.trial.gpus != AUTO:
        return config, None
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if config.cluster.gpus == 0 or ((hidden or not gpus) and meter is None):
        say("trial.gpus=auto: no GPU here to measure on; a trial gets a whole one where there is one, else none")
        return _with(config, None), None
    gpu = gpus[0] if gpus else ""
    packing = recorded(config.folder(), gpu)
    if packing is None:
        say("measuring how many trials a GPU has room for")
        there = capacity(config.cluster, Machine(cores_here(), max(1, len(visible_gpus(len(gpus))))))
        cores = max(1, there.cpus // max(1, there.gpus))
        most = min(cores // (config.trial.cpus or 1), config.budget.trials or max(COUNTS))
        meter = meter or gpu_meter(config, corpus, cores)
        packing = choose(meter, space.base, largest_of(space, config.seed), max(1, most), gpu)
    say(str(packing))
    return _with(config, packing.share), packing


def recorded(folder: Path, gpu: str) -> Packing | None:
    """What an earlier session of the study has measured on such a GPU."""
    sessions = [event for event in read(folder / EVENTS_FILE) if isinstance(event, SessionStarted) and event.packing]
    found = [typed(Packing(), dict(session.packing)) for session in sessions if session.packing.get("gpu") == gpu]
    return found[-1] if found else None


def _with(config: SearchConfig, gpus: float | None) -> SearchConfig:
    return replace(config, trial=replace(config.trial, gpus=gpus))
