"""One trial on several GPUs: a process of its own for each, which train together (`omr_model.parallel`).

Tune's process of the trial trains nothing itself. It starts the others with Ray Train's group of workers, inside the
trial's own placement group, hands on what the first of them reports, and ends all of them if one dies: that is the one
way out that also holds where a GPU waits for another's. Between trials the workers stay, as importing torch takes
longer than a short epoch; they end with their parent.

Of Ray Train it is the group of workers alone. Its trainer (`TorchTrainer`, 2.60) asks the cluster for resources beside
those that Tune has given to the trial, starts new processes for each trial, and keeps checkpoints where only it looks
for them: two of such trials can wait for each other's GPUs without end, and neither the journal nor `resume=` would
know their checkpoints. Its set-up of torch's process group lets everyone who reaches the machine into the meeting; here
the store listens on the address of Ray's node alone, which is loopback unless the search is open to the network.
"""

from __future__ import annotations

import os
import pickle
import queue
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train._internal.worker_group import RayTrainWorker, WorkerGroup
from ray.util import get_current_placement_group

from datasets.errors import DivergedError
from search.engine.memory import free_memory
from search.engine.trial import Tell, TrialJob, WorkerDiedError, learn

SECONDS_TO_MEET = 120.0
SECONDS_TO_END = 30.0  # for the other processes, once one has ended
SECONDS_TO_TELL = 10.0  # of two processes that lose each other, one may have died, which Ray notices a little later
SECONDS_TO_FOLLOW = 2.0  # where one has ended by an error of its own, others end by the same at once, or wait for ever
LOOPBACK = ("127.0.0.1", "::1")
NETWORK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_NETWORK_TOLD = re.compile("gloo|NCCL")  # in bare RuntimeErrors of torch's


@dataclass(frozen=True)
class Epoch:
    """The first process has ended an epoch, and waits for an answer: what it reports, and the folder with it."""

    result: dict[str, Any]
    folder: Path


class How(Enum):
    """How a process has ended its training, as far as the others are concerned."""

    AGREED = "with no error, or with one that all have found"
    FOLLOWED = "since the first has ended it"
    LOST = "since it no longer reached another"
    ALONE = "by an error of its own, and others may wait for it"
    DIED = "with its training"


class _Told(BaseException):
    """The trial is to end; no error, and nothing that a training would catch."""


BY_THEMSELVES = (How.LOST, How.ALONE, How.DIED)
"""Something may have left another process waiting; of all other ends all know."""


@dataclass(frozen=True)
class Ended:
    """A process has ended its training, with an error or without."""

    how: How
    error: BaseException | None = None

    @classmethod
    def by(cls, error: BaseException | None) -> Ended:
        """By an error, or None; in the process itself, which has imported torch, and knows what it says."""
        from torch.distributed import DistError

        from omr_model.parallel import StoppedError

        if error is None or isinstance(error, DivergedError):
            how = How.AGREED
        elif isinstance(error, (StoppedError, _Told)):
            how = How.FOLLOWED
        elif isinstance(error, DistError) or (isinstance(error, RuntimeError) and _NETWORK_TOLD.search(str(error))):
            how = How.LOST
        else:
            how = How.ALONE
        return cls(how, None if error is None else _portable(error))


