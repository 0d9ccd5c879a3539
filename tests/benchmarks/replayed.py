"""Tune without trainings: its own controller, searchers, schedulers, stoppers and callbacks, on recorded curves.

Tune's controller talks to trials through one object, the manager of their actors. Inside `replay` that object is a
stand-in in this process: an actor is a place in a table of epochs, and a call of `train` is an event on a simulated
clock that comes when the recorded seconds of the epoch are over. So trials overlap and overtake each other as they
would have, and a trial that is paused goes on from where its checkpoint says. Ray is not started, no process is, and
Tune writes one snapshot of itself, in the end.

    with replay(curves, slots=2) as folder:
        tune.Tuner(Replayed, tune_config=..., run_config=tune.RunConfig(storage_path=folder)).fit()

What it does not do: crashes, and `save` while the caller waits for it (Tune's own population-based training).
"""

# ruff: noqa: ARG002 - signatures that Ray dictates

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ray
from ray import tune
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.train._internal import storage
from ray.train._internal.session import _TrainingResult
from ray.tune.execution import tune_controller
from ray.tune.result import DONE, RESULT_DUPLICATE, STDERR_FILE, STDOUT_FILE, TRAINING_ITERATION, TRIAL_INFO

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables on the terminal
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",  # or Tune would start Ray
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
MEMORY = Path("/dev/shm")  # Tune makes a folder a trial
STUCK = 1_000  # times that Tune asks for an event and there is none, before it counts as stuck


@dataclass(frozen=True)
class Epoch:
    """One epoch of a curve: how long it takes, and what the trial reports when it is over."""

    seconds: float
    report: Mapping[str, Any]


Curves = Callable[[Mapping[str, Any]], Sequence[Epoch]]
"""The epochs of a trial, by the configuration that Tune gives it."""


class Replayed(tune.Trainable):
    """What a `Tuner` is given as its trainable. None is ever made."""


