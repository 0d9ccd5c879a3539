"""A study's folder and its address: they come to agree, whatever happened to either."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import results
from datasets.addresses import working_folder
from datasets.errors import StorageError, StudyError
from datasets.storage import Remote, retried
from results import working_copy
from results.gather import GatherConfig, gather, gather_reports
from results.journal import read
from results.manual import read_manual, write_manual
from results.study import find_study
from results.working_copy import (
    WorkingCopy,
    bring_file,
    bring_studies,
    bring_study,
    is_mirrored,
    is_weights,
    opened_study,
)
from tests.studies import FakeTrial, make_study

TRIALS = [FakeTrial(0, (0.9, 0.5), origin="base"), FakeTrial(1, (0.8, 0.4)), FakeTrial(2, (0.9,), None)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.storage.FIRST_PAUSE", 0.0)


@pytest.fixture
def studies(tmp_path: Path) -> str:
    """An address with a study, as a search on another machine has left it."""
    folder = make_study(tmp_path / "elsewhere", TRIALS)
    (folder / "checkpoints").rename(folder / "tune")
    journal = folder / "events.jsonl"
    journal.write_text(journal.read_text().replace('"checkpoints/', '"tune/'))
    remote = Remote.of(f"file://{tmp_path}/shared/demo")
    for path in folder.rglob("*"):
        if path.is_file():
            remote.upload(path, path.relative_to(folder).as_posix())
    return f"file://{tmp_path}/shared"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and is_mirrored(name := path.relative_to(folder).as_posix())
    }


NAMES = st.sampled_from(["study.json", "events.jsonl", "reports/trials.parquet", "best/figures/a.png", "manual/a.json"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.binary(max_size=6)),
        st.tuples(st.just("delete"), NAMES, st.just(b"")),
        st.tuples(st.just("push"), st.just(""), st.just(b"")),
        st.tuples(st.just("break"), st.just(""), st.binary(min_size=1, max_size=1)),
    ),
    max_size=14,
)


class Breaks(Remote):
    """A store that fails after so many writes."""

    left = 1 << 30

    def write(self, name: str, data: bytes) -> None:
        if Breaks.left <= 0:
            raise StorageError("connection reset")
        Breaks.left -= 1
        super().write(name, data)


@settings(max_examples=60)
@given(steps=STEPS)
def test_after_a_push_the_address_is_the_folder(steps: list[tuple[str, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        here, there = Path(root, "here"), Path(root, "there")
        here.mkdir()
        plain = Remote.of(f"file://{there}")
        copy = WorkingCopy(here, Breaks(plain.address, plain.filesystem, plain.root))
        Breaks.left = 1 << 30
        before: Mapping[str, bytes] = {}
        versions: dict[str, set[bytes]] = {}
        for what, name, data in steps:
            if what == "write":
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).write_bytes(data)
                versions.setdefault(name, set()).add(data)
            elif what == "delete":
                (here / name).unlink(missing_ok=True)
            elif what == "push":
                copy.push()
                before = contents(here)
                assert contents(there) == before
            else:
                Breaks.left = data[0] % 4
                try:
                    copy.push()
                except StorageError:
                    assert all(data in versions[name] for name, data in contents(there).items())  # each one is whole
                Breaks.left = 1 << 30
        copy.push()
        assert contents(there) == contents(here)
        assert copy.push() == 0
        other = Path(root, "other")
        other.mkdir()
        WorkingCopy(other, plain).pull()
        assert contents(other) == contents(here)


def test_what_is_of_one_machine_stays_there() -> None:
    names = ["lock", "stop.json", ".study.pull", "tune/1/t/checkpoint_000001/model.safetensors", "claims/x.json"]
    names += ["reports/.abc.1.tmp", "best/.figures/x", "optuna.journal.lock"]
    assert [name for name in names if is_mirrored(name)] == []
    assert is_mirrored("optuna.journal")
    assert [is_weights(name) for name in ("best/model.safetensors", "best/onnx/a.onnx", "best/report.md")] == [
        True,
        True,
        False,
    ]


def test_a_study_is_found_by_its_address_without_its_weights(studies: str, tmp_path: Path) -> None:
    folder = find_study(studies, "demo")
    assert folder == working_folder(studies) / "demo"
    assert list(folder.rglob("*.safetensors")) == []
    there, here = gather(tmp_path / "elsewhere" / "demo"), gather(folder)
    assert here.missing_samples == there.missing_samples == 0
    assert here.trials.drop_columns(["checkpoint"]).equals(there.trials.drop_columns(["checkpoint"]))
    assert here.samples.table().equals(there.samples.table())
    with pytest.raises(StudyError, match=r"study=dmo: no such study in file://.*did you mean demo"):
        find_study(studies, "dmo")
    with pytest.raises(StudyError, match="no such study"):
        find_study(studies, "../shared/demo")


def test_in_a_notebook_others_are_looked_for_at_the_address(studies: str, tmp_path: Path) -> None:
    make_study(tmp_path / "shared", TRIALS, name="beside")
    compared = results.load("demo", studies).best.compare("beside")
    assert len(compared.contestants) == 2


def test_what_a_command_writes_is_pushed(studies: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gather_reports(GatherConfig(study="demo", studies=studies))
    assert "3 trials" in capsys.readouterr().out
    assert (tmp_path / "shared" / "demo" / "reports" / "trials.parquet").exists()
    journal = (tmp_path / "shared" / "demo" / "events.jsonl").stat()
    gather_reports(GatherConfig(study="demo", studies=studies))
    assert (tmp_path / "shared" / "demo" / "events.jsonl").stat() == journal  # it was only read


def test_the_list_needs_no_more_than_record_and_journal(studies: str) -> None:
    [folder] = bring_studies(studies)
    assert contents(folder).keys() == {"study.json", "events.jsonl"}


def test_what_changed_at_the_address_comes(studies: str, tmp_path: Path) -> None:
    folder = find_study(studies, "demo")
    there = tmp_path / "shared" / "demo"
    (there / "manual.json").write_text('{"fake_00001": 3.0}')
    text = (there / "study.json").read_text()
    (there / "study.json").write_text(text.replace("R", "r", 1))  # as long as it was, this very moment
    assert find_study(studies, "demo") == folder
    assert (folder / "manual.json").read_text() == '{"fake_00001": 3.0}'
    assert (folder / "study.json").read_bytes() == (there / "study.json").read_bytes()
    (there / "manual.json").unlink()
    find_study(studies, "demo")
    assert not (folder / "manual.json").exists()


@contextmanager
def broken_store(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> Iterator[None]:
    """A store that takes a few more files, and then none."""
    upload, left = Remote.upload, iter(range(after))

    def fail(remote: Remote, path: Path, name: str) -> None:
        if next(left, None) is None:
            raise StorageError("connection reset", hopeless=True)
        upload(remote, path, name)

    with monkeypatch.context() as patched:
        patched.setattr(Remote, "upload", fail)
        try:
            yield
        except StorageError:
            return
    pytest.fail("all was written")


def rate(studies: str, trial_id: str, value: float) -> None:
    with opened_study(studies, "demo") as folder:
        write_manual(folder, trial_id, value)


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Be another machine: one with another cache."""
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / name))


