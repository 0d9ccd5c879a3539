"""Trials with several GPUs: what they ask for, what is refused, and which of several processes' errors is told."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from datasets.errors import ConfigError, DivergedError
from omr_model.config import TrainConfig, TrainingConfig
from omr_model.parallel import BY_ITSELF, Parallel, ShareOfOrder, StoppedError
from search.config import SearchConfig, TrialConfig
from search.engine import distributed, observer, trial
from search.engine.distributed import SECONDS_TO_END, SECONDS_TO_FOLLOW, SECONDS_TO_TELL, Ended, How, Team
from search.engine.elastic import nodes_may_die
from search.engine.placement import request_of
from search.engine.trial import TrialJob, WorkerDiedError
from search.resources import Machine, concurrent_trials, on_its_device, processes_of, trial_resources

MACHINE = Machine(cpus=16, gpus=4)
OWN = torch.OutOfMemoryError("CUDA out of memory")
LOST = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
DIED = Ended(How.DIED, WorkerDiedError("process 1 of the trial has died"))


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (TrialConfig(gpus=2), (8, 2.0, 2)),
        (TrialConfig(gpus=4), (16, 4.0, 1)),
        (TrialConfig(gpus=2, cpus=2), (2, 2.0, 2)),
        (TrialConfig(gpus=3), (12, 3.0, 1)),
    ],
)
def test_what_a_trial_gets(trial: TrialConfig, expected: tuple[int, float, int]) -> None:
    batch_size = 12  # of which two, three and four have equal shares
    cpus, gpus = trial_resources(SearchConfig(trial=trial, train=TrainConfig(batch_size=batch_size)), MACHINE)
    assert (cpus, gpus, concurrent_trials(MACHINE, cpus, gpus)) == expected


@pytest.mark.parametrize(
    ("trial", "batch_size", "message"),
    [
        (TrialConfig(gpus=8), 16, r"^trial\.gpus=8: there are 4 GPUs$"),
        (TrialConfig(gpus=1.5), 16, r"^trial\.gpus=1\.5: it is a part of one GPU, or a whole number of them$"),
        (TrialConfig(gpus=4, cpus=3), 16, r"^trial\.cpus=3: a trial on 4 GPUs is 4 processes, and each has a core$"),
        (TrialConfig(gpus=4), 18, r"^train\.batch_size=18: a trial's 4 GPUs share every batch; .* multiple of 4$"),
    ],
)
def test_what_is_refused(trial: TrialConfig, batch_size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trial_resources(SearchConfig(trial=trial, train=TrainConfig(batch_size=batch_size)), MACHINE)


def test_a_bundle_for_each_process_and_none_for_the_one_that_looks_after_them() -> None:
    request = request_of(9, 4.0)
    assert request.bundles == [{"CPU": 2.0, "GPU": 1.0}] * 4  # type: ignore[union-attr]
    assert request.head_bundle_is_empty  # type: ignore[union-attr]
    assert request.strategy == "PACK"  # type: ignore[union-attr]


def test_loaders_share_the_cores_of_their_process() -> None:
    training = SearchConfig(train=TrainConfig(workers=8)).training()
    assert on_its_device(training, 8, 2.0).train.workers == 3
    assert [processes_of(gpus) for gpus in (0, 0.25, 1.0, 4.0)] == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("errors", "told", "patience"),
    [
        ([None, None], None, SECONDS_TO_END),
        ([DivergedError("no number"), DivergedError("no number")], "no number", SECONDS_TO_END),
        ([LOST, OWN], "CUDA out of memory", SECONDS_TO_FOLLOW),
        ([OWN, StoppedError("ended")], "CUDA out of memory", SECONDS_TO_FOLLOW),
        ([LOST, DIED], "process 1 of the trial has died", SECONDS_TO_FOLLOW),
        ([LOST], "Connection closed by peer", SECONDS_TO_TELL),
    ],
)
def test_the_cause_is_told_and_not_what_it_did_to_others(
    errors: list[BaseException | Ended | None], told: str | None, patience: float
) -> None:
    ended = [one if isinstance(one, Ended) else Ended.by(one) for one in errors]
    cause = distributed._cause(ended)
    assert (cause is None) if told is None else (told in str(cause))
    assert distributed._patience(ended) == patience


def test_processes_that_only_lost_each_other_are_begun_again() -> None:
    assert isinstance(distributed._cause([Ended.by(LOST), Ended.by(LOST)]), WorkerDiedError)
    no_route = Ended.by(torch.distributed.DistNetworkError("no route"))
    assert isinstance(distributed._cause([no_route]), WorkerDiedError)


def test_how_a_process_has_ended() -> None:
    all_know = [None, DivergedError("no number"), StoppedError("ended"), distributed._Told()]
    assert [Ended.by(error).how for error in all_know] == [How.AGREED, How.AGREED, How.FOLLOWED, How.FOLLOWED]
    by_itself = [LOST, torch.distributed.DistBackendError("NCCL"), OWN, RuntimeError("shapes")]
    assert [Ended.by(error).how for error in by_itself] == [How.LOST, How.LOST, How.ALONE, How.ALONE]


def died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


class Group:
    """Ray Train's group of workers; a process of it has died since the last trial."""

    def __init__(self, death: Exception) -> None:
        self.death = death
        self.ended = False
        place = SimpleNamespace(begin=SimpleNamespace(remote=lambda *_: self.death))
        self.workers = [SimpleNamespace(actor=place)]

    def shutdown(self, patience_s: float) -> None:
        assert patience_s == 0
        self.ended = True


