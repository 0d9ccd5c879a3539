"""What a search leaves here, at its address soon after, whatever the store does in between."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from datasets.addresses import working_folder
from datasets.errors import StorageError, StudyError
from datasets.storage import Remote
from results.journal import EpochReported, Journal, TrialEnded, TrialStarted, read
from results.replay import Replay
from results.working_copy import WorkingCopy
from search import claim as claims
from search import mirror as module
from search.claim import STALE, Claim, driver_at
from search.config import DiskConfig, SearchConfig
from search.driver import Driver
from search.engine.keeper import Keeper
from search.lock import driver, driving
from search.mirror import Mirror
from tests.studies import make_checkpoint, metrics, study_record


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.storage.FIRST_PAUSE", 0.0)
    monkeypatch.setattr("datasets.storage.LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(module, "BETWEEN", 0.02)
    monkeypatch.setattr(module, "LONGEST", 0.05)
    monkeypatch.setattr(module, "SHARE", 1.0)
    monkeypatch.setattr("search.claim.HANDOVER", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder, whose address is `there`."""
    folder = working_folder(f"file://{tmp_path}/shared") / "mine"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "mine"


class Flaky:
    """Makes a store fail as long as it is switched on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = threading.Event()
        self.failed = 0
        for name in ("write", "read", "files", "delete"):
            monkeypatch.setattr(Remote, name, self._around(getattr(Remote, name)))

    def _around(self, action: Callable[..., object]) -> Callable[..., object]:
        def maybe(remote: Remote, *words: object, **named: object) -> object:
            if self.broken.is_set():
                self.failed += 1
                raise StorageError("connection reset by peer")
            return action(remote, *words, **named)

        return maybe


def until(happened: Callable[[], bool]) -> None:
    patience = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_it_is_there_soon_and_in_the_end(folder: Path, there: Path) -> None:
    with driving(folder) as mirror:
        assert mirror is not None
        assert driver_at(mirror.remote) == driver(folder)
        (folder / "study.json").write_text("{}")
        until((there / "study.json").exists)
        (folder / "events.jsonl").write_text("last")
    assert (there / "events.jsonl").read_text() == "last"
    assert driver_at(Remote.of(f"file://{there}")) is None


def test_a_store_that_fails_for_a_while_costs_nothing(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky, said = Flaky(monkeypatch), []
    with driving(folder) as mirror:
        assert mirror is not None
        mirror.say = said.append
        flaky.broken.set()
        (folder / "study.json").write_text("{}")
        until(lambda: len(said) == 1)
        mirror.fetch("tune/1/t/checkpoint_000001/samples.parquet")
        mirror.settle()
        flaky.broken.clear()
        until((there / "study.json").exists)
        until(lambda: said[-1].startswith("pushed again"))
    assert said[0] == "not pushed, and tried again: connection reset by peer"
    assert flaky.failed


def test_what_could_not_be_written_in_the_end_is_told_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(monkeypatch)

    def drive() -> None:
        with driving(folder) as mirror:
            assert mirror is not None
            mirror.say = lambda _: None
            flaky.broken.set()
            (folder / "study.json").write_text("{}")

    with pytest.raises(StorageError, match="connection reset"):
        drive()
    assert (folder / "study.json").exists()
    flaky.broken.clear()


def test_a_study_that_is_driven_elsewhere_is_refused(folder: Path, there: Path) -> None:
    Claim(Remote.of(f"file://{there}"), Driver(7, "another-host", "2026")).take()
    with pytest.raises(StudyError, match="driven by process 7 on another-host"), driving(folder):
        raise AssertionError
    with driving(folder, force=True) as mirror:
        assert mirror is not None


@pytest.fixture
def told() -> Iterator[list[int]]:
    """Signals that this process gets."""
    got: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        del frame
        got.append(number)

    before = signal.signal(signal.SIGUSR2, take)
    yield got
    signal.signal(signal.SIGUSR2, before)


def test_who_loses_the_study_ends_and_pushes_nothing(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch, told: list[int]
) -> None:
    monkeypatch.setattr("search.claim.HEARTBEAT", 0.02)
    said: list[str] = []

    def drive() -> None:
        with driving(folder) as mirror:
            assert mirror is not None
            mirror.say = said.append
            Claim(mirror.remote, Driver(os.getpid(), "another-host", "2027")).take(force=True)
            until(lambda: bool(told))
            (folder / "study.json").write_text("{}")

    with pytest.raises(StudyError, match="has taken the study over"):
        drive()
    assert len(said) == 1
    assert not (there / "study.json").exists()


def test_a_round_that_takes_long_does_not_let_the_claim_lapse(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.claim.HEARTBEAT", 0.02)
    pushing, done = threading.Event(), threading.Event()

    def push(*_: object) -> int:
        pushing.set()
        done.wait(20)
        return 0

    monkeypatch.setattr(WorkingCopy, "push", push)
    with driving(folder) as mirror:
        assert mirror is not None
        assert pushing.wait(20)
        claim = there / "claims" / mirror.claim.name
        before = claim.stat().st_mtime_ns
        until(lambda: claim.stat().st_mtime_ns > before)
        done.set()


def test_the_claim_is_renewed_while_the_study_is_brought(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.claim.HEARTBEAT", 0.02)

    def pull(_: WorkingCopy) -> None:
        [claim] = (there / "claims").iterdir()
        before = claim.stat().st_mtime_ns
        until(lambda: claim.exists() and claim.stat().st_mtime_ns > before)

    monkeypatch.setattr(WorkingCopy, "pull", pull)
    with driving(folder):
        pass


def lapse(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, hours: float) -> Claim:
    """Let this machine sleep, and another one take the study that nobody seems to drive any more."""
    then = time.time() - STALE - 60
    os.utime(mirror.remote.path(f"claims/{mirror.claim.name}"), (then, then))
    other = Claim(mirror.remote, Driver(7, "another-host", "2027"))
    other.take()
    wall, steady = claims._now()  # the one goes on while the machine sleeps, the other does not
    monkeypatch.setattr(claims, "_now", lambda: (wall + 3600 * hours, steady))
    return other


def test_who_slept_looks_at_its_claim_before_it_writes_or_deletes(
    mirror: Mirror, folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    mirror.say = said.append
    checkpoint = there / "tune/1/t/checkpoint_000001"
    checkpoint.mkdir(parents=True)
    mirror.delete("tune/1/t/checkpoint_000001/")
    (folder / "events.jsonl").write_text("ours")
    lapse(mirror, monkeypatch, hours=1)
    (there / "events.jsonl").write_text("the other's")
    (there / "stop.json").write_text("the other's")
    for _ in range(2):
        with pytest.raises(StudyError, match=r"process 7 on another-host.* has taken the study over"):
            mirror._push()
    assert (there / "events.jsonl").read_text() == "the other's"
    assert checkpoint.exists()
    assert (there / "stop.json").exists()
    assert len(said) == 1
    mirror.discard()
    assert checkpoint.exists()


@pytest.mark.parametrize("during", ["upload", "delete_folder"])
def test_who_falls_asleep_in_the_middle_looks_at_its_claim_before_the_next_file(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    done: list[str] = []
    action = getattr(Remote, during)

    def sleeps(remote: Remote, *words: str) -> None:
        action(remote, *words)
        done.append(words[-1])
        lapse(mirror, monkeypatch, hours=1)

    monkeypatch.setattr(Remote, during, sleeps)
    if during == "upload":
        for name in ("study.json", "events.jsonl"):
            (folder / name).write_text("x")
    else:
        mirror.delete("a/b/")
        mirror.delete("a/c/")
        mirror._deletions = {"a": ["a/b/", "a/c/"]}  # of one checkpoint, one after the other
    with pytest.raises(StudyError, match="has taken the study over"):
        mirror._push()
    assert len(done) == 1


def test_what_cannot_be_fetched_keeps_nothing_from_being_pushed(
    mirror: Mirror, folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"tune/1/t/checkpoint_{epoch:06d}/samples.parquet" for epoch in (1, 2)]
    for name in names:
        (there / name).parent.mkdir(parents=True)
        (there / name).write_text("x")
        mirror.fetch(name)
    download, asked = Remote.download, []

    def unreadable(remote: Remote, name: str, path: Path) -> bool:
        asked.append(name)
        if name == names[0]:
            raise OSError(errno.EIO, "Input/output error")
        return download(remote, name, path)

    monkeypatch.setattr(Remote, "download", unreadable)
    (folder / "events.jsonl").write_text("a trial")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            mirror._push()
    assert (there / "events.jsonl").read_text() == "a trial"
    assert (folder / names[1]).exists()
    assert asked.count(names[1]) == 1


def test_what_ends_a_search_is_not_hidden_by_a_disk_that_fails(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(_: Mirror, name: str) -> None:
        raise OSError(errno.EIO, f"Input/output error: {name}")

    monkeypatch.setattr(Mirror, "_fetch_one", unreadable)
    monkeypatch.setattr(module, "BETWEEN", 60.0)

    def drive(error: Exception | None) -> None:
        with driving(folder) as mirror:
            assert mirror is not None
            (folder / "events.jsonl").write_text("a trial")
            mirror.fetch("tune/1/t/checkpoint_000001/samples.parquet")
            if error is not None:
                raise error

    with pytest.raises(RuntimeError, match="what ended it"):
        drive(RuntimeError("what ended it"))
    assert re.search("Input/output error.*; what was not written there is safe in", capsys.readouterr().out)
    with pytest.raises(StorageError, match=r"Input/output error.*; what was not written there is safe in"):
        drive(None)
    assert (there / "events.jsonl").exists()


def test_word_to_stop_comes_from_another_machine(folder: Path, there: Path) -> None:
    with driving(folder):
        there.mkdir(exist_ok=True)
        (there / "stop.json").write_text('{"now": false}')
        until((folder / "stop.json").exists)
        assert not (there / "stop.json").exists()
    with driving(folder):
        assert not (folder / "stop.json").exists()  # it was for the one before


@pytest.fixture
def mirror(folder: Path, there: Path) -> Mirror:
    """One whose rounds are made by hand."""
    remote = Remote.of(f"file://{there}")
    claim = Claim(remote, Driver.this())
    claim.take()
    return Mirror(WorkingCopy(folder, remote), claim)


def queued(mirror: Mirror) -> list[str]:
    """What is to be deleted."""
    return [name for names in mirror._deletions.values() for name in names]


def test_a_checkpoint_goes_after_the_journal_that_says_why(mirror: Mirror) -> None:
    """Whenever this machine is lost: what the journal at the address names as the latest, is there."""
    order: list[str] = []

    def push(_: object) -> int:
        order.append("push")
        mirror.delete("tune/1/t/checkpoint_000002/")  # which the journal that is pushed does not know of yet
        return 0

    mirror.copy.push = push  # type: ignore[method-assign]
    mirror._delete_one = order.append  # type: ignore[method-assign, assignment]
    mirror.delete("tune/1/t/checkpoint_000001/")
    mirror._push()
    assert order == ["push", "tune/1/t/checkpoint_000001/"]


def test_what_tune_keeps_of_a_search_may_hold_one(mirror: Mirror) -> None:
    pickle.loads(pickle.dumps(mirror.settle))


def test_a_round_deletes_no_more_than_some(mirror: Mirror) -> None:
    deleted: list[str] = []
    mirror._delete_one = deleted.append  # type: ignore[method-assign, assignment]
    names = [f"tune/1/t/checkpoint_{epoch:06d}/{part}" for epoch in range(3) for part in ("resume.pt", "")]
    for name in names:
        mirror.delete(name)
    mirror._push(2)
    assert sorted(deleted) == sorted(names[:4])
    mirror._push(2)
    assert sorted(deleted) == sorted(names)
    mirror.delete("tune/1/t/checkpoint_000009/")
    mirror._push(None)
    assert deleted[-1] == "tune/1/t/checkpoint_000009/"


def test_of_one_checkpoint_all_is_deleted_in_order_and_what_failed_comes_first_again(mirror: Mirror) -> None:
    deleted: list[str] = []
    broken = {"a/resume.pt", "c/"}

    def delete(name: str) -> None:
        if name in broken:
            raise StorageError("connection reset")
        deleted.append(name)

    mirror._delete_one = delete  # type: ignore[method-assign]
    for name in ("a/resume.pt", "b/resume.pt", "a/", "c/", "b/"):
        mirror.delete(name)
    with pytest.raises(StorageError, match="connection reset"):
        mirror._push()
    mirror.delete("d/")
    assert deleted == sorted(deleted, key=["b/resume.pt", "b/"].index)
    assert queued(mirror) == ["a/resume.pt", "a/", "c/", "d/"]
    broken.clear()
    mirror._push()
    assert deleted.index("a/resume.pt") < deleted.index("a/")
    assert queued(mirror) == []


def test_who_has_lost_the_study_deletes_nothing_more(mirror: Mirror) -> None:
    deleted: list[str] = []

    def delete(name: str) -> None:
        deleted.append(name)
        mirror.claim.lost = StudyError("another process has taken the study over")

    mirror._delete_one = delete  # type: ignore[method-assign]
    mirror.delete("a/resume.pt")
    mirror.delete("a/")
    with pytest.raises(StudyError, match="taken the study over"):
        mirror._push()
    assert deleted == ["a/resume.pt"]


def epochs(folder: Path, there: Path, sers: tuple[float, ...]) -> None:
    """What a trial leaves: checkpoints at the address, and a journal here."""
    journal = Journal(folder / "events.jsonl")
    journal.append(TrialStarted("0000", 0, 1, {}, 0.0, "base"))
    for epoch, ser in enumerate(sers, start=1):
        name = f"tune/1/trial-0000/checkpoint_{epoch:06d}"
        make_checkpoint(there / name, epoch, ser)
        (there / name / "resume.pt").write_bytes(b"state")
        journal.append(EpochReported("0000", metrics(epoch, ser), name, float(epoch)))


def left(there: Path) -> dict[str, set[str]]:
    return {
        one.name: {file.name for file in one.iterdir()} for one in there.rglob("checkpoint_*") if any(one.iterdir())
    }


def test_the_keeper_deletes_at_the_address(folder: Path, there: Path) -> None:
    epochs(folder, there, (0.9, 0.4, 0.6, 0.5))
    make_checkpoint(there / "tune" / "1" / "trial-0000" / "checkpoint_000009", 9, 0.1)  # the journal was not told of it
    with driving(folder) as mirror:
        replay = Replay(read(folder / "events.jsonl"))
        keeper = Keeper.of(SearchConfig(), folder, replay, mirror)
        until(lambda: len(left(there)) == 3)
        whole = {"model.safetensors", "checkpoint.json", "samples.parquet", "resume.pt"}
        best = left(there)["checkpoint_000002"]
        assert left(there) == {
            "checkpoint_000002": best,
            "checkpoint_000003": whole,
            "checkpoint_000004": whole,
        }
        until(lambda: "resume.pt" not in left(there)["checkpoint_000002"])
        replay.add(TrialEnded("0000", "pruned", "", 9.0))
        keeper.tidy(replay.trial("0000"))
    assert left(there) == {"checkpoint_000004": {"checkpoint.json", "samples.parquet"}}


def test_a_keeper_that_takes_a_study_up_again_asks_once_and_deletes_what_is_there(
    folder: Path, there: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs(folder, there, (0.9, 0.4, 0.6, 0.5))
    (there / "tune/1/trial-0000/checkpoint_000002/resume.pt").unlink()  # the session before has deleted it
    config = SearchConfig(disk=DiskConfig(cap=1.0))
    monkeypatch.setattr(Mirror, "size", lambda *_: pytest.fail("one checkpoint was asked for"))
    keeper = Keeper.of(config, folder, Replay(read(folder / "events.jsonl")), mirror)
    assert queued(mirror) == ["tune/1/trial-0000/checkpoint_000001/"]
    mirror._push()
    assert keeper.total == sum(file.stat().st_size for file in (there / "tune").rglob("*") if file.is_file())


def test_what_a_trial_of_a_population_took_over_goes_from_the_address(
    folder: Path, there: Path, mirror: Mirror
) -> None:
    epochs(folder, there, (0.9, 0.8))
    copy = there / "tune/1/trial-0000/checkpoint_of_trial_3_after_2"
    make_checkpoint(copy, 2, 0.1)
    replay = Replay(read(folder / "events.jsonl"))
    keeper = Keeper(folder, mirror=mirror)
    replay.add(TrialStarted("0000", 0, 1, {}, 2.0, "trial 3 after epoch 2"))
    for epoch in (3, 4, 5):
        name = f"tune/1/trial-0000/checkpoint_{epoch:06d}"
        replay.add(EpochReported("0000", metrics(epoch, 0.5), name, float(epoch)))
        keeper.tidy(replay.trial("0000"))
        told = queued(mirror).count("tune/1/trial-0000/checkpoint_of_trial_3_after_2/")
        assert told == (epoch >= 4)  # once
    mirror._push()
    assert not copy.exists()


def test_a_cap_counts_what_is_at_the_address(folder: Path, there: Path) -> None:
    epochs(folder, there, (0.9, 0.5))
    with driving(folder) as mirror:
        keeper = Keeper(folder, cap_bytes=1.0, mirror=mirror)
        keeper.tidy(Replay(read(folder / "events.jsonl")).trial("0000"))
        assert keeper.total == sum(file.stat().st_size for file in (there / "tune").rglob("*") if file.is_file())


def test_the_study_record_is_pushed_like_any_other(folder: Path, there: Path) -> None:
    from results.study import read_study, write_study

    with driving(folder):
        write_study(folder, study_record("mine"))
    assert read_study(there) == study_record("mine")
