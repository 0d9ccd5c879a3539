"""The end of a search: what is written, what is said, and what becomes of it where something cannot be written."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import pytest

from datasets.errors import CheckpointError, ConfigError, StudyError
from results import report
from results.journal import Journal, SessionStarted
from results.training_log import read_log
from search import closing
from search.closing import close, enter, entered_if_it_breaks_off
from search.config import PathsConfig, SearchConfig
from search.outcome import Outcome
from tests.studies import FakeTrial, make_study, unloadable


@pytest.fixture(autouse=True)
def _page_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page itself, which takes seconds, is for its own tests."""

    def write_report(folder: Path, to: Path, exported: Path | None = None, _known: object = None) -> Path:
        to.write_text(f"{folder.name} {exported and exported.name}", encoding="utf-8")
        return to

    monkeypatch.setattr(report, "write_report", write_report)
    monkeypatch.setattr("results.read_back._load", unloadable)


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    """A search whose trials have ended."""
    make_study(tmp_path, [FakeTrial(0, (0.5, 0.4, 0.3), origin="base"), FakeTrial(1, (0.5, 0.4, 0.2))])
    return SearchConfig(study="demo", paths=PathsConfig(studies=str(tmp_path), log=str(tmp_path / "LOG.md")))


def states(config: SearchConfig) -> list[str]:
    """Of the entries in the log."""
    log = Path(config.paths.log)
    return [entry.state for entry in read_log(log).studies()] if log.exists() else []


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_finished_search_is_exported_told_and_entered(
    config: SearchConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    close(config, Outcome.FINISHED)
    out = capsys.readouterr().out
    assert (config.folder() / "best" / "model.safetensors").is_file()
    assert (config.folder() / "reports" / "importance.parquet").is_file()
    folder = config.folder()
    assert out.splitlines()[-3:] == [
        f"report     {folder / 'report.html'}",
        f"export     {folder / 'best'}",
        f"log        {config.paths.log}: Study demo, finished",
    ]
    assert (folder / "report.html").is_file()
    assert out.count("Which settings matter") == 1
    assert states(config) == ["finished"]


@pytest.mark.parametrize("exported", [True, False])
def test_a_page_that_cannot_be_written_is_told_and_loses_nothing_else(
    config: SearchConfig, exported: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not exported:
        monkeypatch.setattr(closing, "export", full)
    monkeypatch.setattr(report, "write_report", full)
    monkeypatch.setattr(closing, "show_in_optuna", full)
    with nullcontext() if exported else pytest.raises(StudyError, match="No space left"):
        close(config, Outcome.FINISHED)
    out = capsys.readouterr().out
    assert "optuna     not told of artifacts: OSError: [Errno 28]" in out
    assert out.splitlines()[-3] == "report     not written: OSError: [Errno 28] No space left on device"
    assert (config.folder() / "reports" / "importance.parquet").is_file()
    assert len(states(config)) == 1


def test_a_budget_that_is_spent_is_no_accident_and_an_interruption_is(config: SearchConfig) -> None:
    close(config, Outcome.OUT_OF_TIME)
    assert states(config) == ["finished"]
    with pytest.raises(KeyboardInterrupt):
        close(config, Outcome.INTERRUPTED)
    assert states(config) == ["aborted: interrupted"]


def test_damaged_weights_are_told_and_all_else_is_written(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(*_: object) -> NoReturn:
        raise CheckpointError("model.safetensors is damaged")

    monkeypatch.setattr("results.read_back._load", damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        close(config, Outcome.FINISHED)
    assert "export     none: model.safetensors is damaged" in capsys.readouterr().out
    assert states(config) == ["finished"]
    assert (config.folder() / "report.html").exists()


@pytest.mark.parametrize("part", ["export", "write_findings"])
def test_a_disk_that_is_full_at_the_end_keeps_nothing_else_from_being_done(
    config: SearchConfig, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(closing, part, full)
        with pytest.raises(StudyError, match=r"No space left.*what was trained is safe.*then resume=demo"):
            close(config, Outcome.FINISHED)
        assert states(config)[0].startswith("aborted: ")  # so that resume=demo is not told that there is nothing to do
        with pytest.raises(StudyError, match="the disk is full; make room, then resume"):
            close(config, Outcome.DISK_FULL)
    assert "Which settings matter" in capsys.readouterr().out
    assert states(config) == ["aborted: the disk is full"]
    close(config, Outcome.FINISHED)
    assert states(config) == ["finished"]


def test_a_log_that_cannot_be_written_hides_no_interruption(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(closing, "add_entry", full)
    with pytest.raises(KeyboardInterrupt):
        close(config, Outcome.INTERRUPTED)
    with pytest.raises(StudyError, match="No space left"):
        close(config, Outcome.FINISHED)
    assert capsys.readouterr().out.count("not entered: [Errno 28]") == 2


def test_without_a_trial_that_was_trained_to_the_end_there_is_an_entry_and_an_error(tmp_path: Path) -> None:
    make_study(tmp_path, [FakeTrial(0, (0.5,), state="failed")])
    config = SearchConfig(study="demo", paths=PathsConfig(studies=str(tmp_path), log=str(tmp_path / "LOG.md")))
    with pytest.raises(StudyError, match="no trial"):
        close(config, Outcome.FINISHED)
    assert states(config) == ["finished"]


def begin(config: SearchConfig) -> None:
    Journal(config.folder() / "events.jsonl").append(SessionStarted(1, "code", "command", {}, [], 0.0))


def begun_and_ended_by(error: BaseException, config: SearchConfig) -> NoReturn:
    with entered_if_it_breaks_off(config):
        begin(config)
        raise error


def test_a_session_that_never_began_leaves_the_log_as_it_is(config: SearchConfig) -> None:
    begin(config)
    enter(config, "finished")
    with pytest.raises(ConfigError), entered_if_it_breaks_off(config):
        raise ConfigError("Ray did not start")
    assert states(config) == ["finished"]


def test_one_that_began_is_entered_with_what_ended_it(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(config, "finished")
    with pytest.raises(ConfigError):
        begun_and_ended_by(ConfigError("no such cluster"), config)
    assert states(config) == ["aborted: ConfigError: no such cluster"]
    with pytest.raises(KeyboardInterrupt):
        begun_and_ended_by(KeyboardInterrupt(), config)
    assert states(config) == ["aborted: interrupted"]
    monkeypatch.setattr(closing, "add_entry", full)
    with pytest.raises(ConfigError, match="what matters"):
        begun_and_ended_by(ConfigError("what matters"), config)
    assert "not entered in the log: [Errno 28]" in capsys.readouterr().out
