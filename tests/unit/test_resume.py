"""What a search may be resumed with, and what it must not have lost or changed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.errors import ConfigError, StudyError
from results.gather import write_reports
from results.provenance import Provenance
from results.study import CorpusRecord, read_study, write_study
from search.config import BudgetConfig, SearchConfig
from search.resume import Resumed, changes_since, check_state, extended, study_to_resume
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


@pytest.mark.parametrize(
    ("extend", "budget"),
    [
        ("", BudgetConfig(trials=8)),
        ("+20", BudgetConfig(trials=28)),
        ("4trials", BudgetConfig(trials=12)),
        ("+1.5hours", BudgetConfig(trials=8, hours=3.5)),
        ("+100epochs, +8gpu_hours", BudgetConfig(trials=8, epochs=150, gpu_hours=9.0)),
    ],
)
def test_a_budget_is_extended(extend: str, budget: BudgetConfig) -> None:
    before = {name: getattr(budget, name) and old for name, old in (("epochs", 50), ("hours", 2.0), ("gpu_hours", 1.0))}
    assert extended(BudgetConfig(trials=8, **before), extend) == budget  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extend", "message"),
    [
        ("+2hours", "extend=+2hours: the study has no limit of hours"),
        ("20x", "extend=20x: it is a number of trials such as +20, or a number and one of trials, epochs, hours"),
        ("-3", "extend=-3: it is a number"),
    ],
)
def test_what_is_no_extension_is_refused(extend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        extended(BudgetConfig(trials=8), extend)


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


def test_a_damaged_line_is_named(config: SearchConfig) -> None:
    journal = config.folder() / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], '{"event": "epoch_rep\n', *lines[3:]]))
    with pytest.raises(StudyError, match=r"events.jsonl, line 4: damaged .*remove the line"):
        resumed(config)


def test_one_whose_budget_is_spent_needs_more(tmp_path: Path) -> None:
    spent = search_config(tmp_path, budget=BudgetConfig(trials=None, epochs=3))
    record = study_record("driven", ("optimizer.learning_rate", "model.decoder.dropout"))
    write_study(spent.folder(), dataclasses.replace(record, config=dataclasses.asdict(spent)))
    Session(spent).run()
    with pytest.raises(StudyError, match=r"has used up its budget .out of epochs.; extend="):
        check_state(resumed(spent))
    check_state(resumed(spent, "extend=+6epochs"))


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
        (changed(made, code=code), corpus(), "the code: run 77, commit 9e2c1412, uncommitted changes then, run 77"),
        (made, corpus("fedcba9876543210"), "the corpus engraved: 0123456789ab then, fedcba987654 now"),
        (changed(made, packages=packages), corpus(), "torch: 2.11.0 then, 3.0 now"),
    ]:
        with pytest.raises(StudyError, match=f"study=driven: since it was begun, {name}.*force=true"):
            changes_since(study, there, now)
        [change] = changes_since(dataclasses.replace(study, force=True), there, now)
        assert change.startswith(name)
