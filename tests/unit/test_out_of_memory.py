"""What becomes of a trial that ran out of a GPU's memory beside others, and how processes give memory back."""

from __future__ import annotations

import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datasets.errors import CorpusError
from datasets.shards import PreparedCorpus
from results.journal import SessionStarted, TrialEnded, TrialStarted
from search.config import BudgetConfig, ParameterConfig, SchedulerConfig, SearchConfig, SpaceConfig, TrialConfig
from search.engine import trial
from search.engine.corpus_cache import kept_corpus
from search.engine.memory import SECONDS_TO_BE_FREED, wait_for_memory
from search.engine.placement import request_of
from search.outcome import Outcome
from search.resources import let_memory_grow
from tests.driven import DROPOUT, RATE, Session, cut, events, search_config, stories, told, trained
from tests.models import training

GIGABYTE = 10**9
BASE = training()
DEPTH = "model.decoder.depth"


# out of memory


class Crowded(Session):
    """Beside others, decoders of two blocks run out of memory in their third epoch; of three blocks even alone."""

    def epoch(self, trial: Any) -> bool:
        depth, alone = trial.config["settings"][DEPTH], trial.config.get("alone", False)
        if trial.epoch == 2 and depth >= (3 if alone else 2):
            what = "failed" if alone else "out_of_memory"
            return self._told(trial, {"epoch": 0, "ser": 10.0, what: "peak 70 GB of the 139 GB"}, last=True)
        return super().epoch(trial)


def crowded(studies: Path, **fields: Any) -> SearchConfig:
    space = SpaceConfig(
        parameters={
            "rate": ParameterConfig(target=RATE, low=1e-5, high=1e-1, log=True),
            "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
            "depth": ParameterConfig(target=DEPTH, kind="int", low=1, high=3),
        }
    )
    return search_config(studies, **({"space": space, "trial": TrialConfig(gpus=0.5)} | fields))


