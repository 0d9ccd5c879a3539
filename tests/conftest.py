"""Settings and corpora for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on models this small, threads wait for each other

import pytest
from hypothesis import settings

from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from datasets.shards import PreparedCorpus

settings.register_profile("omr", deadline=None)  # shared machines stall; time is no property of the code
settings.load_profile("omr")


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
