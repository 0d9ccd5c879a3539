"""One small search, run once through its real command line, for all end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.end_to_end.commands import SMALL_MODEL, Done, run


@dataclass(frozen=True)
class Searched:
    """A finished search: what it printed, and the folders it worked in."""

    done: Done
    corpora: Path
    studies: Path

    @property
    def paths(self) -> list[str]:
        """The words that lead a search to the same folders."""
        folders = [f"paths.corpora={self.corpora}", f"paths.studies={self.studies}"]
        return [*folders, f"paths.log={self.studies / 'LOG.md'}", "data.limit=80"]

    def words(self, study: str, trials: int = 5) -> list[str]:
        """The words of that search, for a study of any name; one trial at a time, so that it can be done again."""
        return [
            *("space=dropout", "model=tiny", f"study={study}", *self.paths, *SMALL_MODEL),
            *(f"budget.trials={trials}", "train.epochs=3", "confirm.rounds=2", "cluster.cpus=1"),
            *("scheduler=asha", "scheduler.grace_epochs=1", "scheduler.reduction_factor=2"),
        ]

    @property
    def folder(self) -> Path:
        """The study `mine`."""
        return self.studies / "mine"


@pytest.fixture(scope="session")
def searched(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """`python -m search.run space=dropout study=mine`, with a smaller model, fewer staves and fewer epochs."""
    searched = Searched(Done(0, "", ""), corpora, tmp_path_factory.mktemp("studies"))
    return replace(searched, done=run("search.run", *searched.words("mine"), cold=True))
