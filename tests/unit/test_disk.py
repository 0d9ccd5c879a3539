"""Room on the disk: estimates against files that were really written, and refusals that say what to do."""

from __future__ import annotations

import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from datasets.errors import ConfigError, StudyError
from omr_model.model import TrOMR
from omr_model.optimizer import adamw
from omr_model.presets import PRESETS
from search import disk
from search.config import (
    BudgetConfig,
    ClusterConfig,
    ConfirmConfig,
    DiskConfig,
    ParameterConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)

ROOM = disk.Parts(weights=10**8, resume=2 * 10**8, abreast=4)
TINY = PRESETS["tiny"]


DROPOUT = SpaceConfig(parameters={"dropout": ParameterConfig(target="model.decoder.dropout", low=0.0, high=0.5)})


def tiny(**fields: object) -> SearchConfig:
    given = {name: getattr(TINY, name) for name in ("model", "loss", "optimizer", "train")}
    return SearchConfig(**given | {"space": DROPOUT} | fields)


def test_the_estimate_is_near_what_is_written(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = TrOMR(TINY.model)
    optimizer = adamw(model, TINY.optimizer)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "weights")
    torch.save({"optimizer": optimizer.state_dict(), "torch_rng": torch.get_rng_state()}, tmp_path / "resume")
    parts = disk.measured(tiny(cluster=ClusterConfig(cpus=3, gpus=0)), [TINY.model])
    assert parts.weights == pytest.approx((tmp_path / "weights").stat().st_size, rel=0.01)
    assert parts.resume == pytest.approx((tmp_path / "resume").stat().st_size, rel=0.01)
    assert parts.abreast == 3


def test_the_largest_model_of_the_space_counts() -> None:
    depth = SpaceConfig(parameters={"depth": ParameterConfig(target="model.decoder.depth", kind="int", low=2, high=6)})
    models = disk._models(tiny(space=depth))
    assert models[0] == TINY.model
    assert {model.decoder.depth for model in models} == {2, 3, 4, 5, 6}
    config = tiny(cluster=ClusterConfig(cpus=2, gpus=0))
    assert disk.measured(config, models).weights > 1.5 * disk.measured(config, models[:1]).weights


def test_a_process_of_its_own_says_the_same() -> None:
    config = tiny(cluster=ClusterConfig(cpus=2, gpus=0))
    assert disk.estimate(config) == disk.total(config, disk.measured(config, [config.model]))


def test_where_it_cannot_be_told_there_is_none() -> None:
    with pytest.raises(ConfigError, match=r"trial\.cpus=2"):
        disk.measured(tiny(cluster=ClusterConfig(cpus=1, gpus=0), trial=TrialConfig(cpus=2)), [])
    assert disk.estimate(tiny(space=SpaceConfig())) is None


def search(**fields: object) -> SearchConfig:
    """Sixty-four trials of 16 epochs, of which asha trains about one in four to the end."""
    given = {"budget": BudgetConfig(trials=64), "confirm": ConfirmConfig(top=0), **fields}
    return replace(tiny(), train=replace(TINY.train, epochs=16), **given)


@pytest.mark.parametrize(
    ("config", "gigabytes"),
    [
        (search(scheduler=SchedulerConfig(name="none")), 64 * 0.2 + 4 * 0.7 + 0.1),
        (search(), 17 * 0.2 + 4 * 0.7 + 0.1),
        (search(scheduler=SchedulerConfig(name="promotion")), 17 * 0.2 + 64 * 0.7 + 0.1),
        (search(confirm=ConfirmConfig(top=2, rounds=3)), (17 + 9) * 0.2 + 4 * 0.7 + 0.1),
        (search(scheduler=SchedulerConfig(name="pbt"), confirm=ConfirmConfig()), 64 * 0.2 + 64 * 0.7 + 0.1),
        (search(disk=DiskConfig(cap=5.0)), 5.0),
        (search(disk=DiskConfig(cap=1.0)), 4 * 0.7 + 3 * 0.1),  # what must stay, must stay
        (search(budget=BudgetConfig(trials=None, epochs=32), scheduler=SchedulerConfig(name="none")), 2 * 0.9 + 0.1),
    ],
)
def test_what_a_search_takes(config: SearchConfig, gigabytes: float) -> None:
    assert disk.total(config, ROOM).total == pytest.approx(gigabytes * 1e9, rel=0.02)


def test_a_search_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage(0, 0, int(8.09e9)))  # noqa: ARG005
    studies = tmp_path / "not" / "there" / "yet"
    disk.check_room(studies, 7.08e9, 1e9)
    with pytest.raises(StudyError) as refused:
        disk.check_room(studies, 15.2e9, 1e9)
    message = str(refused.value)
    assert "needs about 15.2 GB and 1 GB are to stay free (disk.reserve), but there are 8.09 GB" in message
    assert "set a cap (disk.cap=7), take fewer trials (budget.trials) or another folder (paths.studies)" in message
    with pytest.raises(StudyError, match=r"8\.09 GB; take fewer trials"):
        disk.check_room(studies, 15.2e9, 8.05e9)


def test_what_a_search_that_goes_on_has_already_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage(0, 0, int(2e9)))  # noqa: ARG005
    disk.check_room(tmp_path, 5.9e9, 1e9, there=5 * 10**9)
    disk.check_room(tmp_path, 5.9e9, 1e9, there=7 * 10**9)
    with pytest.raises(StudyError) as refused:
        disk.check_room(tmp_path, 6.5e9, 1e9, there=5 * 10**9)
    assert str(refused.value).endswith(
        "needs about 1.5 GB more and 1 GB are to stay free (disk.reserve), but there are 2 GB; set a cap (disk.cap=6), "
        "make room"
    )


def test_the_bytes_under_a_folder_whatever_vanishes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.bytes_under(tmp_path / "none") == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, size in (("one", 3), ("a/two", 5), ("a/b/gone", 7)):
        (tmp_path / name).write_bytes(bytes(size))
    assert disk.bytes_under(tmp_path) == 15
    walk = list(os.walk(tmp_path))
    (tmp_path / "a" / "b" / "gone").unlink()
    monkeypatch.setattr(disk.os, "walk", lambda _: walk)
    assert disk.bytes_under(tmp_path) == 8


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert disk.free_bytes(tmp_path / "a" / "b") == pytest.approx(disk.free_bytes(tmp_path), rel=0.05)


class _Broken:
    """A pool of processes that breaks when it is left, as where multiprocessing's own helper has died."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> _Broken:
        return self

    def submit(self, *_: object) -> Any:
        return SimpleNamespace(result=lambda: disk.Parts(1, 1, 1))

    def __exit__(self, *_: object) -> None:
        raise BrokenPipeError


def test_an_estimate_whose_process_breaks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "ProcessPoolExecutor", _Broken)
    assert disk.estimate(tiny()) is None
