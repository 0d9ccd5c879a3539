"""A search whose corpus and study are in an object store: killed on one machine, resumed on another, nothing lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datasets.addresses import working_folder
from datasets.corpus_storage import publish
from datasets.shards import PreparedCorpus
from datasets.storage import Remote
from results.gather import gather
from results.study import find_study
from tests.end_to_end.fault_harness import Bench, Case, Session, loss, snapshot
from tests.end_to_end.pretended_search import Pretence, drive
from tests.stores import Store, object_store


def drive_with(variables: dict[str, str], words: Sequence[str], pretence: Pretence, said: str) -> None:
    """`pretended_search.drive` with more variables in its environment."""
    os.environ.update(variables)
    drive(words, pretence, said)


@dataclass
class StoredCase(Case):
    """A study at an address, driven on machines that differ by their caches.

    Attributes:
        address: of the studies.
        variables: that a process needs to reach it.
        machine: the one that the next session runs on.
    """

    address: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    machine: str = "first"

    @property
    def cache(self) -> Path:
        return self.scratch / self.machine

    @property
    def folder(self) -> Path:
        """Where the machine works; the process that asks has its cache."""
        return working_folder(self.address) / self.name

    def _session(self, words: list[str], pretence: dict[str, object]) -> Session:
        said = self.scratch / f"said-{len(self.sessions)}.txt"
        words += [f"paths.studies={self.address}", f"paths.log={self.scratch / 'LOG.md'}"]
        told = Pretence(str(self.trained_file), **{**self.pretence, **pretence})  # type: ignore[arg-type]
        variables = {**self.variables, "OMR_SEARCH_CACHE": str(self.cache)}
        process = self.bench.context.Process(target=drive_with, args=(variables, words, told, str(said)))
        process.start()
        self.sessions.append(Session(process, said))
        return self.sessions[-1]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with object_store() as store:
        yield store


def epochs_at(address: str) -> int:
    """How many epochs the journal at an address tells of."""
    return (Remote.of(address).read("events.jsonl") or b"").count(b'"epoch_reported"')


def test_killed_here_and_resumed_there_it_is_as_if_nothing_had_happened(
    store: Store, corpora: Path, corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "bench", corpora, random.Random(7))
    local = bench.case()
    unhurt = local.begin()
    assert unhurt.wait() == 0, unhurt.words()
    publish(corpus.path, f"{store.address}/corpora/engraved-short")
    bench.corpora = f"{store.address}/corpora"  # type: ignore[assignment]
    scratch, studies = tmp_path / "stored", f"{store.address}/studies"
    scratch.mkdir()
    case = StoredCase(bench, "mine", (), scratch, Path(), {}, address=studies, variables=store.variables)

    session = case.begin()
    case.until(lambda: epochs_at(f"{studies}/mine") > 0)
    case.until(case.trains(2))
    session.kill(signal.SIGKILL)
    session.process.join()
    shutil.rmtree(case.cache)  # the machine is lost, and all that it had not pushed
    kept = epochs_at(f"{studies}/mine")

    case.machine = "second"
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(case.cache))
    case.finish()
    found = loss(case, snapshot(local), allowed=99)
    assert (found.lost, found.unequal) == (0, []), found
    assert found.again <= len(local.trained()) - kept  # what the address had was not trained again

    monkeypatch.setenv("OMR_SEARCH_CACHE", str(scratch / "third"))
    assert gather(find_study(studies, "mine")).missing_samples == 0
    files = Remote.of(f"{studies}/mine").files()
    assert {"study.json", "events.jsonl", "report.html", "best/model.safetensors"} <= files.keys()
    assert [name for name in files if name.startswith("claims/") or name.endswith("resume.pt")] == []
