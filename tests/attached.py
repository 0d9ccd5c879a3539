"""Searches on clusters of several nodes, pretended but for Ray: the driver is a process of its own, as a user's is.

`python -m tests.attached SCRATCH SECONDS WORDS...` is `python -m search.run WORDS...` with trainings that are chains of
hashes (`tests.end_to_end.pretended_search`), SECONDS an epoch; one waits as long as there is SCRATCH/hold-TRIAL-EPOCH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.gather import gather
from tests.end_to_end.commands import ROOT
from tests.end_to_end.pretended_search import Pretence, drive

PATIENCE = 240.0
TRIALS, EPOCHS = 6, 6


@dataclass
class Search:
    """A search of random settings, each trained to the end, so that nothing depends on the order of ends.

    Attributes:
        on: the machine that it is started on: makes its command one that runs there (`tests.hosts`).
    """

    scratch: Path
    corpora: Path
    seconds: float
    on: Callable[[Sequence[str]], list[str]] = list
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.scratch / "studies" / "mine"

    def begin(self, *words: str) -> None:
        """`python -m search.run space=dropout ...`."""
        self._start(*self.fields(*words))

    def fields(self, *words: str) -> list[str]:
        """The words of a new study, and more."""
        return [
            *("space=dropout", "model=tiny", "study=mine", "data.limit=80", f"budget.trials={TRIALS}"),
            *(f"train.epochs={EPOCHS}", "confirm.top=0", "sampler=random", "scheduler=none", "trial.gpus=0"),
            *("trial.retries=0", f"paths.corpora={self.corpora}", *words, *self._paths),
        ]

    def resume(self, *words: str) -> None:
        """`python -m search.run resume=...`."""
        self._start("resume=mine", *words, *self._paths)

    @property
    def _paths(self) -> list[str]:
        return [f"paths.studies={self.scratch / 'studies'}", f"paths.log={self.scratch / 'LOG.md'}"]

    def _start(self, *words: str) -> None:
        self.scratch.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.attached", str(self.scratch), str(self.seconds), *words]
        self.process = subprocess.Popen(self.on(command), cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def words(self) -> str:
        """What it said."""
        said = self.scratch / "said"
        return said.read_text() if said.exists() else ""

    def trained(self) -> list[tuple[int, int]]:
        """Every epoch whose training began: trial and epoch."""
        file = self.scratch / "trained"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(number), int(epoch)) for number, epoch, _ in map(str.split, lines)]

    def hold(self, *places: tuple[int, int]) -> None:
        """Have trials wait in an epoch, by number and epoch."""
        self.scratch.mkdir(exist_ok=True)
        for number, epoch in places:
            (self.scratch / f"hold-{number}-{epoch}").touch()

    def go_on(self, *numbers: int) -> None:
        """Have them wait no longer."""
        for number in numbers:
            for file in self.scratch.glob(f"hold-{number}-*"):
                file.unlink()

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that happens while it runs."""
        assert self.process is not None
        patience = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, self.words()[-3000:]
            assert time.monotonic() < patience, self.words()[-3000:]
            time.sleep(0.05)

    def wait(self) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it, should it still run."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def tables(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Trials and epochs without what says when and where."""
        tables = gather(self.folder)
        epochs = tables.epochs.select(["trial_id", "epoch", "ser", "link"]).to_pylist()
        kept = ["number", "state", "epochs", "ser", "seed", *(c for c in tables.trials.column_names if "params." in c)]
        trials = tables.trials.select(kept).to_pylist()
        return sorted(trials, key=lambda row: row["number"]), sorted(
            epochs, key=lambda row: (int(row["trial_id"]), row["epoch"])
        )


@contextmanager
def searching(search: Search) -> Iterator[Search]:
    """A search that does not outlive the block."""
    try:
        yield search
    finally:
        search.kill()


if __name__ == "__main__":
    scratch = Path(sys.argv[1])
    pretence = Pretence(str(scratch / "trained"), seconds=float(sys.argv[2]), held=str(scratch))
    drive(sys.argv[3:], pretence, str(scratch / "said"))
