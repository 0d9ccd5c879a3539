"""Worker processes that may die without harm.

Verovio's ABC reader can abort the process it runs in. A task that kills its worker, or that takes too long, costs
itself alone: it comes back as a `Failure` with its reason, and a new worker takes the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import cv2
import pebble

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 8  # tasks handed out per worker before the first one's result is taken


@dataclass(frozen=True)
class Failure:
    """A task without a result."""

    reason: str


class Workers(Generic[Task, Result]):
    """Runs one function on many tasks, each in a process that may die.

    Args:
        function: a function of a module (workers are spawned and import it).
        count: processes.
        timeout: seconds that one task may take.
    """

    def __init__(self, function: Callable[[Task], Result], count: int, timeout: float = 30.0) -> None:
        self.function = function
        self.count = count
        self.timeout = timeout
        self._pool = pebble.ProcessPool(
            max_workers=count, initializer=_start, context=multiprocessing.get_context("spawn")
        )

    def __enter__(self) -> Workers[Task, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; tasks that nobody waits for any more are given up."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def map(self, tasks: Iterable[Task]) -> Iterator[Result | Failure]:
        """The result of every task, in the tasks' order whatever the number of workers."""
        waiting: deque[Any] = deque()
        for task in tasks:
            waiting.append(self._pool.schedule(self.function, args=(task,), timeout=self.timeout))
            if len(waiting) > _AHEAD * self.count:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, future: Any) -> Result | Failure:
        try:
            result: Result = future.result()
        except FutureTimeoutError:
            return Failure(f"took longer than {self.timeout:g} s")
        except pebble.ProcessExpired:
            return Failure("the reader crashed")
        return result


def _start() -> None:
    """Prepare a worker: no core dump and no last words when it dies, no threads of its own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # a dying Verovio writes to the file descriptor, past sys.stderr
    os.close(null)
    cv2.setNumThreads(1)
