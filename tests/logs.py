"""Studies as the training log meets them: with a budget, and begun before their first trial."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path

from results.study import write_study
from tests.studies import START, FakeTrial, make_study, study_record

HEAD_START = 1800.0  # seconds from the study's start to its first trial's
TRIALS = (FakeTrial(0, (0.9, 0.5, 0.3)), FakeTrial(1, (0.8, 0.5, 0.2)), FakeTrial(2, (0.9,), "pruned"))
"""Of which the second is best."""


def make_budgeted(studies: Path, trials: Sequence[FakeTrial], *, name: str = "demo", budget: int | None = 3) -> Path:
    """As `make_study`; None is a configuration without a budget."""
    folder = make_study(studies, trials, name=name)
    record = study_record(name)
    config = record.config | ({} if budget is None else {"budget": {"trials": budget}})
    made = dataclasses.replace(
        record.provenance, command_line="/opt/venv/bin/python -m search.run space=dropout 'study=a b'"
    )
    created = datetime.datetime.fromtimestamp(START - HEAD_START, datetime.UTC).isoformat()
    write_study(folder, dataclasses.replace(record, created=created, config=config, provenance=made))
    return folder