def test_a_rating_that_could_not_be_written_stays_and_goes_with_the_next_push(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "shared" / "demo"
    rate(studies, "fake_00000", 1.0)
    assert read_manual(there) == {"fake_00000": 1.0}
    with broken_store(monkeypatch):
        rate(studies, "fake_00001", 3.0)
    with broken_store(monkeypatch):
        rate(studies, "fake_00000", 2.0)
    later = time.time() + 60
    os.utime(there / "manual" / "fake_00000.json", (later, later))  # no clock is asked who is right
    ratings = {"fake_00000": 2.0, "fake_00001": 3.0}
    assert read_manual(find_study(studies, "demo")) == ratings
    with opened_study(studies, "demo"):
        pass
    assert read_manual(there) == ratings
    (there / "manual" / "fake_00000.json").write_text("4.0")  # now it is another machine's again
    assert read_manual(find_study(studies, "demo"))["fake_00000"] == 4.0


def test_two_machines_rate_while_one_of_them_cannot_reach_the_store(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path, monkeypatch, "first")
    with broken_store(monkeypatch):
        rate(studies, "fake_00000", 1.0)
    machine(tmp_path, monkeypatch, "second")
    rate(studies, "fake_00001", 2.0)
    machine(tmp_path, monkeypatch, "first")
    rate(studies, "fake_00002", 3.0)
    ratings = {"fake_00000": 1.0, "fake_00001": 2.0, "fake_00002": 3.0}
    assert read_manual(tmp_path / "shared" / "demo") == ratings
    machine(tmp_path, monkeypatch, "second")
    assert read_manual(find_study(studies, "demo")) == ratings


def test_a_rating_from_elsewhere_comes_to_a_machine_that_is_ahead_and_is_not_deleted_by_it(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_study(studies, "demo")
    write_manual(folder, "fake_00000", 1.0)
    with (folder / "events.jsonl").open("ab") as journal:
        journal.write(b"\n")  # this machine drove the study and was lost
    machine(tmp_path, monkeypatch, "second")
    rate(studies, "fake_00001", 2.0)
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    with opened_study(studies, "demo"):
        pass
    assert read_manual(folder) == read_manual(tmp_path / "shared" / "demo") == {"fake_00000": 1.0, "fake_00001": 2.0}


def test_ratings_of_before_are_read(studies: str) -> None:
    folder = find_study(studies, "demo")
    (folder / "manual.json").write_text('{"fake_00000": 1.0, "fake_00001": 2.0}')
    write_manual(folder, "fake_00001", 3.0)
    assert read_manual(folder) == {"fake_00000": 1.0, "fake_00001": 3.0}


def test_a_first_rating_that_is_here_alone_is_not_deleted(studies: str, tmp_path: Path) -> None:
    write_manual(find_study(studies, "demo"), "fake_00001", 3.0)  # and then the process was killed
    with opened_study(studies, "demo"):
        pass
    assert read_manual(tmp_path / "shared" / "demo") == {"fake_00001": 3.0}


MADE = ("best/report.md", "report.html", "reports/trials.parquet", "trackers/run")


def drive_to_the_end(studies: str, text: str) -> None:
    """Write what a search leaves, with one event more in its journal."""
    with opened_study(studies, "demo") as folder:
        with (folder / "events.jsonl").open("ab") as journal:
            journal.write(b"\n")
        for name in MADE:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


@pytest.mark.parametrize("pushed_before", [False, True])
def test_what_a_push_left_undone_after_the_journal_is_not_lost(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed_before: bool
) -> None:
    there = tmp_path / "shared" / "demo"
    if pushed_before:
        drive_to_the_end(studies, "the session before")
    with broken_store(monkeypatch, after=2):  # the journal, and one file more
        drive_to_the_end(studies, "the last session")
    bring_studies(studies)  # for which the journal alone is needed
    folder = find_study(studies, "demo")
    assert [(folder / name).read_text() for name in MADE] == ["the last session"] * 4
    with opened_study(studies, "demo"):
        pass
    assert [(there / name).read_text() for name in MADE] == ["the last session"] * 4
    (there / "report.html").unlink()  # what was there once, and was deleted, goes here, too
    assert not (find_study(studies, "demo") / "report.html").exists()


def test_what_another_machine_made_of_a_later_journal_counts(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive_to_the_end(studies, "the session before")
    with broken_store(monkeypatch), opened_study(studies, "demo") as folder:
        (folder / "report.html").write_text("of this session")
        (folder / "changes").mkdir()
        (folder / "changes" / "digest.diff").write_text("was never there")
    machine(tmp_path, monkeypatch, "second")
    drive_to_the_end(studies, "the last session")
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    bring_studies(studies)
    assert find_study(studies, "demo") == folder
    assert [(folder / name).read_text() for name in MADE] == ["the last session"] * 4
    assert (folder / "changes" / "digest.diff").exists()


def test_a_study_that_was_replaced_at_the_address_does_not_take_what_is_here_alone(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with broken_store(monkeypatch):
        drive_to_the_end(studies, "the last session")
    record = tmp_path / "shared" / "demo" / "study.json"
    record.write_text(record.read_text().replace("2024", "2025"))
    with pytest.raises(StudyError, match=r"study=demo: .* is another study of this name.*move that folder away"):
        find_study(studies, "demo")
    [folder] = bring_studies(studies)
    assert "another study of this name" in capsys.readouterr().out
    assert (folder / "report.html").read_text() == "the last session"


HOLDS = """
import sys
from results.working_copy import opened_study
with opened_study(sys.argv[1], "demo") as folder:
    (folder / "report.html").write_text("the other command's")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_of_two_commands_on_one_machine_the_second_waits_and_says_so(
    studies: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-c", HOLDS, studies]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        words[2] = HOLDS.replace("the other", "this")
        with subprocess.Popen(words, stdin=subprocess.PIPE) as other:
            patience = time.monotonic() + 60
            while "study=demo: another command of this machine is at work on it" not in capfd.readouterr().out:
                assert time.monotonic() < patience
                time.sleep(0.05)
            there = tmp_path / "shared" / "demo" / "report.html"
            assert not there.exists()
            holder.communicate("\n")
            assert there.read_text() == "the other command's"
            other.communicate(b"\n")
            assert other.returncode == 0
    assert there.read_text() == "this command's"


def test_weights_that_were_brought_are_not_pushed_again(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "shared" / "demo" / "best"
    there.mkdir()
    (there / "model.safetensors").write_bytes(b"weights")
    with opened_study(studies, "demo") as folder:
        bring_file(folder, "best/model.safetensors")
        assert (folder / "best" / "model.safetensors").read_bytes() == b"weights"
        monkeypatch.setattr(Remote, "upload", lambda *_: pytest.fail("uploaded"))
    (folder / "best" / "model.safetensors").unlink()  # to make room here, and nowhere else
    with opened_study(studies, "demo"):
        pass
    assert (there / "model.safetensors").exists()


def test_a_journal_that_is_ahead_stays(studies: str, tmp_path: Path) -> None:
    folder = find_study(studies, "demo")
    shared = tmp_path / "shared" / "demo" / "events.jsonl"
    lines = shared.read_bytes().splitlines(keepends=True)
    shared.write_bytes(b"".join(lines[:-2]))  # this machine died before it pushed two events
    bring_study(studies, "demo")
    assert len(list(read(folder / "events.jsonl"))) == len(lines)
    shared.write_bytes(b"".join([*lines[:-2], lines[-1]]))  # another one has gone on
    bring_study(studies, "demo")
    assert (folder / "events.jsonl").read_bytes() == shared.read_bytes()


def test_who_drives_a_study_here_is_not_disturbed(studies: str, tmp_path: Path) -> None:
    folder = find_study(studies, "demo")
    (folder / "manual.json").write_text("{}")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_study(studies, "demo") == folder
        with opened_study(studies, "demo"):
            (folder / "report.html").write_text("x")
    assert (folder / "manual.json").exists()
    assert not (tmp_path / "shared" / "demo" / "report.html").exists()  # who drives it pushes it


def test_an_unreachable_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_copy, "retried", lambda action: retried(action, 2, lambda _: None))
    monkeypatch.setattr(Remote, "entry", lambda *_: (_ for _ in ()).throw(StorageError("timeout")))
    with pytest.raises(StorageError, match="timeout"):
        find_study(f"file://{tmp_path}", "demo")


def test_times_of_the_last_moment_prove_nothing(studies: str, tmp_path: Path) -> None:
    there = tmp_path / "shared" / "demo" / "manual.json"
    moment = time.time_ns() + 60_000_000_000  # the store's clock; it need not be over for this machine, however slow
    for rating in "34":  # the second within the same tick
        there.write_text(f'{{"fake_00001": {rating}}}')
        os.utime(there, ns=(moment, moment))
        folder = find_study(studies, "demo")
        assert (folder / "manual.json").read_text() == there.read_text()


def test_a_journal_is_not_read_to_see_that_nobody_is_ahead(studies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_study(studies, "demo")
    monkeypatch.setattr(Remote, "read", lambda _, name: pytest.fail(f"{name} was read"))
    find_study(studies, "demo")
