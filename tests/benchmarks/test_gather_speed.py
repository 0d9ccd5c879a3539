"""How long a large study takes to gather: `pytest tests/benchmarks --benchmark-enable`.

10,000 trials of 50 epochs are 630 MB of journal and took 14 s of one core, most of it to parse JSON. The normal
suite runs it once, at a hundredth of the size.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from results.gather import gather
from results.journal import to_line
from results.study import EVENTS_FILE
from tests.studies import FakeTrial, events_of, make_study

EPOCHS = 50
TRIALS, TRIALS_IN_SUITE = 10_000, 100


def test_gathers_a_large_study(tmp_path: Path, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    disabled = request.config.getoption("benchmark_disable") and not request.config.getoption("benchmark_enable")
    trials = TRIALS_IN_SUITE if disabled else TRIALS
    folder = make_study(tmp_path, [])
    with (folder / EVENTS_FILE).open("w", encoding="utf-8") as journal:
        for number in range(trials):
            sers = tuple(1 / epoch for epoch in range(1, EPOCHS + 1))
            journal.writelines(to_line(event) for event in events_of(FakeTrial(number, sers)))
    tables = benchmark.pedantic(gather, args=(folder,), rounds=1)
    assert tables.epochs.num_rows == trials * EPOCHS
