"""One small search, run once through its real command line, for all end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
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

    @property
    def folder(self) -> Path:
        """The study `mine`."""
        return self.studies / "mine"


@pytest.fixture(scope="session")
def searched(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """`python -m search.run space=dropout study=mine`, with a smaller model, fewer staves and fewer epochs."""
    studies = tmp_path_factory.mktemp("studies")
    words = [
        "space=dropout",
        "model=tiny",
        "study=mine",
        f"paths.corpora={corpora}",
        f"paths.studies={studies}",
        f"paths.log={studies / 'LOG.md'}",
        "data.limit=80",
        "budget.trials=5",
        "train.epochs=3",
        "scheduler.grace_epochs=1",
        "scheduler.reduction_factor=2",
        "cluster.cpus=2",
        *SMALL_MODEL,
    ]
    return Searched(run("search.run", *words), corpora, studies)
