"""Reading with onnxruntime against torch, one thread each, and torch without its cache of keys and values.

`make bench` prints the ratios of a group in brackets. The model is untrained and never ends a staff, so that each way
writes the longest sequence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from omr_model.decoding import greedy
from omr_model.model import TrOMR
from omr_model.onnx_model import OnnxReader, export_onnx
from omr_model.presets import PRESETS
from tests.slow_decoding import greedy_slowly

STAVES = 16


@pytest.fixture(scope="module")
def model() -> TrOMR:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = TrOMR(PRESETS["tiny"].model).eval()
    model.decoder.heads["rhythm"].bias.data[:3] = -1e9  # never the end
    return model


@pytest.fixture(scope="module")
def exported(model: TrOMR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "model"
    export_onnx(model, folder)
    return folder


@pytest.mark.benchmark(group="reading 16 staves of 31 symbols")
@pytest.mark.parametrize("runtime", ["torch", "torch, no cache", "onnxruntime"])
def test_reading(benchmark: BenchmarkFixture, model: TrOMR, exported: Path, runtime: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (STAVES, 64, 256), dtype=np.uint8)
    reader = OnnxReader(exported, threads=1)

    def read() -> int:
        if runtime == "onnxruntime":
            staves = reader.read(list(images))
        else:
            by_torch = greedy if runtime == "torch" else greedy_slowly
            staves = by_torch(model, torch.from_numpy(images)[:, None])
        return sum(len(staff.symbols) for staff in staves)

    symbols = benchmark.pedantic(read, rounds=7, warmup_rounds=1)
    assert symbols == STAVES * (model.config.max_length - 1)
