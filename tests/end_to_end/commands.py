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
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

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
    if not cold:
        return _warm().run(module, words, cwd, timeout)
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False, env=_environment()
    )
    return Done(done.returncode, done.stdout, done.stderr)


def interrupt(module: str, *words: str, after: str) -> Done:
    """The same, but with Ctrl-C once a line holds `after`; of what it printed, what came later."""

    def when_it_says_so(pid: int, out: Path) -> None:
        while after not in out.read_text(encoding="utf-8") and psutil.pid_exists(pid):
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)

    done = _warm().run(module, words, ROOT, 300, when_it_says_so)
    return Done(done.status, done.out.partition(after)[2].partition("\n")[2], done.err)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


class _Warm:
    """The process of `tests.end_to_end.warm`; it ends with this one."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.warm"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert self._line() == "ready"

    def run(
        self,
        module: str,
        words: Sequence[str],
        cwd: Path,
        timeout: float,
        watch: Callable[[int, Path], None] = lambda *_: None,
    ) -> Done:
        """What the command leaves; it is killed if it takes longer.

        Args:
            watch: is given its process and the file that it prints to, while it runs.
        """
        assert self.process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            printed = [Path(folder, name) for name in ("out", "err")]
            for file in printed:
                file.touch()
            command = {
                "module": module,
                "words": words,
                "folder": str(cwd),
                "environment": _environment(),
                "printed": [str(file) for file in printed],
            }
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            pid = int(self._line())
            alarm = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
            alarm.start()
            try:
                watch(pid, printed[0])
                status = int(self._line())
            finally:
                alarm.cancel()
            return Done(status, *(file.read_text(encoding="utf-8") for file in printed))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@functools.cache
def _warm() -> _Warm:
    return _Warm()


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
