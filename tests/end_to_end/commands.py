"""Run the project's command lines as a person would: another process, its exit status, its words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str


def run(module: str, *words: str, cwd: Path = ROOT, timeout: float = 300) -> Done:
    """`python -m module words...`, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def interrupt(module: str, *words: str, after: str) -> Done:
    """The same, but with Ctrl-C once a line holds `after`; of what it printed, what came later."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", module, *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if after in line:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


SMALL_MODEL = [
    "model.embedding=32",
    "model.backbone.channels=[8,8,16]",
    "model.backbone.stem_channels=8",
    "model.encoder.heads=2",
    "model.decoder.heads=2",
    "model.decoder.depth=1",
    "train.staves_per_epoch=32",
    "train.validation_staves=12",
]
"""Laid over the tiny preset: a training of seconds."""
