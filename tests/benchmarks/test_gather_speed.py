"""How long a large study takes to gather: `pytest tests/benchmarks --benchmark-enable`.

10,000 trials of 50 epochs are 630 MB of journal. The normal suite runs it once, at a hundredth of the size;
`tests.benchmarks.gather_growth` says how time and memory grow.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from results.gather import gather
from tests.benchmarks.gather_growth import made

EPOCHS = 50
TRIALS, TRIALS_IN_SUITE = 10_000, 100


def test_gathers_a_large_study(tmp_path: Path, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    disabled = request.config.getoption("benchmark_disable") and not request.config.getoption("benchmark_enable")
    trials = TRIALS_IN_SUITE if disabled else TRIALS
    folder = made(tmp_path, trials, EPOCHS)
    tables = benchmark.pedantic(gather, args=(folder,), rounds=1)
    assert tables.epochs.num_rows == trials * EPOCHS