def ran_alone(folder: Path) -> list[tuple[int, bool]]:
    """Of each start, in order: which trial, and whether alone."""
    return [(one.number, one.alone) for one in events(folder) if isinstance(one, TrialStarted)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    config = crowded(tmp_path_factory.mktemp("whole"), scheduler=SchedulerConfig(name="none"))
    assert Crowded(config).run() == Outcome.FINISHED
    return config


def test_who_ran_out_of_memory_goes_on_alone_and_so_do_those_that_need_as_much(whole: SearchConfig) -> None:
    end, starts = stories(whole.folder()), ran_alone(whole.folder())
    depths = {number: story.settings[DEPTH] for number, story in end.items()}
    assert set(depths.values()) == {1, 2, 3}, "the seed draws all three"
    short = [int(one.trial_id) for one in events(whole.folder()) if isinstance(one, TrialEnded) and one.out_of_memory]
    assert {depths[number] for number in short} <= {2, 3}
    for number, depth in depths.items():
        mine = [alone for one, alone in starts if one == number]
        assert end[number].state == ("failed" if depth == 3 else "completed")
        if depth == 1:
            assert mine == [False]
        elif number in short:
            assert mine == [False, True]
        else:  # one before it told that it would not fit
            assert mine == [True]
            assert any(depths[one] <= depth for one in short if one < number)
    assert len(set(trained(whole.folder()))) == len(trained(whole.folder())), "from its checkpoint"


def test_optuna_hears_once_how_each_of_them_ended(whole: SearchConfig) -> None:
    session = Session(whole)
    states = {number: state.name for state, *_, number, _ in told(session.study)}
    expected = {"completed": "COMPLETE", "failed": "FAIL"}
    assert states == {number: expected[story.state] for number, story in stories(whole.folder()).items()}


@settings(max_examples=8, phases=[Phase.generate], deadline=None)
@given(count=st.integers(1, 60))
def test_told_again_the_journal_leads_to_the_same_decisions(
    count: int, whole: SearchConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = crowded(tmp_path_factory.mktemp("cut"), scheduler=SchedulerConfig(name="none"))
    cut(whole.folder(), config, count)
    assert Crowded(config).run() == Outcome.FINISHED
    assert stories(config.folder()) == stories(whole.folder())
    assert set(ran_alone(config.folder())) == set(ran_alone(whole.folder()))


@pytest.mark.parametrize("name", ["none", "promotion"])
def test_the_last_one_that_runs_may_still_run_out_of_memory(name: str, tmp_path: Path) -> None:
    config = crowded(tmp_path, scheduler=SchedulerConfig(name=name, grace_epochs=2))
    assert Crowded(config).run(slots=3) == Outcome.FINISHED
    end = stories(config.folder())
    assert len(end) == 8
    allowed = {"completed", "failed", "pruned"} | ({"paused"} if name == "promotion" else set())
    assert {story.state for story in end.values()} <= allowed
    ends = {one.trial_id: one for one in events(config.folder()) if isinstance(one, TrialEnded)}
    assert not [one for one in ends.values() if one.out_of_memory], "each of them was gone on with"


def test_as_long_as_one_waits_for_an_empty_gpu_nothing_begins(tmp_path: Path) -> None:
    config = crowded(tmp_path, scheduler=SchedulerConfig(name="none"), budget=BudgetConfig(trials=4))
    session = Crowded(config)
    first, second = session.begin(), session.begin()
    end = {"epoch": 0, "ser": 10.0, "out_of_memory": "peak"}
    session._told(first, end, last=True)
    waiting = session.searcher.suggest("waits")
    assert isinstance(waiting, dict)
    assert (waiting["number"], waiting["alone"]) == (0, True)
    assert session.searcher.suggest("third") is None
    while session.epoch(second):
        pass
    assert session.searcher.suggest("third") is None
    session.searcher.on_trial_complete("waits", None)  # cut off: it has never begun
    assert isinstance(session.searcher.suggest("third"), dict)


def test_a_whole_gpu_is_shared_with_nobody(tmp_path: Path) -> None:
    config = crowded(tmp_path, trial=TrialConfig(gpus=1), budget=BudgetConfig(trials=2))
    session = Session(config)
    session.run()
    assert not any(alone for _, alone in ran_alone(config.folder()))


def test_older_journals_are_read() -> None:
    assert TrialStarted("0000", 0, 1, {}, 0.0).alone is False
    assert TrialEnded("0000", "paused", "", 0.0).out_of_memory is False
    assert SessionStarted(1, "", "", {}, [], 0.0).packing == {}


# the whole way, and back: what torch says, to what Tune is told


@pytest.mark.parametrize(
    ("shared", "alone", "told_as"), [(True, False, "out_of_memory"), (True, True, "failed"), (False, False, "failed")]
)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_who_runs_out_of_memory_is_told_apart(
    error: Exception, shared: bool, alone: bool, told_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[dict[str, Any]] = []

    def train(*_: object) -> None:
        raise error

    monkeypatch.setattr(trial, "_train", train)
    monkeypatch.setattr(trial.tune, "report", reports.append)
    monkeypatch.setattr(trial, "memory_told", lambda: "peak 70 GB of the 139 GB of a GPU")
    job = trial.TrialJob(BASE, tmp_path, 1, tmp_path, shared=shared)
    trial.train_trial({"alone": True} if alone else {}, job)
    assert reports == [
        {"epoch": 0, "ser": 10.0, told_as: f"{type(error).__name__}: {error}; peak 70 GB of the 139 GB of a GPU"}
    ]


def test_the_model_of_a_trial_that_failed_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        pass

    models: list[weakref.ref[Model]] = []
    alive: list[bool] = []

    def train(*_: object) -> None:
        model = Model()
        models.append(weakref.ref(model))
        raise RuntimeError("no matter what")

    monkeypatch.setattr(trial, "_train", train)
    monkeypatch.setattr(trial.tune, "report", lambda _: alive.append(models[0]() is not None))
    trial.train_trial({}, trial.TrialJob(BASE, tmp_path, 1, tmp_path))
    assert alive == [False]


def test_a_process_reads_a_corpus_once_as_long_as_its_files_are_the_same(
    corpus: PreparedCorpus, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(corpus.path, folder)
    first = kept_corpus(folder)
    assert kept_corpus(folder) is first
    shard = folder / first.manifest.shards[0].file
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(CorpusError, match="its hash differs"):
        kept_corpus(folder)
    shard.unlink()
    with pytest.raises(CorpusError, match="missing"):
        kept_corpus(folder)


def test_users_own_settings_of_memory_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "PYTORCH_CUDA_ALLOC_CONF"
    for set_before, expected in (
        ({}, "expandable_segments:True"),
        ({name: "x"}, "x"),
        ({"PYTORCH_ALLOC_CONF": "y"}, None),
    ):
        monkeypatch.setattr("os.environ", dict(set_before))
        let_memory_grow()
        assert os.environ.get(name) == expected


def test_a_trial_asks_ray_for_its_share_or_for_all() -> None:
    assert request_of(2, 1.0) == {"cpu": 2, "gpu": 1.0}
    assert request_of(2, 0.0) == {"cpu": 2, "gpu": 0.0}
    request = request_of(2, 0.25)
    assert callable(request)
    assert request({}).required_resources == {"CPU": 2, "GPU": 0.25}
    assert request({"alone": True}).required_resources == {"CPU": 2, "GPU": 1}


# waiting for memory


def test_a_trial_waits_for_memory_but_not_for_ever() -> None:
    free, slept = iter([10, 20, 95]), list[float]()
    assert wait_for_memory(90, lambda: (next(free), 100), slept.append) is None
    assert len(slept) == 2
    slept.clear()
    note = wait_for_memory(None, lambda: (10 * GIGABYTE, 139 * GIGABYTE), slept.append)
    assert note == "begins with 10 of 139 GB of the GPU free; wanted: 125"
    assert sum(slept) == pytest.approx(SECONDS_TO_BE_FREED, abs=1)
    assert wait_for_memory(10**15, lambda: (95, 100), slept.append) is None  # more than there is cannot be waited for


def test_without_a_gpu_nobody_waits() -> None:
    assert wait_for_memory(None) is None