@contextmanager
def replay(curves: Curves, slots: int) -> Iterator[str]:
    """Every Tuner that is run inside trains on the curves, with so many trials side by side; it may write to a folder
    that lasts as long as the block.

    Raises:
        RuntimeError: there is nothing left to happen, but Tune still waits.
    """
    with (
        tempfile.TemporaryDirectory(prefix="replayed-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        mock.patch.dict(os.environ, ENVIRONMENT),
        mock.patch.object(storage, "_get_ray_train_session_dir", return_value=folder),  # else Ray itself would be asked
        mock.patch.object(tune_controller, "RayActorManager", return_value=_Actors(curves, slots)),
        mock.patch.object(tune_controller.TuneController, "checkpoint", _last_snapshot),
        mock.patch.object(ray, "cluster_resources", return_value={"CPU": float(slots)}),
    ):
        yield folder


_snapshot = tune_controller.TuneController.checkpoint


def _last_snapshot(controller: tune_controller.TuneController, force: bool = False, wait: bool = False) -> None:
    """Tune reads its results out of the one that it makes in the end; those on the way are left out."""
    if force:
        _snapshot(controller, force, wait)


@dataclass
class _Actor:
    """The process that a trial would have: its configuration, and how many epochs it has trained."""

    config: Mapping[str, Any]
    epochs: Sequence[Epoch]
    done: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def get_auto_filled_metrics(self) -> Any:
        """Tune asks each new actor where it runs, without waiting for the answer."""
        return SimpleNamespace(remote=lambda **_options: {})


@dataclass(order=True)
class _Event:
    """Something that Tune hears of at a time; `happens` tells it."""

    time: float
    number: int
    happens: Callable[[], None] = field(compare=False)
    actor: TrackedActor = field(compare=False)
    is_task: bool = field(default=True, compare=False)  # it goes when Tune forgets the actor's tasks
    cancelled: bool = field(default=False, compare=False)


class _Actors:
    """Stands for Ray's `RayActorManager`: the methods that the controller calls."""

    def __init__(self, curves: Curves, slots: int) -> None:
        self.curves = curves
        self.slots = slots
        self.now = 0.0
        self.idle = 0
        self._numbers = itertools.count()
        self._events: list[_Event] = []
        self._waiting: dict[TrackedActor, Mapping[str, Any]] = {}
        self._live_actors_to_ray_actors_resources: dict[TrackedActor, tuple[_Actor, None]] = {}  # the controller looks

    @property
    def num_live_actors(self) -> int:
        return len(self._live_actors_to_ray_actors_resources)

    @property
    def num_pending_actors(self) -> int:
        return len(self._waiting)

    @property
    def num_total_actors(self) -> int:
        return self.num_live_actors + self.num_pending_actors

    @property
    def num_actor_tasks(self) -> int:
        return sum(event.is_task and not event.cancelled for event in self._events)

    def get_live_actors_resources(self) -> dict[str, float]:
        return {"CPU": float(self.num_live_actors)}

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        return tracked_actor in self._live_actors_to_ray_actors_resources

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        return False

    def add_actor(
        self,
        cls: Any,
        resource_request: Any,
        kwargs: Mapping[str, Any],
        on_start: Callable[..., None],
        on_stop: Callable[..., None],
        on_error: Callable[..., None],
    ) -> TrackedActor:
        """It starts once there is a slot."""
        actor = TrackedActor(next(self._numbers), on_start=on_start, on_stop=on_stop, on_error=on_error)
        self._waiting[actor] = kwargs["config"]
        return actor

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: Any = None) -> bool:
        """Its slot is free once Tune has heard that it stopped."""
        if self._waiting.pop(tracked_actor, None) is not None:
            return False

        def stopped() -> None:
            del self._live_actors_to_ray_actors_resources[tracked_actor]
            if tracked_actor._on_stop:
                tracked_actor._on_stop(tracked_actor)

        self._later(0.0, stopped, tracked_actor, is_task=False)
        return True

    def schedule_actor_task(
        self,
        tracked_actor: TrackedActor,
        method_name: str,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
        on_result: Callable[..., None] | None = None,
        on_error: Any = None,
        _return_future: bool = False,
    ) -> _Event | None:
        """A method of the actor: it takes no time, but for an epoch of `train`."""
        if tracked_actor in self._waiting or method_name == "stop":
            return None
        actor = self._live_actors_to_ray_actors_resources[tracked_actor][0]
        training = method_name == "train" and actor.done < len(actor.epochs)
        seconds = actor.epochs[actor.done].seconds if training else 0.0

        def happens() -> None:
            answer = getattr(self, f"_{method_name}")(actor, *args)
            if on_result:
                on_result(tracked_actor, answer)

        return self._later(seconds, happens, tracked_actor)

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        for event in self._events:
            event.cancelled |= event.is_task and event.actor == tracked_actor

    def next(self, timeout: float | None = None) -> bool:
        """Start what has a slot, and let the next event happen; False if there is none."""
        while self._waiting and self.num_live_actors < self.slots:
            self._start(next(iter(self._waiting)))
        while self._events:
            event = heapq.heappop(self._events)
            if not event.cancelled:
                self.now, self.idle = event.time, 0
                event.happens()
                return True
        self.idle += 1
        if self.idle > STUCK:
            raise RuntimeError("Tune waits, but nothing is left to happen: no trial runs, and it starts none")
        return False

    def cleanup(self) -> None:
        self.now = 0.0
        self._events.clear()
        self._waiting.clear()
        self._live_actors_to_ray_actors_resources.clear()

    def _later(self, seconds: float, happens: Callable[[], None], actor: TrackedActor, is_task: bool = True) -> _Event:
        event = _Event(self.now + seconds, next(self._numbers), happens, actor, is_task)
        heapq.heappush(self._events, event)
        return event

    def _start(self, actor: TrackedActor) -> None:
        config = _own(self._waiting.pop(actor))
        self._live_actors_to_ray_actors_resources[actor] = (_Actor(config, self.curves(config)), None)
        self._later(0.0, lambda: actor._on_start(actor), actor, is_task=False)

    def _train(self, actor: _Actor) -> dict[str, Any]:
        """An epoch's result, with what Tune adds to it; after the last one, what a function that returns looks like."""
        if actor.done == len(actor.epochs):
            return {**actor.last, RESULT_DUPLICATE: True, DONE: True}
        epoch = actor.epochs[actor.done]
        actor.done += 1
        total = sum(one.seconds for one in actor.epochs[: actor.done])
        actor.last = {
            **epoch.report,
            TRAINING_ITERATION: actor.done,
            "time_this_iter_s": epoch.seconds,
            "time_total_s": total,
            "timestamp": self.now,
            "config": actor.config,
            DONE: False,
        }
        return dict(actor.last)

    def _save(self, actor: _Actor) -> _TrainingResult:
        return _TrainingResult(tune.Checkpoint.from_directory("/"), dict(actor.last))  # a folder that is never read

    def _restore(self, actor: _Actor, checkpoint: _TrainingResult) -> None:
        actor.last = dict(checkpoint.metrics)
        actor.done = int(actor.last[TRAINING_ITERATION])

    def _reset(self, actor: _Actor, config: Mapping[str, Any]) -> bool:
        """The actor is another trial's from now on."""
        config = _own(config)
        actor.config, actor.epochs, actor.done, actor.last = config, self.curves(config), 0, {}
        return True


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's configuration without what Tune tells the actor beside it."""
    return {name: value for name, value in config.items() if name not in (TRIAL_INFO, STDOUT_FILE, STDERR_FILE)}