def test_a_place_that_died_between_trials_fails_one_trial_and_not_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def get(waiting: list[Exception]) -> None:
        raise waiting[0]

    monkeypatch.setattr(distributed.ray, "get", get)
    group = Group(died("The actor died because its node has died."))
    team = Team.__new__(Team)
    team.alive, team.group = True, group  # type: ignore[assignment]
    team.places = [worker.actor for worker in group.workers]
    job = TrialJob(TrainingConfig(), tmp_path, 1, tmp_path, processes=1)
    with pytest.raises(WorkerDiedError, match="its node has died") as caught:
        team.train({}, job, [], lambda *_: None)
    assert caught.value.death is group.death
    assert not team.alive, "the next trial makes another"
    assert group.ended


def test_a_team_that_cannot_be_started_is_one_whose_process_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise death

    death = died("The actor died because its node has died.")
    monkeypatch.setattr(distributed, "get_current_placement_group", lambda: None)
    monkeypatch.setattr(distributed, "WorkerGroup", start)
    with pytest.raises(WorkerDiedError, match="did not find each other: The actor died") as caught:
        Team(2)
    assert caught.value.death is death


@pytest.mark.parametrize(
    ("death", "counted"),
    [
        (died("The actor died because its node has died."), 0),
        (ActorUnavailableError("Socket closed", None), 0),
        (died("The worker process has died"), 1),
        (None, 1),  # they have lost each other, and nobody knows why
    ],
)
def test_the_death_of_another_places_node_is_not_the_trials(
    death: RayActorError | None, counted: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Tune's process of the trial is alive; it raises what Tune knows for a death."""

    def train(*_: object) -> None:
        raise WorkerDiedError("process 1 of the trial has died", death)

    monkeypatch.setattr(trial, "_train", train)
    with pytest.raises((RayActorError, RuntimeError)) as caught:
        trial.train_trial({}, TrialJob(TrainingConfig(), tmp_path, 1, tmp_path, processes=2))
    text = "".join(traceback.format_exception(caught.value))
    assert "process 1 of the trial has died" in text
    travelled = pickle.loads(pickle.dumps(RayTaskError("train", text, caught.value, "trial", 1, "127.0.0.1")))
    storage: Any = SimpleNamespace(trial_driver_staging_path=str(tmp_path))
    of_tune: Any = Trial("no-trainable", stub=True, storage=storage)
    with nodes_may_die():
        of_tune.handle_error(travelled.as_instanceof_cause())
    assert of_tune.num_failures == counted
    assert (str(death) if death else "process 1 of the trial has died") in observer._reason(of_tune)


def test_an_error_travels_without_its_frames() -> None:
    class LocalError(Exception):
        """Of a class that no other process knows."""

    try:
        raise LocalError("here")
    except LocalError as error:
        carried = distributed._portable(error)
    assert str(carried) == "LocalError: here"
    assert isinstance(distributed._portable(OWN), torch.OutOfMemoryError)


def test_shares_are_the_whole() -> None:
    for world in (1, 2, 3, 4):
        for size in (0, 1, 5, 12):
            shares = [Parallel(rank, world).share(range(size)) for rank in range(world)]
            assert [one for share in shares for one in share] == list(range(size))


def test_alone_everything_does_nothing() -> None:
    model, own = torch.nn.Linear(2, 2), torch.ones(3)
    assert BY_ITSELF.wrap(model) is model
    assert BY_ITSELF.gather("own") == ["own"]
    assert torch.equal(BY_ITSELF.sum(own), own)
    with BY_ITSELF.first_alone() as first:
        assert first
    with pytest.raises(KeyError), BY_ITSELF.first_alone():
        raise KeyError


def test_a_rank_draws_its_share_of_every_batch() -> None:
    order = [[1, 2, 3, 4], [5, 6, 7, 8]]
    shares = ShareOfOrder(order, Parallel(1, 2))  # type: ignore[arg-type]
    assert len(shares) == 2
    assert list(shares) == [[3, 4], [7, 8]]
