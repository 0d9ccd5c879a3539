"""Settings and corpora for the whole suite."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: on models this small, threads wait for each other
# With several threads oneDNN's AVX-512 kernels (torch 2.15) write beyond their memory in the backward pass of
# convolutions with 8 channels, which the tests' models have and no preset has.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

import pytest
from hypothesis import settings

from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus

if TYPE_CHECKING:
    from omr_model.model import TrOMR

settings.register_profile("omr", deadline=None)  # shared machines stall; time is no property of the code
settings.load_profile("omr")


@pytest.fixture(scope="session", autouse=True)
def _workers_are_forked() -> Iterator[None]:
    """Fork the workers of preparations from one process that has imported everything: a tenth of a spawned one's start.

    They are as fresh as spawned ones: nothing of this process but what is pickled reaches them. What a command of its
    own prepares (`tests/end_to_end/`, killed preparations) spawns them as ever.
    """
    multiprocessing.set_forkserver_preload(["pytest", "datasets.conversion"])
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("datasets.workers.multiprocessing", SimpleNamespace(get_context=lambda _: context))
        yield


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 80 short staves of the embedded corpus, prepared once for all tests."""
    folder = tmp_path_factory.mktemp("corpora")
    prepare(PrepareConfig(staff="short", limit=80, corpora=str(folder)), quiet=True)
    return folder


@pytest.fixture(scope="session")
def corpus(corpora: Path) -> PreparedCorpus:
    """Those 80 staves, open."""
    return PreparedCorpus.open(corpora / "engraved-short")


@pytest.fixture(scope="session")
def with_onnx(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrOMR, Path]:
    """A restless model and the folder of its checkpoint, which has `onnx/`; exported once for all tests."""
    from tests.onnx_models import AS_PUBLISHED, save_with_onnx  # torch takes seconds to import

    folder = tmp_path_factory.mktemp("with onnx") / "model"
    return save_with_onnx(AS_PUBLISHED, folder), folder
