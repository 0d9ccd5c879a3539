"""Run the project's command lines as a person would: another process, its exit status, its words."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str


def run(module: str, *words: str, cwd: Path = ROOT, timeout: float = 300, cold: bool = False) -> Done:
    """`python -m module words...`, without a terminal.

    Args:
        cold: by an interpreter of its own, that imports all itself, and so prints whatever imports print.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        if cold:
            with out.open("w") as one, err.open("w") as other:
                command = [sys.executable, "-m", module, *words]
                status = subprocess.run(
                    command, cwd=cwd, stdout=one, stderr=other, timeout=timeout, check=False, env=environment
                ).returncode
        else:
            out.touch()
            err.touch()
            status = _warm().run(
                {
                    "module": module,
                    "words": words,
                    "folder": str(cwd),
                    "environment": environment,
                    "printed": [str(out), str(err)],
                },
                timeout,
            )
        return Done(status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


class _Warm:
    """The process of `tests.end_to_end.warm`; it ends with this one."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.warm"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._line() == "ready"

    def run(self, command: dict[str, Any], timeout: float) -> int:
        """The command's exit status; the command is killed if it takes longer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        pid = int(self._line())
        alarm = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
        alarm.start()
        try:
            return int(self._line())
        finally:
            alarm.cancel()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@functools.cache
def _warm() -> _Warm:
    return _Warm()


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
