"""How many trials share a GPU, by measurements that are pretended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datasets.errors import ConfigError, OmrError
from omr_model.config import TrainingConfig, replace_fields
from search.chronicle import Chronicle
from search.compose import compose
from search.config import BudgetConfig, SearchConfig, TrialConfig
from search.cost import Measurement
from search.memory_order import needs_as_much, size_of
from search.packing import COUNTS, RESERVE, Packing, choose, largest_of, packed
from search.resources import Machine, concurrent_trials, share_of_a_gpu, trial_resources
from search.space import SearchSpace
from tests.driven import DROPOUT, search_config
from tests.models import training
from tests.unit.test_plan import measurement

GIGABYTE = 10**9
BASE = training()
LARGER = replace_fields(BASE, {"model.decoder.depth": 4})
DEPTH = "model.decoder.depth"


# how many trials share a GPU


def pretended(base_bytes: int, larger_bytes: int, gpu_bytes: int, gain: float, asked: list[int] | None = None) -> Any:
    """A GPU on which so many bytes are needed, and `count` trials get `count ** gain` times as much done as one."""

    def meter(wanted: Sequence[TrainingConfig]) -> list[Measurement]:
        if asked is not None:
            asked.append(len(wanted))
        needed = [larger_bytes if one == LARGER else base_bytes for one in wanted]
        if sum(needed) > gpu_bytes:
            raise ConfigError("the GPU has not the memory for it")
        slower = len(wanted) ** (1 - gain)
        return [
            measurement(
                memory_bytes=one,
                memory_limit_bytes=gpu_bytes,
                staves_per_second=100.0 / slower,
                scored_per_second=150.0 / slower,
                checkpoint_seconds=1.0 * slower,
            )
            for one in needed
        ]

    return meter


def test_as_many_as_pay() -> None:
    found = choose(pretended(18 * GIGABYTE, 20 * GIGABYTE, 139 * GIGABYTE, gain=0.8), BASE, LARGER, 16, "a GPU")
    assert found == Packing(
        trials=6, throughput=pytest.approx(6**0.8), memory_bytes=20 * GIGABYTE, gpu_bytes=139 * GIGABYTE, gpu="a GPU"
    )
    assert str(found) == "6 trials a GPU: 4.2 times the throughput of one; 20 of 139 GB each (a GPU)"
    assert found.share == 0.1666


def test_what_does_not_pay_is_not_tried_further() -> None:
    asked: list[int] = []
    found = choose(pretended(GIGABYTE, GIGABYTE, 139 * GIGABYTE, gain=0.05, asked=asked), BASE, LARGER, 16)
    assert asked == [1, 1, 2]
    assert (found.trials, found.throughput) == (1, 1.0)
    assert "1 trial a GPU" in str(found)


def test_the_largest_setting_may_fail_alone_but_the_base_may_not() -> None:
    found = choose(pretended(30 * GIGABYTE, 200 * GIGABYTE, 100 * GIGABYTE, gain=1), BASE, LARGER, 16)
    assert found.trials == 3
    with pytest.raises(OmrError, match="has not the memory"):
        choose(pretended(101, 101, 100, gain=1), BASE, LARGER, 16)


def test_memory_that_is_seen_only_beside_others_counts() -> None:
    plain = pretended(10, 10, 100, gain=1)

    def meter(wanted: Sequence[TrainingConfig]) -> list[Measurement]:
        return [replace(one, memory_bytes=30 if len(wanted) >= 4 else 10) for one in plain(wanted)]

    assert choose(meter, BASE, BASE, 16).trials == 3


sizes = st.integers(1, 200)


@given(base=sizes, more=st.integers(0, 100), gpu=st.integers(200, 400), most=st.integers(1, 12), gain=st.floats(0, 1.1))
def test_the_choice_fits_and_never_grows_with_what_is_needed(
    base: int, more: int, gpu: int, most: int, gain: float
) -> None:
    found = choose(pretended(base, base + more, gpu, gain), BASE, LARGER, most)
    assert 1 <= found.trials <= max(1, most)
    assert found.trials == 1 or found.trials * found.memory_bytes <= (1 - RESERVE) * gpu
    assert found.throughput >= 1
    assert found.memory_bytes >= base
    assert choose(pretended(base + 1, base + 1 + more, gpu + 1, gain), BASE, LARGER, most).trials <= (
        choose(pretended(base, base + more, gpu + 1, gain), BASE, LARGER, most).trials
    )
    assert choose(pretended(base, base + more, 2 * gpu, gain), BASE, LARGER, most).trials >= found.trials


@pytest.mark.parametrize("count", [1, *COUNTS])
def test_so_many_shares_are_one_gpu_to_ray_and_to_us(count: int) -> None:
    share = share_of_a_gpu(count)
    assert round(share * 10_000) * count <= 10_000
    config = SearchConfig(trial=TrialConfig(gpus=share, cpus=1))
    assert concurrent_trials(Machine(64, 2), *trial_resources(config, Machine(64, 2))) == 2 * count


# trial.gpus=auto


def auto(studies: Path, **fields: Any) -> SearchConfig:
    return search_config(studies, trial=TrialConfig(gpus="auto"), **fields)


def test_it_is_measured_once_a_study_and_gpu(tmp_path: Path) -> None:
    config, said, asked = auto(tmp_path), list[str](), list[int]()
    space = SearchSpace(config.space, config.training())
    meter = pretended(10, 10, 100, 1.0, asked)
    config = replace(config, cluster=replace(config.cluster, cpus=32, gpus=2))
    found, packing = packed(config, space, tmp_path, ["one", "one"], said.append, meter)
    assert packing is not None
    assert (found.trial.gpus, packing.trials, packing.gpu) == (0.125, 8, "one")
    config.folder().mkdir()
    Chronicle(config.folder()).begin("code", "command", {}, [], {}, asdict(packing))
    before = list(asked)
    assert packed(config, space, tmp_path, ["one", "one"], said.append, meter) == (found, packing)
    assert asked == before
    packed(config, space, tmp_path, ["other"], said.append, meter)
    assert asked != before
    assert said[1] == said[2] == str(packing)


def test_cores_and_budget_limit_it(tmp_path: Path) -> None:
    config = auto(tmp_path, budget=BudgetConfig(trials=3))
    space = SearchSpace(config.space, config.training())
    for cpus, trials in ((32, 3), (4, 2)):
        limited = replace(config, cluster=replace(config.cluster, cpus=cpus, gpus=2))
        found, _ = packed(limited, space, tmp_path, ["one", "one"], str, pretended(1, 1, 100, 1.0))
        assert concurrent_trials(Machine(99, 1), 1, float(found.trial.gpus or 0)) == trials


def test_without_a_gpu_it_is_none_and_said(tmp_path: Path) -> None:
    config, said = auto(tmp_path), list[str]()
    space = SearchSpace(config.space, config.training())
    assert packed(config, space, tmp_path, [], said.append) == (replace(config, trial=TrialConfig()), None)
    assert "no GPU here" in said[0]
    number = replace(config, trial=TrialConfig(gpus=0.5))
    assert packed(number, space, tmp_path, ["one"], said.append) == (number, None)


def test_a_number_and_auto_come_from_the_command_line_and_nothing_else() -> None:
    assert compose(["model=tiny", "trial.gpus=auto"]).trial.gpus == "auto"
    assert compose(["model=tiny", "trial.gpus=0.5"]).trial.gpus == 0.5
    assert compose(["model=tiny", "trial.gpus=2"]).trial.gpus == 2
    assert compose(["model=tiny", "trial.gpus=null"]).trial.gpus is None
    with pytest.raises(ConfigError, match=r"trial\.gpus=atuo: there are a number, auto and null"):
        compose(["model=tiny", "trial.gpus=atuo"])
    unmeasured = SearchConfig(trial=TrialConfig(gpus="auto"))
    assert trial_resources(unmeasured, Machine(8, 2)) == (4, 1.0)
    assert trial_resources(unmeasured, Machine(8, 0)) == (1, 0.0)


def test_the_largest_setting_of_a_space() -> None:
    config = compose(["model=tiny", "space=depth"])
    space = SearchSpace(config.space, config.training())
    largest = largest_of(space, seed=0)
    assert largest.model.encoder.depth > config.model.encoder.depth
    assert largest_of(space, seed=0) == largest


# what needs as much memory as what


@settings(max_examples=10, phases=[Phase.generate], deadline=None)
@given(depth=st.integers(1, 6), wide=st.sampled_from([32, 64]), batch=st.integers(1, 64), more=st.integers(0, 3))
def test_a_larger_one_needs_at_least_as_much(depth: int, wide: int, batch: int, more: int) -> None:
    fields = {DEPTH: depth, "model.embedding": wide, "train.batch_size": batch}
    one = replace_fields(BASE, fields)
    larger = replace_fields(one, {DEPTH: depth + more, "optimizer.learning_rate": 0.01, DROPOUT: 0.3})
    assert needs_as_much(one, one)
    assert needs_as_much(larger, one)
    assert needs_as_much(one, larger) is (more == 0)
    assert size_of(larger) >= size_of(one)
    other = replace_fields(larger, {"train.batch_size": batch + 1, DEPTH: depth})
    assert needs_as_much(other, larger) is (more == 0)  # larger in one thing, smaller in another
    assert not needs_as_much(replace_fields(larger, {"model.vocabulary": "reduced"}), one)
