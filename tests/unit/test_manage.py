"""`list`, `status=NAME` and `stop=NAME`: what they print, and of what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from datasets.errors import StudyError
from results.journal import Journal, SessionEnded, SessionStarted, TrialStarted
from search import manage
from search.driver import Driver
from search.lock import driving
from search.manage import ManageConfig, show_list, show_status, stop
from search.run import main
from tests.studies import SECONDS_PER_EPOCH, START, FakeTrial, make_study

BUDGET: dict[str, float | int | None] = {"trials": 8, "epochs": None, "hours": 2.0, "gpu_hours": None}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """`done` has finished; `dead` was killed in the middle of a trial."""
    done = [FakeTrial(0, (0.5, 0.4, 0.3), origin="base"), FakeTrial(1, (0.6,), state="pruned")]
    done.append(FakeTrial(2, (0.5, 0.4, 0.31), repeats=0))
    folder = make_study(tmp_path, done, name="done")
    Journal(folder / "events.jsonl").append(SessionEnded("finished", 3600.0, 0.0))
    folder = make_study(tmp_path, [FakeTrial(0, (0.5,), state=None)], name="dead")
    Journal(folder / "events.jsonl").append(SessionStarted(1, "code", "command", BUDGET, [], 0.0))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main([*words])
    return capsys.readouterr().out


def test_the_list_has_each_study_with_its_state(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (studies / "nothing").mkdir()
    lines = printed(capsys, "list", f"paths.studies={studies}").splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines}
    assert set(rows) == {"study", "done", "dead"}
    assert "finished 1 completed, 1 pruned 30.0 %" in rows["done"]
    assert "died; resume goes on 1 died - " in rows["dead"]


def test_a_running_study_is_one_line_of_a_narrow_terminal(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with driving(studies / "dead"):
        lines = printed(capsys, "list", f"paths.studies={studies}").splitlines()
    assert len(lines) == 3
    assert [line.split()[3] for line in lines if "dead" in line] == ["running"]


def test_a_damaged_study_is_listed_as_that(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = studies / "dead" / "events.jsonl"
    journal.write_text("no JSON\n" + journal.read_text())
    show_list(ManageConfig(studies=str(studies)))
    out = " ".join(capsys.readouterr().out.split())
    assert "damaged: " in out
    assert "events.jsonl, line 1" in out
    assert "done" in out


def test_without_studies_the_list_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "list", f"paths.studies={tmp_path}") == f"no study yet in {tmp_path}\n"


def test_status_shows_each_trial_and_how_to_go_on(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "status=dead", f"paths.studies={studies}")
    assert "dead       died; resume goes on" in out
    assert "1 trial, 1 epoch, " in out
    assert "budget 8 trials, 2 hours" in out
    [row] = [line.split() for line in out.splitlines() if line.split()[:2] == ["0", "died"]]
    assert row[2:5] == ["1/3", "50.0", "%"]
    assert out.splitlines()[-1] == "to go on   python -m search.run resume=dead"


def test_status_tells_repeats_from_trials(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "status=done", f"paths.studies={studies}")
    assert "2 trials and 1 again with other seeds, 7 epochs, 1.00 hours" in out
    assert "trial 0 with another seed" in out


def test_status_of_one_that_runs_says_by_whom(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with driving(studies / "dead"):
        show_status(ManageConfig(name="dead", studies=str(studies)))
    out = capsys.readouterr().out
    assert f"running (process {os.getpid()} on " in out
    assert "died" not in out
    assert "to go on" not in out


@pytest.mark.parametrize("tool", [show_status, stop])
def test_a_study_that_is_not_there_is_not_there(tool: object, studies: Path) -> None:
    with pytest.raises(StudyError, match=r"study=ded: no such study .*did you mean dead"):
        tool(ManageConfig(name="ded", studies=str(studies)))  # type: ignore[operator]


def test_stop_tells_the_process_that_drives(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(manage.os, "kill", lambda pid, number: sent.append((pid, number)))
    with driving(studies / "dead"):
        for words in ([], ["now=true"], []):
            main(["stop=dead", *words, f"paths.studies={studies}"])
    process = os.getpid()
    assert sent == [(process, signal.SIGUSR1), (process, signal.SIGUSR2), (process, signal.SIGUSR1)]
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"dead ends with the epochs that its trials are in (process {process} on ")
    assert out[1].startswith("dead ends now")


def test_stop_refuses_where_there_is_nothing_to_stop_and_leaves_word_elsewhere(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StudyError, match="study=dead is not running"):
        stop(ManageConfig(name="dead", studies=str(studies)))
    monkeypatch.setattr(manage, "driver", lambda _: Driver(7, "another-host", "today"))
    stop(ManageConfig(name="dead", studies=str(studies), now=True))
    assert json.loads((studies / "dead" / "stop.json").read_text(encoding="utf-8")) == {"now": True}
    assert "process 7 on another-host" in capsys.readouterr().out
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(manage, "driver", lambda _: replace(Driver.this(), pid=ended.pid))
    with pytest.raises(StudyError, match=rf"process {ended.pid} on .* could not be told .No such process"):
        stop(ManageConfig(name="dead", studies=str(studies)))


def test_a_running_trial_was_last_heard_of_at_its_last_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [FakeTrial(0, (0.5, 0.4), state=None), FakeTrial(1, (0.5,), state="pruned"), FakeTrial(2, (), state=None)]
    make_study(tmp_path, trials)
    lines = printed(capsys, "status=demo", f"paths.studies={tmp_path}").splitlines()
    rows = [line.split() for line in lines if line.split()[1:2] in (["died"], ["pruned"])]
    heard = [datetime.fromisoformat(f"{row[-2]} {row[-1]}+00:00").timestamp() - START for row in rows]
    assert heard == [2 * SECONDS_PER_EPOCH, 1000 + SECONDS_PER_EPOCH + 1, 2000]


def test_status_of_one_that_is_over_says_how_to_give_it_more(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = printed(capsys, "status=done", f"paths.studies={studies}").splitlines()[-1]
    assert last.startswith("for more   python -m search.run resume=done extend=+20 (gives it 20 more trials")
    Journal(studies / "done" / "events.jsonl").append(SessionEnded("out of epochs", 3600.0, 0.0))
    last = printed(capsys, "status=done", f"paths.studies={studies}").splitlines()[-1]
    assert last.endswith("resume=done extend=+100epochs (adds to it)")
    Journal(studies / "done" / "events.jsonl").append(SessionEnded("interrupted", 3600.0, 0.0))
    last = printed(capsys, "status=done", f"paths.studies={studies}").splitlines()[-1]
    assert last.endswith("resume=done")


@pytest.mark.parametrize("verb", ["status", "stop", "resume", "status="])
def test_a_verb_without_a_name_says_which_there_are(verb: str, studies: Path) -> None:
    with pytest.raises(StudyError, match=rf"which study\? {verb.strip('=')}=NAME; there are dead, done"):
        main([verb, f"paths.studies={studies}"])


def test_a_study_that_has_only_begun_has_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(tmp_path, [])
    show_status(ManageConfig(name="demo", studies=str(tmp_path)))
    assert "demo       not begun" in capsys.readouterr().out
    Journal(folder / "events.jsonl").append(TrialStarted("0000", 0, 0, {}, 0.0))
    show_status(ManageConfig(name="demo", studies=str(tmp_path)))
    assert "0/3" in capsys.readouterr().out
