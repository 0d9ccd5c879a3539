"""Staves a second that one loader worker makes at the paper's size: decoded, distorted and collated in batches of 16.

`make bench` prints the ratios of a group in brackets; `staves_per_second` stands in the printed extra information.
A training needs as many staves a second as its model learns, and so many workers more as one makes too few. The
worker's other choice, to leave the effects to the device, is measured with the share that is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus
from datasets.vocabulary import vocabulary
from omr_model.config import MixConfig
from omr_model.data import StaffDataset, TrainingStaves, collate
from omr_model.mix import Draw
from omr_model.model import Batch

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
BATCH, BATCHES = 16, 4
LOADERS = {
    "clean": MixConfig(),
    "distorted": MixConfig(distortion=1.0),
    "left to the device": MixConfig(distortion=1.0, distort_on="device"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StaffDataset:
    """Some staves of 128 x 1280."""
    folder = tmp_path_factory.mktemp("corpora")
    prepare(PrepareConfig(staff="full", limit=24, corpora=str(folder)), quiet=True)
    return StaffDataset(PreparedCorpus.open(folder / "engraved-full").staves("train"), vocabulary("full"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in a loader's worker."""
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads)
    cv2.setNumThreads(of_opencv)


def batches(samples: TrainingStaves) -> list[Batch]:
    draws = [Draw(number % len(samples), cut=False, seed=number) for number in range(BATCH * BATCHES)]
    return [collate([samples[draw] for draw in draws[first : first + BATCH]]) for first in range(0, len(draws), BATCH)]


@pytest.mark.benchmark(group="loading 64 staves of 128 x 1280")
@pytest.mark.parametrize("name", LOADERS)
def test_one_worker(benchmark: BenchmarkFixture, data: StaffDataset, name: str) -> None:
    samples = TrainingStaves(data, LOADERS[name])
    made = benchmark.pedantic(batches, args=(samples,), rounds=5, warmup_rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["staves_per_second"] = round(BATCH * BATCHES / benchmark.stats.stats.median)
    assert {batch.image.shape for batch in made} == {(BATCH, 1, 128, 1280)}


@pytest.mark.benchmark(group="effects on a batch of 16 staves, by torch")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_one_batch_by_torch(benchmark: BenchmarkFixture, data: StaffDataset, device: str) -> None:
    batch = batches(TrainingStaves(data, LOADERS["left to the device"]))[0].to(device)

    def made() -> torch.Tensor:
        return batch.photographed().image.cpu()  # which waits for the device

    image = benchmark.pedantic(made, rounds=5, warmup_rounds=1)
    assert image.shape == batch.image.shape
