"""Looks after what cannot report its own end: trials that hang, processes that never start, and Ray itself.

What Ray does of its own, seen with 2.60: a worker that stands still is waited for without end; and if the raylet is
killed, Tune takes its trials for dead once, begins them again, and waits without end for processes that nobody starts.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from datasets.command_line import EXIT_USER_ERROR
from datasets.errors import StudyError
from search.engine import keys
from search.engine.attached import head_is_gone

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_TO_NOTICE = 10.0  # that a thread which waits for a Ray that died gets to find out
LONGEST_EPOCHS = 10.0  # so many of the longest one are no epoch any more
LEAST_SECONDS = 1800.0
ESSENTIAL = ("raylet", "gcs_server")  # without the dashboard and the monitors trials run all the same


class RayDiedError(StudyError):
    """Ray's own processes are gone, and the search cannot go on in this one."""


@dataclass
class Watched:
    """A trial that runs: when it began or reported last, and its longest epoch, in seconds; the epoch it reached."""

    last: float
    longest: float = 0.0
    reached: int = 0


class Watchdog(tune.Callback):
    """Kills a trial that has hung, so that Tune takes it up again from its checkpoint; ends the search if Ray died.

    Args:
        study: its name, for the command that goes on with it.
        hang_minutes: without a report, after which a trial counts as hung; None leaves it to the trials (`limit`).
        say: tells the person.
        clock: seconds, by a clock that nobody sets.
    """

    def __init__(
        self,
        study: str,
        hang_minutes: float | None,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.hang_minutes = hang_minutes
        self.say = say
        self.clock = clock
        self.watched: dict[str, Watched] = {}
        self.longest = 0.0
        self._looked = self._ran = clock()

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.watched.setdefault(trial.trial_id, Watched(0.0)).last = self.clock()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reports. One that has come further since its process died is as good as one that never did: Tune
        counts its deaths over all of its training, but only those at the same place say that it dies there."""
        now = self.clock()
        watched = self.watched.setdefault(trial.trial_id, Watched(now))
        if (epoch := int(result.get(keys.STEP, 0))) > watched.reached:
            watched.reached = epoch
            trial.run_metadata.num_failures = 0
        watched.longest = max(watched.longest, now - watched.last)
        self.longest = max(self.longest, watched.longest)
        watched.last = now

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.watched.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.watched.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look, every few seconds.

        Raises:
            RayDiedError: Ray's own processes are gone.
            StudyError: trials are to run, and for long none of them does.
        """
        now = self.clock()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        check_ray(self.study)
        statuses = {trial.status for trial in trials}
        if Trial.RUNNING in statuses or Trial.PENDING not in statuses:
            self._ran = now
        elif now - self._ran > (limit := max(LEAST_SECONDS, 60 * (self.hang_minutes or 0))):
            raise StudyError(
                f"for {limit / 60:.3g} minutes no process of a trial has started; go on with: "
                f"python -m search.run resume={self.study}"
            )
        for trial in trials:
            watched = self.watched.get(trial.trial_id)
            if watched is None or trial.status != Trial.RUNNING:
                continue
            limit = self.limit(watched)
            if now - watched.last > limit:
                watched.last = now  # its end takes a moment; it is not killed twice
                number = trial.config[keys.NUMBER]
                self.say(f"trial {number:>3}  no report for {limit / 60:.3g} minutes: its process is killed")
                kill(trial)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Look from a thread of its own, too: Tune's may be waiting for an answer of the Ray that died, without end."""
        over = threading.Event()
        threading.Thread(target=self._look_aside, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _look_aside(self, over: threading.Event) -> None:
        """End this process if Ray died and nobody else does; the journal has all that was reported."""
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            try:
                check_ray(self.study)
            except RayDiedError as error:
                if not over.wait(SECONDS_TO_NOTICE):
                    print(f"error: {error}", file=sys.stderr, flush=True)
                    os._exit(EXIT_USER_ERROR)

    def limit(self, watched: Watched) -> float:
        """Seconds without a report, after which the trial counts as hung: as configured, or ten times its longest epoch
        (any trial's, if it has none yet), and at least half an hour."""
        if self.hang_minutes is not None:
            return 60 * self.hang_minutes
        return max(LEAST_SECONDS, LONGEST_EPOCHS * (watched.longest or self.longest))


def kill(trial: Trial) -> None:
    """End a trial's process with SIGKILL, which ends one that was stopped (SIGSTOP), too."""
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


def check_ray(study: str) -> None:
    """Look whether the processes that this one started for Ray are there, or the head of a cluster of others.

    It matters that they are asked for: workers watch their raylet, and take one that nobody has waited for as alive.

    Raises:
        RayDiedError: one without which no trial runs is gone.
    """
    node: Any = ray._private.worker._global_node
    gone = {name for name, _ in node.dead_processes()} if node is not None else set()
    if dead := [name for name in ESSENTIAL if name in gone]:
        raise RayDiedError(
            f"Ray died ({' and '.join(dead)} killed, maybe for want of memory); every epoch that was reported is kept. "
            f"Go on with: python -m search.run resume={study}"
        )
    if node is not None and not node.is_head() and head_is_gone(node.gcs_address):
        raise RayDiedError(
            f"the head of the cluster at {node.gcs_address} is gone; every epoch that was reported is kept. Once there "
            f"is one again, go on with: python -m search.run resume={study}"
        )
