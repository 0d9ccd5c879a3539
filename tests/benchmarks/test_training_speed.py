"""A step of the tiny preset, and its share that is spent on loading data.

`data_share` in the printed extra information is waiting time over training time, both out of one run.
"""

from __future__ import annotations

import dataclasses

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from datasets.shards import PreparedCorpus
from omr_model.presets import PRESETS
from omr_model.trainer import Trainer


@pytest.mark.benchmark(group="training an epoch of 320 staves")
def test_data_loading_share(benchmark: BenchmarkFixture, corpus: PreparedCorpus) -> None:
    preset = PRESETS["tiny"]
    train = dataclasses.replace(preset.train, staves_per_epoch=320, validation_staves=4, epochs=4)
    trainer = Trainer(dataclasses.replace(preset, train=train), corpus)
    records = []
    benchmark.pedantic(lambda: records.append(trainer._run_epoch()), rounds=3, warmup_rounds=1)
    shares = [record.data_seconds * record.samples_per_second / 320 for record in records]
    benchmark.extra_info["data_share"] = round(sorted(shares)[len(shares) // 2], 4)
    benchmark.extra_info["staves_per_second"] = round(records[-1].samples_per_second)
    assert records
