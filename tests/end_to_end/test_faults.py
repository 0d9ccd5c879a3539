"""One of the faults of `tests.end_to_end.fault_injection`, the worst; all of them are that command's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.commands import ROOT

FAULT = "flipped bit with optuna.journal and study.json deleted"


def test_nothing_is_lost(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of a study that was told to end by SIGTERM, resumed, killed in an epoch, and damaged then."""
    folder = tmp_path_factory.mktemp("faults")  # a short name, as paths of sockets have 107 bytes
    table = folder / "table.jsonl"
    words = ["times=1", f"faults={FAULT}", f"corpora={corpora}", f"table={table}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.fault_injection", *words],
        cwd=ROOT,
        timeout=540,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
    )
    [row] = [json.loads(line) for line in table.read_text().splitlines()]
    assert (row["fault"], row["times"]) == (FAULT, 1), row
    assert row["harmless"], row
    assert done.returncode == 0
