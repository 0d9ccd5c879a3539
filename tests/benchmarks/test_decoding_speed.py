"""Greedy decoding with and without the cache of keys and values, and against a teacher-forced pass.

`make bench` prints the ratios of a group in brackets. The models are untrained, so that they write until the
longest sequence, which is where the cache pays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from omr_model.decoding import greedy
from omr_model.model import TrOMR
from omr_model.presets import PRESETS
from omr_model.reading import Reading
from tests.models import random_batch
from tests.slow_decoding import greedy_slowly


@pytest.fixture(scope="module", params=[32, 128], ids=["32 symbols", "128 symbols"])
def model(request: pytest.FixtureRequest) -> TrOMR:
    torch.manual_seed(0)
    model = TrOMR(dataclasses.replace(PRESETS["tiny"].model, max_length=request.param)).eval()
    torch.nn.init.normal_(model.decoder.heads["rhythm"].weight, std=1.0)
    model.decoder.heads["rhythm"].bias.data[:3] = -1e9  # never the end
    return model


@pytest.mark.benchmark(group="decoding 16 staves")
@pytest.mark.parametrize("read_by", [greedy, greedy_slowly], ids=["cached", "uncached"])
def test_decoding(benchmark: BenchmarkFixture, model: TrOMR, read_by: Callable[[TrOMR, Tensor], list[Reading]]) -> None:
    image = random_batch(model.config, staves=16).image
    read = benchmark.pedantic(lambda: read_by(model, image), rounds=5, warmup_rounds=1)
    assert {len(reading.symbols) for reading in read} == {model.config.max_length - 1}
