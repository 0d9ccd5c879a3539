"""Processes that train together over gloo, for tests: started once, given one function after another."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ranks:
    """Running processes.

    Attributes:
        pipes: to each, in the order of their ranks.
        processes: the same.
    """

    pipes: tuple[Connection, ...]
    processes: tuple[Any, ...]

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What `function(parallel, *args)` gives on each rank; exceptions are given, not raised."""
        for pipe in self.pipes:
            pipe.send((function, args))
        return [pipe.recv() for pipe in self.pipes]


@contextmanager
def ranks_of(world: int, folder: Path) -> Iterator[Ranks]:
    """So many processes; they meet over a file in a folder."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(world)]
    processes = [
        context.Process(target=_serve, args=(rank, world, str(folder / "store"), pair[1]), daemon=True)
        for rank, pair in enumerate(pairs)
    ]
    for process in processes:
        process.start()
    try:
        yield Ranks(tuple(pair[0] for pair in pairs), tuple(processes))
    finally:
        for process in processes:
            process.kill()
            process.join()


def _serve(rank: int, world: int, store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    from omr_model.parallel import Parallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    parallel = Parallel(rank, world)
    while True:
        function, args = pipe.recv()
        try:
            result = function(parallel, *args)
        except Exception as error:
            traceback.print_exc()
            result = error
        pipe.send(result)
