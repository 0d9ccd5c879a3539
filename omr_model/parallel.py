"""One training in several processes, each with its own GPU; alone, everything here does nothing.

Each process (a rank of a world, as torch.distributed calls them) learns its share of every batch, and
DistributedDataParallel adds the gradients up while they are still being computed. What is learned is what one process
would learn of the whole batches: the order of the staves, cuts and distortions are one process's, losses are divided by
the whole batch's weights, and batch norms see the whole batch (`omr_model.whole_batch`). Only dropout is drawn by each
rank of its own, as it must be.

Every decision on which a rank might leave the others waiting is taken together: what a rank finds, all get to know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from datasets.errors import ConfigError, OmrError
from omr_model.device import resolve_device
from omr_model.mix import Draw

T = TypeVar("T")

BACKENDS = {"cuda": "cpu:gloo,cuda:nccl", "cpu": "gloo"}
"""By device; with GPUs, what the ranks tell each other in words still travels without them."""
PATIENCE = timedelta(minutes=30)
"""For which a rank waits for the others: one that is dead is noticed at once, but a report may take its time."""


class StoppedError(OmrError):
    """The first rank has ended the training, or has failed, and the others end with it."""


@dataclass(frozen=True)
class Parallel:
    """This process's place among those of one training.

    Attributes:
        rank: from 0, which is the one that reports and writes checkpoints.
        world: processes in all; 1 is a training alone.
        local: number of this process's GPU on its machine, among those that it sees.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    def share(self, whole: Sequence[T]) -> Sequence[T]:
        """This rank's part of something; the parts of all ranks, one after the other, are the whole."""
        return whole[self.rank * len(whole) // self.world : (self.rank + 1) * len(whole) // self.world]

    def check(self, batch_size: int) -> None:
        """Make sure that batches can be shared.

        Raises:
            ConfigError: the batch size is no multiple of the world's.
        """
        if batch_size % self.world:
            raise ConfigError(
                f"train.batch_size={batch_size}: {self.world} processes share every batch; "
                f"it must be a multiple of {self.world}"
            )

    def device(self, device: torch.device) -> torch.device:
        """The device of this rank, where a training alone would take `device`.

        Raises:
            ConfigError: one GPU is named for all of the processes, or they are more than the GPUs.
        """
        if self.world > 1 and device.type == "cuda":
            if device.index is not None:
                raise ConfigError(
                    f"train.device={device}: {self.world} processes train together, each on a GPU of its own; say "
                    "train.device=cuda, and CUDA_VISIBLE_DEVICES=... for which"
                )
            device = resolve_device(f"cuda:{self.local}")
            torch.cuda.set_device(device)
        return device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are the mean over all ranks'; the first rank's weights become everyone's.

        Without `device_ids`, for which batches are where they belong already, it is the same on a GPU and on a CPU.
        """
        if self.world == 1:
            return model
        known = signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before PyTorch 2.15
        buffers: dict[str, Any] = {name: False}  # the batch norms' are the same everywhere (`omr_model.whole_batch`)
        return DistributedDataParallel(model, gradient_as_bucket_view=True, **buffers)

    def accumulating(self, model: Any, last: bool) -> AbstractContextManager[Any]:
        """Around a batch: its gradients stay here but for the last batch of a step."""
        if last or not isinstance(model, DistributedDataParallel):
            return nullcontext()
        return model.no_sync()

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all ranks, without history; the ranks' tensors have one shape."""
        total = own.detach().clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def mean(self, own: Tensor) -> Tensor:
        """The mean over all ranks, without history."""
        return self.sum(own) / self.world

    def gather(self, own: T) -> list[T]:
        """What each rank has, in their order; anything that can be pickled."""
        if self.world == 1:
            return [own]
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, own)
        return parts

    @contextmanager
    def first_alone(self) -> Iterator[bool]:
        """What the first rank does while the others wait; whether this is the first.

        Raises:
            StoppedError: on the others, if it raised.
        """
        done = False
        try:
            yield self.rank == 0
            done = True
        finally:
            all_done = all(self.gather(done)) if self.world > 1 else True
            if done and not all_done:
                raise StoppedError("the first of the processes has ended the training")


BY_ITSELF = Parallel()


class ShareOfOrder(Sampler[list[Draw]]):
    """A rank's share of every batch of an order that all ranks have."""

    def __init__(self, order: Sampler[list[Draw]], parallel: Parallel) -> None:
        self.order = order
        self.parallel = parallel

    def __len__(self) -> int:
        return len(self.order)  # type: ignore[arg-type]  # a batch sampler has a length

    def __iter__(self) -> Iterator[list[Draw]]:
        for draws in self.order:
            yield list(self.parallel.share(draws))


class RandomState(NamedTuple):
    """Where a rank's random numbers are, which are dropout's: on the CPU, and on its GPU where it has one."""

    cpu: Tensor
    cuda: Tensor | None


def random_state(device: torch.device) -> RandomState:
    """This process's."""
    return RandomState(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Go on from there; a GPU keeps its own if the state was a CPU's."""
    torch.set_rng_state(state.cpu)
    if device.type == "cuda" and state.cuda is not None:
        torch.cuda.set_rng_state(state.cuda, device)


def from_environment() -> Parallel:
    """The place that `torchrun` gives a process; by itself where it gives none."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in os.environ:
        return BY_ITSELF
    return Parallel(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))


def meet(parallel: Parallel, device: torch.device) -> None:
    """Join the other processes, where there are any: `torchrun` has told where they are.

    From here on none may keep the others waiting for longer than `PATIENCE`.
    """
    if parallel.world > 1:
        dist.init_process_group(BACKENDS[device.type], timeout=PATIENCE)
