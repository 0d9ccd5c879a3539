"""A study that goes on on another machine, where mixed precision may be another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omr_model.config import TrainConfig
from search.config import ClusterConfig, ParameterConfig, SearchConfig, SpaceConfig
from search.resume import Resumed, changes_since
from tests.studies import study_record

RECORD = study_record("mine")
CORPUS: Any = SimpleNamespace(path=Path("engraved"), manifest=SimpleNamespace(content_hash=RECORD.corpus.hash))
SEARCHED = ParameterConfig(target="train.precision", kind="categorical", choices=("fp32", "mixed"))


@pytest.mark.parametrize(
    ("fields", "hardware", "told"),
    [
        ({}, {"gpus": ("Another GPU",)}, "A GPU then, Another GPU now"),
        ({}, {"gpus": ()}, "A GPU then, A CPU now"),
        ({}, {"gpus": ("A GPU",), "cpu": "Another CPU", "cores": 64}, None),  # its GPU trains, and one will do
        ({"train": TrainConfig(precision="fp32")}, {"gpus": ()}, None),
        (
            {"train": TrainConfig(precision="fp32"), "space": SpaceConfig(parameters={"precision": SEARCHED})},
            {"gpus": ()},
            "A GPU then, A CPU now",
        ),
        ({"cluster": ClusterConfig(name="attach", address="10.0.0.1:6379")}, {"gpus": ()}, None),
    ],
)
def test_another_precision_is_told_and_not_refused(
    fields: dict[str, Any], hardware: dict[str, Any], told: str | None
) -> None:
    config = dataclasses.replace(SearchConfig(study="mine", train=TrainConfig(precision="mixed")), **fields)
    study = Resumed(RECORD, config, extended=False, force=False)
    made = RECORD.provenance
    now = dataclasses.replace(made, hardware=dataclasses.replace(made.hardware, **hardware))
    changes = changes_since(study, CORPUS, now)
    assert len(changes) == (told is not None)
    assert all(f"the machine: {told}; train.precision=mixed may be another precision" in change for change in changes)
