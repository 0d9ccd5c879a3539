"""What a search may be resumed with, and what it must not have lost or changed."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.errors import ConfigError, LogError, StudyError, StudyOverError
from results.gather import write_reports
from results.journal import Journal, SessionEnded, SessionStarted, read
from results.log_records import FINISHED
from results.provenance import Provenance
from results.replay import Replay, latest_confirm
from results.study import CorpusRecord, read_study, write_study
from search.closing import enter
from search.config import BudgetConfig, ConfirmConfig, PathsConfig, SchedulerConfig, SearchConfig
from search.resume import Resumed, changes_since, check_state, extended, study_to_resume
from search.study import resume_study
from tests.driven import Session, search_config
from tests.studies import study_record


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    """A search of two trials, run to its end."""
    config = search_config(tmp_path, budget=BudgetConfig(trials=2))
    record = study_record("driven", ("optimizer.learning_rate", "model.decoder.dropout"))
    write_study(config.folder(), dataclasses.replace(record, config=dataclasses.asdict(config)))
    Session(config).run()
    return config


def resumed(config: SearchConfig, *words: str) -> Resumed:
    return study_to_resume(["resume=driven", f"paths.studies={config.paths.studies}", *words])


def test_it_goes_on_as_it_was_begun(config: SearchConfig) -> None:
    study = resumed(config)
    assert study.config == config
    assert (study.extended, study.force) == (False, False)
    assert resumed(config, "force=true").force


def test_how_trials_are_run_may_change_and_what_they_are_may_not(config: SearchConfig) -> None:
    study = resumed(config, "trial.retries=3", "cluster.cpus=1", "disk.cap=4", "confirm.rounds=6")
    assert (study.config.trial.retries, study.config.cluster.cpus) == (3, 1)
    assert (study.config.disk.cap, study.config.confirm.rounds) == (4.0, 6)
    for word in ("train.epochs=9", "sampler=tpe", "seed=1", "budget.trials=9", "space=depth"):
        with pytest.raises(ConfigError, match=f"{word.split('=')[0]}: a study goes on as it was begun; resume takes"):
            resumed(config, word)
    with pytest.raises(ConfigError, match="force=perhaps: it is true or false"):
        resumed(config, "force=perhaps")


def test_an_unknown_study_is_named_with_those_there_are(config: SearchConfig) -> None:
    with pytest.raises(StudyError, match=r"study=driver: no such study .*did you mean driven"):
        study_to_resume(["resume=driver", f"paths.studies={config.paths.studies}"])


@pytest.mark.parametrize("word", ["force", "resume", "--config"])
def test_a_word_that_is_no_field_is_refused(config: SearchConfig, word: str) -> None:
    with pytest.raises(ConfigError, match=f"'{word}' is not of the form field=value; `resume=NAME"):
        resumed(config, word)


LIMITS = {"epochs": 50, "hours": 2.0, "gpu_hours": 1.0}


def search(**fields: Any) -> SearchConfig:
    return SearchConfig(**{"budget": BudgetConfig(trials=8, **LIMITS), "confirm": ConfirmConfig()} | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extend", "more"),
    [
        ("", {}),
        ("+20", {"trials": 28}),
        ("4trials", {"trials": 12}),
        ("+1.5hours", {"hours": 3.5}),
        ("+100epochs, +8gpu_hours", {"epochs": 150, "gpu_hours": 9.0}),
    ],
)
def test_a_budget_is_extended(extend: str, more: dict[str, Any]) -> None:
    now = extended(search(), extend)
    assert now == search(budget=BudgetConfig(**{"trials": 8, **LIMITS, **more}))  # type: ignore[arg-type]
    assert type(now.budget.trials) is int


def test_so_are_the_rounds_of_repeats() -> None:
    now = extended(search(), "+4rounds,+2")
    assert (now.confirm, now.budget.trials) == (ConfirmConfig(rounds=8), 10)


@pytest.mark.parametrize(
    ("fields", "extend", "message"),
    [
        ({"budget": BudgetConfig()}, "+2hours", "extend=+2hours: the study has no limit of hours"),
        ({}, "20x", "extend=20x: it is a number of trials such as +20, or a number and one of trials, epochs, hours"),
        ({}, "-3", "extend=-3: it is a number"),
        ({}, "+1.5", "extend=+1.5: trials are whole"),
        ({}, "+0.5rounds", "extend=+0.5rounds: rounds are whole"),
        ({"confirm": ConfirmConfig(top=0)}, "+4rounds", "extend=+4rounds: no trial of this study is trained again"),
        ({"scheduler": SchedulerConfig(name="pbt")}, "+4rounds", "extend=+4rounds: no trial of this study is trained"),
    ],
)
def test_what_is_no_extension_is_refused(fields: dict[str, Any], extend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        extended(search(**fields), extend)


def test_an_extension_lasts(config: SearchConfig) -> None:
    study = resumed(config, "extend=+2")
    assert (study.config.budget.trials, study.extended) == (4, True)
    Session(study.config).run()
    assert resumed(config).config.budget.trials == 4
    assert resumed(config, "extend=+1").config.budget.trials == 5


def test_a_study_without_its_journal_cannot_go_on(config: SearchConfig) -> None:
    (config.folder() / "events.jsonl").unlink()
    with pytest.raises(StudyError, match=r"events.jsonl is gone, and with it what has been run"):
        check_state(resumed(config))


def test_a_study_that_was_killed_before_it_began_is_begun(config: SearchConfig) -> None:
    folder = config.folder()
    shutil.move(folder / "study.json", folder.parent)
    shutil.rmtree(folder)
    folder.mkdir()
    shutil.move(folder.parent / "study.json", folder)
    (folder / "lock").touch()
    check_state(resumed(config))
    assert resumed(config).config == config


def finish(config: SearchConfig) -> SearchConfig:
    """Enter the study in a log of its own as finished, which is the last that a search does."""
    log = config.folder().parent / "LOG.md"
    config = dataclasses.replace(config, paths=PathsConfig(studies=config.paths.studies, log=str(log)))
    write_study(config.folder(), dataclasses.replace(read_study(config.folder()), config=dataclasses.asdict(config)))
    enter(config, FINISHED)
    return config


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchConfig:
    """The same search at an address, where record and journal are; the rest could not be written."""
    monkeypatch.setenv("OMR_SEARCH_CACHE", str(tmp_path / "cache"))
    paths = PathsConfig(studies=f"file://{tmp_path}/shared", corpora="/first/corpora", log="/first/LOG.md")
    config = search_config(tmp_path, budget=BudgetConfig(trials=2), paths=paths)
    record = study_record("driven", ("optimizer.learning_rate", "model.decoder.dropout"))
    config.folder().mkdir()
    write_study(config.folder(), dataclasses.replace(record, config=dataclasses.asdict(config)))
    Session(config).run()
    (config.folder() / "best").mkdir()
    (config.folder() / "best" / "report.md").write_text("the best trial")
    (tmp_path / "shared" / "driven").mkdir(parents=True)
    for name in ("study.json", "events.jsonl"):
        shutil.copy(config.folder() / name, tmp_path / "shared" / "driven")
    return config


def test_on_another_machine_that_one_has_its_own_log_and_corpora(stored: SearchConfig) -> None:
    shutil.rmtree(stored.folder())
    paths = resumed(stored).config.paths
    assert paths == PathsConfig(studies=stored.paths.studies)
    named = resumed(stored, "paths.log=/second/LOG.md", "paths.corpora=/second").config.paths
    assert named == PathsConfig(studies=stored.paths.studies, corpora="/second", log="/second/LOG.md")
    record = read_study(stored.folder())
    changed = {**record.config, "paths": {**record.config["paths"], "corpora": "s3://bucket/corpora"}}
    there = Path(stored.paths.studies.removeprefix("file://"), "driven")
    write_study(there, dataclasses.replace(record, config=changed))
    assert resumed(stored).config.paths.corpora == "s3://bucket/corpora"


def test_a_log_without_a_folder_is_told_before_anything_is_trained(config: SearchConfig) -> None:
    with pytest.raises(LogError, match=r"paths\.log=/nowhere/LOG.md: there is no folder /nowhere"):
        resume_study(["resume=driven", f"paths.studies={config.paths.studies}", "paths.log=/nowhere/LOG.md"])


def test_what_a_finished_study_could_not_write_to_its_address_is_written_when_it_is_resumed(
    stored: SearchConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "LOG.md"
    enter(dataclasses.replace(stored, paths=dataclasses.replace(stored.paths, log=str(log))), FINISHED)
    words = ["resume=driven", f"paths.studies={stored.paths.studies}", f"paths.log={log}"]
    resume_study(words)
    assert re.search(r"written +\d+ files that were missing at file://", capsys.readouterr().out)
    assert (tmp_path / "shared" / "driven" / "best" / "report.md").read_text() == "the best trial"
    with pytest.raises(StudyOverError, match="study=driven is finished"):
        resume_study(words)


def test_a_finished_study_takes_more_trials_or_more_seeds(config: SearchConfig) -> None:
    config = finish(dataclasses.replace(config, confirm=ConfirmConfig()))
    with pytest.raises(StudyError, match=r"study=driven is finished; extend=\+20 gives it 20 more trials, \+4rounds"):
        check_state(resumed(config, "confirm.top=0"))  # as it was run
    for words in (["extend=+1"], ["confirm.top=0", "extend=+2"], ["confirm.top=1", "confirm.rounds=8"]):
        study = resumed(config, *words)
        assert study.extended
        check_state(study)


def test_more_rounds_last_and_a_change_of_what_is_confirmed_too(config: SearchConfig) -> None:
    study = resumed(config, "confirm.top=2", "extend=+4rounds")
    assert (study.config.confirm, study.extended) == (ConfirmConfig(top=2, rounds=8), True)
    Session(study.config).run()
    again = resumed(config)
    assert (again.config.confirm, again.extended) == (study.config.confirm, False)
    sessions = Replay(read(config.folder() / "events.jsonl")).sessions
    assert latest_confirm(sessions, again.record.config) == dataclasses.asdict(study.config.confirm)
    assert resumed(config, "extend=+4rounds").config.confirm == ConfirmConfig(top=2, rounds=12)


def test_what_is_confirmed_is_what_the_latest_session_says_or_the_study_or_nobody() -> None:
    silent = SessionStarted(1, "code", "command", {}, [], 0.0)
    told = dataclasses.replace(silent, confirm={"top": 3, "rounds": 2, "worthwhile": 0.02})
    assert latest_confirm([told, silent], {"confirm": {"top": 9}}) == told.confirm
    assert latest_confirm([silent], {"confirm": {"top": 9}}) == {"top": 9, "rounds": 4, "worthwhile": 0.01}
    assert latest_confirm([], {}) == dataclasses.asdict(ConfirmConfig())


def test_an_extension_that_was_killed_goes_on_without_another_one(tmp_path: Path) -> None:
    spent = search_config(tmp_path, budget=BudgetConfig(trials=None, epochs=3))
    record = study_record("driven", ("optimizer.learning_rate", "model.decoder.dropout"))
    write_study(spent.folder(), dataclasses.replace(record, config=dataclasses.asdict(spent)))
    Session(spent).run()
    spent = finish(spent)
    with pytest.raises(StudyError, match=r"out of epochs.; extend=\+100epochs adds to it"):
        check_state(resumed(spent))
    with pytest.raises(StudyError, match=r"out of epochs"):
        check_state(resumed(spent, "confirm.top=1"))  # which takes more epochs, too
    extension = resumed(spent, "extend=+6epochs")
    check_state(extension)
    Session(extension.config)  # and killed
    check_state(resumed(spent))
    assert resumed(spent).config.budget.epochs == 9
    Journal(spent.folder() / "events.jsonl").append(SessionEnded("out of epochs", 1.0, 0.0))
    with pytest.raises(StudyError, match=r"out of epochs"):
        check_state(resumed(spent))


def test_a_damaged_line_is_named(config: SearchConfig) -> None:
    journal = config.folder() / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], '{"event": "epoch_rep\n', *lines[3:]]))
    with pytest.raises(StudyError, match=r"events.jsonl, line 4: damaged .*remove the line"):
        resumed(config)


def test_a_lost_record_is_written_again_out_of_a_report(config: SearchConfig) -> None:
    write_reports(config.folder())
    before = (config.folder() / "study.json").read_text()
    record = read_study(config.folder())
    (config.folder() / "study.json").unlink()
    assert resumed(config).record == record
    assert (config.folder() / "study.json").read_text().strip() == before.strip()


@pytest.mark.parametrize("report", [b"", b"no parquet"])
def test_a_lost_record_and_a_corrupt_report_is_no_study(config: SearchConfig, report: bytes) -> None:
    (config.folder() / "study.json").unlink()
    (config.folder() / "reports" / "trials.parquet").write_bytes(report)
    with pytest.raises(StudyError, match="study=driven: no such study"):
        resumed(config)


def changed(made: Provenance, **fields: Any) -> Provenance:
    return dataclasses.replace(made, **fields)


def corpus(content: str = "0123456789abcdef") -> Any:
    return SimpleNamespace(path=Path("engraved"), manifest=SimpleNamespace(content_hash=content))


def test_what_has_changed_is_refused_unless_it_is_accepted(config: SearchConfig) -> None:
    study = resumed(config)
    made = study.record.provenance
    assert study.record.corpus == CorpusRecord("engraved", "datasets/corpora/engraved", "0123456789abcdef")
    assert changes_since(study, corpus(), changed(made, time="later", command_line="resume=driven")) == []
    packages = {**made.packages, "torch": "3.0"}
    code = dataclasses.replace(made.code, digest="other")
    for now, there, name in [
        (changed(made, code=code), corpus(), "the code: commit 9e2c1412 (the 77th), uncommitted changes then, commit"),
        (made, corpus("fedcba9876543210"), "the corpus engraved: 0123456789ab then, fedcba987654 now"),
        (changed(made, packages=packages), corpus(), "torch: 2.11.0 then, 3.0 now"),
    ]:
        with pytest.raises(StudyError, match=f"study=driven: since it was begun, {re.escape(name)}.*force=true"):
            changes_since(study, there, now)
        [change] = changes_since(dataclasses.replace(study, force=True), there, now)
        assert change.startswith(name)
