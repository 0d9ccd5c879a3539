"""What a machine has and what a trial gets of it. Without Ray, so that a plan says what a search would do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from search.config import ClusterConfig, SearchConfig


class Capacity(Protocol):
    """Cores and GPUs that trials may use in all."""

    @property
    def cpus(self) -> int: ...

    @property
    def gpus(self) -> int: ...


@dataclass(frozen=True)
class Machine:
    """Cores and GPUs, as a `Capacity`."""

    cpus: int
    gpus: int


MOST_BESIDE = 4  # measurements at the same time


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Where the trials of a search run.

    Attributes:
        machine: this one.
        allowed: what of it, or of a cluster, trials may use in all.
        cpus, gpus: of one trial.
        abreast: trials side by side.
    """

    machine: Machine
    allowed: Machine
    cpus: int
    gpus: float
    abreast: int

    @property
    def beside(self) -> int:
        """Measurements side by side."""
        return min(self.abreast, MOST_BESIDE)


def slots_of(config: SearchConfig, machine: Machine) -> Slots:
    """Where trials run, and how many of them at a time.

    Raises:
        ConfigError: a trial asks for more than there is.
    """
    allowed = capacity(config.cluster, machine)
    cpus, gpus = trial_resources(config, allowed)
    abreast = concurrent_trials(allowed, cpus, gpus)
    if config.budget.trials is not None:
        abreast = min(abreast, config.budget.trials)
    return Slots(machine=machine, allowed=allowed, cpus=cpus, gpus=gpus, abreast=abreast)


def this_machine() -> Machine:
    """Cores that this process may use, and GPUs that it sees."""
    import torch  # takes seconds: not before it must

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return Machine(cores, torch.cuda.device_count())


def capacity(config: ClusterConfig, machine: Machine) -> Machine:
    """What trials may use: the machine, or what the configuration says instead."""
    return Machine(
        cpus=machine.cpus if config.cpus is None else config.cpus,
        gpus=machine.gpus if config.gpus is None else config.gpus,
    )


def trial_resources(config: SearchConfig, cluster: Capacity) -> tuple[int, float]:
    """Cores and GPUs of one trial.

    Raises:
        ConfigError: the cluster has not that much, or the GPUs are neither a part of one nor a whole number.
    """
    gpus = config.trial.gpus if config.trial.gpus is not None else float(min(1, cluster.gpus))
    share = int(cluster.cpus * gpus / cluster.gpus) if gpus and cluster.gpus else 1
    cpus = config.trial.cpus or max(1, share)
    if gpus > 1 and gpus != int(gpus):
        raise ConfigError(f"trial.gpus={gpus:g}: it is a part of one GPU, or a whole number of them")
    if gpus > cluster.gpus:
        raise ConfigError(f"trial.gpus={gpus:g}: there are {cluster.gpus} GPUs")
    if cpus > cluster.cpus:
        raise ConfigError(f"trial.cpus={cpus}: there are {cluster.cpus} cores")
    return cpus, gpus


def concurrent_trials(cluster: Capacity, cpus: int, gpus: float) -> int:
    """How many trials fit side by side; no trial is spread over parts of two GPUs."""
    by_cpu = cluster.cpus // cpus
    if not gpus:
        return by_cpu
    by_gpu = cluster.gpus * trials_on_a_gpu(gpus) if gpus <= 1 else cluster.gpus // int(gpus)
    return min(by_cpu, by_gpu)


def trials_on_a_gpu(gpus: float) -> int:
    """How many trials that get so much of a GPU share one."""
    return int(1 / gpus + 1e-4) if 0 < gpus <= 1 else 1  # a third written as 0.3334 is still a third to Ray


def on_its_device(training: TrainingConfig, cpus: int, gpus: float) -> TrainingConfig:
    """The training as a trial runs it: Ray hides no GPU from one that asked for none, and loaders share its cores."""
    workers = min(training.train.workers, max(0, cpus - 1))
    return replace_fields(training, {"train.device": "auto" if gpus else "cpu", "train.workers": workers})