class Place(RayTrainWorker):
    """One process of a trial: it trains in a thread, so that it can be asked what came of it."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Epoch | Ended] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.parallel: Any = None
        self.socket: socket.socket | None = None

    def host(self) -> tuple[str, int]:
        """Open the door of the store where the processes meet: address and port."""
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self.socket = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        return address, int(self.socket.getsockname()[1])

    def meet(self, rank: int, world: int, local: int, visible: str, address: str, port: int) -> None:
        """Join the other processes' group.

        Args:
            local: this process's GPU among those of the trial on this node.
            visible: all of these, as CUDA_VISIBLE_DEVICES has them: hidden ones could not copy to each other.
        """
        os.environ["CUDA_VISIBLE_DEVICES"] = visible  # before torch looks
        if address in LOOPBACK:
            for name in NETWORK:
                os.environ.setdefault(name, _loopback())
        import torch
        import torch.distributed as dist

        from omr_model.parallel import BACKENDS, PATIENCE, Parallel

        door = self.socket.detach() if self.socket is not None else None
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, world, rank == 0, PATIENCE, master_listen_fd=door
        )
        backend = BACKENDS["cuda" if torch.cuda.is_available() else "cpu"]
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
        self.parallel = Parallel(rank, world, local)

    def begin(self, config: Mapping[str, Any], job: TrialJob, checkpoints: Sequence[Path]) -> None:
        """Begin to train."""
        threading.Thread(target=self._train, args=(config, job, checkpoints), daemon=True).start()

    def next(self) -> Epoch | Ended:
        """Wait for what comes next."""
        return self.events.get()

    def answer(self, go_on: bool) -> None:
        """What to do after an epoch."""
        self.answers.put(go_on)

    def _train(self, config: Mapping[str, Any], job: TrialJob, checkpoints: Sequence[Path]) -> None:
        error: BaseException | None = None
        try:
            learn(config, job, checkpoints, self._tell, self.parallel)
        except BaseException as raised:  # whatever it is, the trial's own process judges it
            error = raised
        ended = Ended.by(error)
        del error  # its frames hold the model
        free_memory()
        self.events.put(ended)

    def _tell(self, result: dict[str, Any], folder: Path) -> None:
        self.events.put(Epoch(result, folder))
        if not self.answers.get():
            raise _Told


class Team:
    """The processes of a trial, in the order of their ranks.

    Raises:
        WorkerDiedError: they did not find each other.
    """

    def __init__(self, world: int) -> None:
        group: Any = get_current_placement_group()
        bundle = group.bundle_specs[0] if group is not None else {"CPU": 1.0}
        self.alive = True
        self.group: WorkerGroup | None = None
        try:
            self.group = WorkerGroup(world, dict(bundle), actor_cls=Place)
            node = ray.get_runtime_context().get_node_id()
            self.group.sort_workers_by_node_id_and_gpu_id(node)  # the first beside its parent, whose disk it writes to
            self.places = [worker.actor for worker in self.group.workers]
            self._meet(self.group)
        except Exception as error:
            self.end()
            raise _death(f"the {world} processes did not find each other: {_line(error)}", error) from None

    def _meet(self, group: WorkerGroup) -> None:
        gpus = [worker.metadata.resource_ids.get("GPU", []) for worker in group.workers]
        nodes = [worker.metadata.node_id for worker in group.workers]
        address, port = ray.get(self.places[0].host.remote(), timeout=SECONDS_TO_MEET)
        waiting = []
        for rank, place in enumerate(self.places):
            beside = [other for other in range(len(nodes)) if nodes[other] == nodes[rank]]
            visible = ",".join(gpu for other in beside for gpu in gpus[other])
            waiting.append(place.meet.remote(rank, len(nodes), beside.index(rank), visible, address, port))
        ray.get(waiting, timeout=SECONDS_TO_MEET)

    def train(
        self, config: Mapping[str, Any], job: TrialJob, checkpoints: Sequence[Path], tell: Tell
    ) -> BaseException | None:
        """Train a setting; the error that ended it, or None.

        The processes are there for the next trial afterwards, unless something may have left one waiting for another.

        Args:
            tell: may raise, to end the trial.

        Raises:
            WorkerDiedError: a process is gone.
        """
        try:
            ray.get([place.begin.remote(config, job, checkpoints) for place in self.places])
        except RayActorError as error:
            self.end()
            raise _death(f"a process died before the trial: {_line(error)}", error) from None
        asked = {place.next.remote(): rank for rank, place in enumerate(self.places)}
        ended: list[Ended] = []
        stopped: BaseException | None = None
        deadline = float("inf")
        while asked and (ready := _first(list(asked), deadline)) is not None:
            rank = asked.pop(ready)
            try:
                event = ray.get(ready)
            except RayActorError as error:
                ended.append(Ended(How.DIED, _death(f"process {rank} of the trial has died: {_line(error)}", error)))
                break
            if isinstance(event, Epoch):
                try:
                    tell(event.result, event.folder)
                except BaseException as raised:
                    stopped = raised
                self.places[rank].answer.remote(stopped is None)
                asked[self.places[rank].next.remote()] = rank
            else:
                ended.append(event)
            if stopped is not None or ended:
                deadline = min(deadline, time.monotonic() + _patience(ended))
        if asked or any(one.how in BY_THEMSELVES for one in ended):
            self.end()
        if stopped is not None:
            raise stopped
        return _cause(ended)

    def end(self) -> None:
        """Kill the processes: one that waits for another's GPU hears nothing else."""
        self.alive = False
        if self.group is not None:
            self.group.shutdown(patience_s=0)


def train_together(config: Mapping[str, Any], job: TrialJob, checkpoints: Sequence[Path], tell: Tell) -> None:
    """Train a setting on as many GPUs as the trial has.

    Raises:
        WorkerDiedError: a process has died.
        Exception: what ended the training in one of them.
    """
    team = _team(job.processes)
    if not team.alive:  # the last trial has ended it
        _team.cache_clear()
        team = _team(job.processes)
    if (error := team.train(config, job, checkpoints, tell)) is not None:
        raise error


@lru_cache(maxsize=1)
def _team(world: int) -> Team:
    """The team of this process, which Tune gives the same share of the cluster for every trial."""
    return Team(world)


def _first(asked: list[Any], deadline: float) -> Any:
    """The first of the answers; None if the time is up."""
    left = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
    ready, _ = ray.wait(asked, num_returns=1, timeout=left)
    return ready[0] if ready else None


def _cause(ended: Sequence[Ended]) -> BaseException | None:
    """Which of the processes' errors is to be told: a death before an error, an error before what it did to others."""
    errors = [one for one in ended if one.error is not None]
    for kinds in ((How.DIED,), (How.AGREED, How.ALONE)):
        for one in errors:
            if one.how in kinds:
                return one.error
    return WorkerDiedError(_line(errors[0].error)) if errors and errors[0].error is not None else None


def _patience(ended: Sequence[Ended]) -> float:
    """Seconds for those that have not ended yet."""
    kinds = {one.how for one in ended if one.how in BY_THEMSELVES}
    if not kinds:
        return SECONDS_TO_END
    return SECONDS_TO_TELL if kinds == {How.LOST} else SECONDS_TO_FOLLOW


def _death(message: str, error: Exception) -> WorkerDiedError:
    return WorkerDiedError(message, error if isinstance(error, RayActorError) else None)


def _portable(error: BaseException) -> BaseException:
    """The error as another process can have it, without its frames, which hold the model."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # an error of a class that cannot be copied
        return RuntimeError(f"{type(error).__name__}: {error}")
    return copy if isinstance(copy, BaseException) else RuntimeError(str(error))


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _loopback() -> str:
    """The name of this machine's own network interface: lo, or lo0."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
