"""A few of the faults of `tests.end_to_end.fault_injection`; all of them are that command's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.commands import ROOT

FAULTS = [
    "flipped bit with optuna.journal and study.json deleted",
    "SIGTERM",
]


@pytest.fixture(scope="module")
def rows(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The command's table, by fault: each inflicted once."""
    folder = tmp_path_factory.mktemp("faults")
    words = ["times=1", f"faults={','.join(FAULTS)}"]
    words += [f"corpora={corpora}", f"table={folder / 'table.jsonl'}"]
    subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.fault_injection", *words],
        cwd=ROOT,
        timeout=540,
        check=False,  # each row has its own test
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
    )
    lines = (folder / "table.jsonl").read_text().splitlines()
    return {fault: json.loads(line) for fault, line in zip(FAULTS, lines, strict=True)}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(rows: dict[str, dict[str, Any]], fault: str) -> None:
    row = rows[fault]
    assert row["times"] >= 1, row
    assert row["harmless"], row
