"""A search and its trials where the study is at an address."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as pafs
import pytest

from datasets.addresses import joined, working_folder
from datasets.errors import StorageError, StudyError
from datasets.storage import Remote
from results.study import write_study
from results.working_copy import study_names
from search import study
from search.claim import Claim
from search.config import PathsConfig, SearchConfig
from search.driver import Driver
from search.engine import stored_checkpoints
from search.engine.places import Places
from search.engine.stored_checkpoints import Brought, checkpoints_at, report_again
from search.lock import driving
from tests.studies import make_checkpoint, study_record


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.storage.FIRST_PAUSE", 0.0)


@pytest.fixture
def studies(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


def config(studies: str, name: str = "") -> SearchConfig:
    return SearchConfig(study=name, paths=PathsConfig(studies=studies))


def test_a_name_is_free_if_it_is_so_at_the_address(studies: str, tmp_path: Path) -> None:
    write_study(tmp_path / "shared" / "dropout-1", study_record("dropout-1"))
    (working_folder(studies) / "dropout-3").mkdir()
    assert study_names(studies) == ["dropout-1"]
    assert study.named(config(studies), ["dropout"], ["dropout-2"]).study == "dropout-4"


def test_a_study_of_that_name_is_refused_and_not_touched(studies: str, tmp_path: Path) -> None:
    there = tmp_path / "shared" / "mine"
    write_study(there, study_record("mine"))
    with (
        pytest.raises(StudyError, match="there is a study of this name at file://"),
        study._claimed(config(studies, "mine").folder()),
    ):
        raise AssertionError
    assert [path.name for path in there.rglob("*") if path.is_file()] == ["study.json"]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_of_two_searches_that_choose_one_name_the_second_is_told_to_start_again(
    studies: str, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.claim.PAUSE", 0.0)
    folder = config(studies, "dropout-1").folder()
    if elsewhere:
        Claim(Remote.of(f"{studies}/dropout-1"), Driver(7, "another-host", "2026")).take()
    else:
        folder.mkdir()
    with (
        pytest.raises(StudyError, match=r"another search has just taken this name in file://.*; start again") as caught,
        study._claimed(folder),
    ):
        raise AssertionError
    assert "force" not in str(caught.value)
    assert folder.exists() != elsewhere


def test_a_search_that_fails_before_its_first_event_leaves_nothing(studies: str, tmp_path: Path) -> None:
    folder = config(studies, "mine").folder()

    def fail() -> None:
        with study._claimed(folder) as mirror:
            assert mirror is not None
            write_study(folder, study_record("mine"))
            mirror._push()
            assert (tmp_path / "shared" / "mine" / "study.json").exists()
            raise StudyError("Ray did not start")

    with pytest.raises(StudyError, match="Ray did not start"):
        fail()
    assert not folder.exists()
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == []


def test_trials_are_told_addresses(studies: str, tmp_path: Path) -> None:
    folder = config(studies, "mine").folder()
    folder.mkdir()
    there = SearchConfig(study="mine", paths=PathsConfig(studies=studies, corpora="s3://bucket/corpora"))
    with driving(folder) as mirror:
        store = Places.of(folder, tmp_path / "engraved-short", there, mirror, 1)
    assert store.corpus == "s3://bucket/corpora/engraved-short"
    assert (store.study, store.path) == (f"{studies}/mine", f"{tmp_path}/shared/mine/tune")
    assert not store.scratch.is_relative_to(folder)
    plain = Places.of(tmp_path, tmp_path / "engraved-short", SearchConfig(study="mine"), None, 1)
    assert (plain.corpus, plain.study, plain.filesystem) == (tmp_path / "engraved-short", None, None)


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """The folder of a trial at the address, with three checkpoints, one of them half stored, and one taken over."""
    folder = tmp_path / "shared" / "mine" / "tune" / "2" / "trial-0001"
    for epoch in (1, 2, 3):
        make_checkpoint(folder / f"checkpoint_{epoch:06d}", epoch, 0.5)
    make_checkpoint(folder / "checkpoint_of_trial_7_after_2", 2, 0.1)
    return folder


def test_a_trial_goes_on_from_its_own_checkpoints_and_then_those_before(
    studies: str, trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, old = f"{studies}/mine", f"{studies}/mine/tune/1/trial-0001/checkpoint_000000"
    given = {"checkpoints": [old]}
    monkeypatch.setattr(stored_checkpoints.tune, "get_checkpoint", lambda: None)
    assert checkpoints_at(address, given, tmp_path).addresses == (old,)
    latest = SimpleNamespace(path=str(trial / "checkpoint_000003"), filesystem=pafs.LocalFileSystem())
    monkeypatch.setattr(stored_checkpoints.tune, "get_checkpoint", lambda: latest)
    found = checkpoints_at(address, given, tmp_path)
    own = [joined(address, "tune", "2", "trial-0001", f"checkpoint_{epoch:06d}") for epoch in (3, 2, 1)]
    assert list(found.addresses) == [*own, old]
    since = checkpoints_at(address, {**given, "exchanged": "checkpoint_000001"}, tmp_path)
    assert list(since.addresses) == [*own[:2], old]


def test_a_checkpoint_is_brought_when_it_is_asked_for(studies: str, trial: Path, tmp_path: Path) -> None:
    addresses = [
        f"{studies}/mine/tune/2/trial-0001/{name}" for name in ("checkpoint_000003", "nothing", "checkpoint_000002")
    ]
    folders = Brought(addresses, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    first = folders[0]
    assert {path.name for path in first.iterdir()} == {path.name for path in (trial / "checkpoint_000003").iterdir()}
    assert list(folders[1].iterdir()) == []  # it was deleted: a checkpoint that is damaged, to whoever reads it
    assert not first.exists()
    copy = pickle.loads(pickle.dumps(folders))
    assert [folder.name for folder in copy] == ["checkpoint_000003", "nothing", "checkpoint_000002"]
    del folders, copy
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_report_is_told_again_where_the_store_failed() -> None:
    failures = [OSError("AWS Error NETWORK_CONNECTION during UploadPart"), None]

    def report() -> None:
        if (failure := failures.pop(0)) is not None:
            raise failure

    report_again(report)
    assert failures == []


def test_a_store_that_is_gone_and_a_full_disk_are_different_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_checkpoints, "retried", lambda action: action())

    def fail(error: OSError) -> None:
        raise error

    with pytest.raises(StorageError, match="the checkpoint was not stored: AWS Error"):
        report_again(lambda: fail(OSError("AWS Error SLOW_DOWN")))
    with pytest.raises(OSError, match="No space left") as caught:
        report_again(lambda: fail(OSError(errno.ENOSPC, "No space left on device")))
    assert caught.value.errno == errno.ENOSPC


def test_a_remote_knows_what_is_below_it(studies: str) -> None:
    assert Remote.of(studies).at("mine", "tune").address == f"{studies}/mine/tune"
