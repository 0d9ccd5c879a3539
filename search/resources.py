"""What a machine has and what a trial gets of it. Without Ray, so that a plan says what a search would do."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from search.config import AUTO, ClusterConfig, SearchConfig


class Capacity(Protocol):
    """Cores and GPUs that trials may use in all."""

    @property
    def cpus(self) -> int: ...

    @property
    def gpus(self) -> int: ...

    @property
    def nodes(self) -> tuple[Machine, ...]:
        """The machines that these are on; nothing where it is one."""
        ...


@dataclass(frozen=True)
class Machine:
    """Cores and GPUs, as a `Capacity`."""

    cpus: int
    gpus: int

    @property
    def nodes(self) -> tuple[Machine, ...]:
        return ()


@dataclass(frozen=True)
class Machines:
    """Several machines, as a `Capacity`: what trials may use of them in all, and what each has."""

    cpus: int
    gpus: int
    nodes: tuple[Machine, ...]

    @classmethod
    def of(cls, config: ClusterConfig, nodes: Iterable[Machine]) -> Machines:
        """All of them, or no more than the configuration allows; a machine without a core trains nothing."""
        able = tuple(node for node in nodes if node.cpus)
        cpus, gpus = sum(node.cpus for node in able), sum(node.gpus for node in able)
        return cls(
            cpus if config.cpus is None else min(cpus, config.cpus),
            gpus if config.gpus is None else min(gpus, config.gpus),
            able,
        )


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

    return Machine(cores_here(), torch.cuda.device_count())


def cores_here() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def capacity(config: ClusterConfig, machine: Machine) -> Machine:
    """What trials may use: the machine, or what the configuration says instead."""
    return Machine(
        cpus=machine.cpus if config.cpus is None else config.cpus,
        gpus=machine.gpus if config.gpus is None else config.gpus,
    )


def trial_resources(config: SearchConfig, cluster: Capacity) -> tuple[int, float]:
    """Cores and GPUs of one trial; as long as nobody has measured what `auto` stands for, a whole GPU.

    Raises:
        ConfigError: the cluster has not that much, or not that device, or the GPUs are neither a part of one nor a
            whole number, or several of them cannot share a batch.
    """
    gpus = _gpus(config, cluster)
    sharing = [one for one in (cluster, *cluster.nodes) if one.gpus]  # the whole, too: it may be told to use less
    share = min((int(one.cpus * gpus / one.gpus) for one in sharing), default=1) if gpus else 1
    cpus = config.trial.cpus or max(1, share, processes_of(gpus))
    if gpus > 1 and gpus != int(gpus):
        raise ConfigError(f"trial.gpus={gpus:g}: it is a part of one GPU, or a whole number of them")
    if gpus > cluster.gpus:
        raise ConfigError(f"trial.gpus={gpus:g}: there are {cluster.gpus} GPUs")
    if cpus > cluster.cpus:
        raise ConfigError(f"trial.cpus={cpus}: there are {cluster.cpus} cores")
    if cpus < processes_of(gpus):
        raise ConfigError(f"trial.cpus={cpus}: a trial on {gpus:g} GPUs is {gpus:g} processes, and each has a core")
    if config.train.batch_size % processes_of(gpus):
        raise ConfigError(
            f"train.batch_size={config.train.batch_size}: a trial's {gpus:g} GPUs share every batch; "
            f"it must be a multiple of {gpus:g}"
        )
    if cluster.nodes and gpus <= 1 and not any(_abreast(node, cpus, gpus) for node in cluster.nodes):
        most = max(node.cpus for node in cluster.nodes if node.gpus or not gpus)
        beside = " with a GPU" if gpus else ""
        raise ConfigError(f"trial.cpus={cpus}: a trial runs on one node; the largest{beside} has {most} cores")
    return cpus, gpus


def _gpus(config: SearchConfig, cluster: Capacity) -> float:
    """GPUs of one trial: as asked, else one where there is one; none where `train.device` is cpu."""
    device, asked = config.train.device, config.trial.gpus
    if device.startswith("cuda:"):
        raise ConfigError(f"train.device={device}: Ray gives trials their GPUs; CUDA_VISIBLE_DEVICES says which it has")
    if device == "cuda" and not cluster.gpus:
        raise ConfigError(f"train.device={device}: there is no CUDA GPU for trials; train.device=auto takes the cores")
    if asked is None or asked == AUTO:
        return 0.0 if device == "cpu" else float(min(1, cluster.gpus))
    return float(asked)


def concurrent_trials(cluster: Capacity, cpus: int, gpus: float) -> int:
    """How many trials fit side by side; no trial is spread over parts of two GPUs, nor over two nodes unless it has
    several GPUs."""
    in_all = _abreast(cluster, cpus, gpus)
    if not cluster.nodes or gpus > 1:
        return in_all
    return min(in_all, sum(_abreast(node, cpus, gpus) for node in cluster.nodes))


def _abreast(cluster: Capacity, cpus: int, gpus: float) -> int:
    by_cpu = cluster.cpus // cpus
    if not gpus:
        return by_cpu
    by_gpu = cluster.gpus * trials_on_a_gpu(gpus) if gpus <= 1 else cluster.gpus // int(gpus)
    return min(by_cpu, by_gpu)


def processes_of(gpus: float) -> int:
    """How many processes train one trial together: one for each of its GPUs."""
    return max(1, int(gpus))


def trials_on_a_gpu(gpus: float) -> int:
    """How many trials that get so much of a GPU share one."""
    return int(1 / gpus + 1e-4) if 0 < gpus <= 1 else 1  # a third written as 0.3334 is still a third to Ray


def share_of_a_gpu(trials: int) -> float:
    """What each of so many trials asks of the GPU that they share: rounded down, as Ray counts ten-thousandths."""
    return math.floor(10_000 / trials) / 10_000


def shares_a_gpu(config: SearchConfig) -> bool:
    """Whether trials have others beside them on their GPU."""
    gpus = config.trial.gpus
    return isinstance(gpus, (int, float)) and 0 < gpus < 1


def let_memory_grow() -> None:
    """Have torch ask the GPU for memory that grows in place, where nobody says otherwise; before torch is imported.

    Trials beside each other have no room to spare for the gaps that blocks of many sizes leave.
    """
    if "PYTORCH_ALLOC_CONF" not in os.environ:  # torch's newer name for the same
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def compile_on(cores: int) -> None:
    """Have torch compile on so many cores, where nobody says otherwise; before torch is imported.

    By itself each process that compiles starts a worker for every core of the machine, 32 at the most.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(cores))


def on_its_device(training: TrainingConfig, cpus: int, gpus: float) -> TrainingConfig:
    """The training as a trial runs it: Ray hides no GPU from one that asked for none, and loaders share its cores."""
    workers = min(training.train.workers, max(0, cpus // processes_of(gpus) - 1))
    return replace_fields(training, {"train.device": "auto" if gpus else "cpu", "train.workers": workers})
