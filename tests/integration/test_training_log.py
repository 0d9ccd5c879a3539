"""LOG.md as a file: studies that end in it, side by side too, and its command line."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datasets.addresses import joined
from datasets.errors import ConfigError, LogError, StudyError
from results.gather import gather
from results.log_format import format_log
from results.log_records import LogNote, LogRun, LogStudy, TrainingLog
from results.log_study import study_entry
from results.manual import read_manual, write_manual
from results.training_log import add_entry, command, read_log
from tests.logs import TRIALS, make_budgeted

ROOT = Path(__file__).resolve().parents[2]
RUN = LogRun(number=56, ser=0.72, settings={"train.epochs": 30}, changed="Dropout 0.1.")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    make_budgeted(tmp_path / "studies", TRIALS)
    return tmp_path / "studies"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "LOG.md"
    path.write_text(format_log(TrainingLog("Words.", (LogNote(title="A note", body="| a |"), RUN))))
    return path


def run(*words: str, log: Path, studies: Path) -> int:
    """The command line in this process; its exit status."""
    with pytest.raises(SystemExit) as exit_:
        command([*words, f"log={log}", f"studies={studies}"])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


# The file.


def test_a_new_entry_is_put_at_the_top_and_nothing_else_changes(log: Path, studies: Path) -> None:
    before = log.read_text()
    entry = study_entry(studies / "demo")
    add_entry(log, entry)
    head, _, rest = before.partition("## A note")
    assert log.read_text().startswith(f"{head}## Study demo\n")
    assert log.read_text().endswith(f"\n\n## A note{rest}")
    assert read_log(log).entries[0] == entry


def test_a_log_that_is_not_there_is_made(tmp_path: Path, studies: Path) -> None:
    add_entry(tmp_path / "new.md", study_entry(studies / "demo"))
    made = read_log(tmp_path / "new.md")
    assert [entry.title for entry in made.entries] == ["Study demo"]
    assert "results.training_log" in made.introduction


def test_nothing_is_left_beside_the_log_but_its_lock(log: Path, studies: Path) -> None:
    add_entry(log, study_entry(studies / "demo"))
    beside = {path.name for path in log.parent.iterdir()} - {"studies"}
    assert beside == {"LOG.md", ".LOG.md.lock"}
    ignored = subprocess.run(["git", "check-ignore", "--quiet", ".LOG.md.lock"], cwd=ROOT, check=False)
    assert ignored.returncode in (0, 128)  # 128: not a git checkout


def test_how_to_go_on_is_said_with_the_address_of_a_study_that_has_one(log: Path, studies: Path) -> None:
    log.write_text("## Run 3\n\n- Date: soon\n")
    there = "s3://bucket/omr/studies?endpoint_override=h:1"
    entry = dataclasses.replace(study_entry(studies / "demo"), folder=joined(there, "demo"))
    with pytest.raises(LogError, match=re.escape(f"add study=demo '{f'studies={there}'}' log={log}")):
        add_entry(log, entry)


def test_a_damaged_log_stays_as_it_is_and_says_how_to_go_on(log: Path, studies: Path) -> None:
    log.write_text(f"{log.read_text()}\n## Run 3\n\n- Date: soon\n")
    damaged = log.read_text()
    with pytest.raises(LogError, match=r"LOG\.md, line 18, Run 3: Date: expected a date") as error:
        add_entry(log, study_entry(studies / "demo"))
    assert f"python -m results.training_log add study=demo studies={studies} log={log}" in str(error.value)
    assert log.read_text() == damaged


def test_the_way_to_go_on_is_short_where_all_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "LOG.md"
    log.write_text("nothing")
    monkeypatch.setattr("results.training_log.DEFAULT_LOG", log)
    entry = LogStudy(
        name="my study", date=datetime.date(2024, 4, 11), state="finished", folder="results/studies/my study"
    )
    with pytest.raises(LogError) as error:
        add_entry(log, entry)
    assert str(error.value).endswith(": python -m results.training_log add 'study=my study'")


def test_a_log_that_is_no_text_is_damaged(log: Path) -> None:
    log.write_bytes(b"# Training log\n\xff\n")
    with pytest.raises(LogError, match="byte 15 is not UTF-8"):
        read_log(log)


ADD_MANY = """
import datetime, sys
from pathlib import Path
from results.log_records import LogStudy
from results.training_log import add_entry
log, who = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    add_entry(log, LogStudy(name=f"{who}-{number}", date=datetime.date(2024, 4, 11), state="finished"))
"""


def test_studies_that_end_at_once_lose_nothing(log: Path) -> None:
    before = read_log(log).entries
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_MANY, str(log), who],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("a", "b", "c")
    ]
    for process in processes:  # all have imported what they need: now they run side by side
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    added = read_log(log)
    assert {study.name for study in added.studies()} == {f"{who}-{number}" for who in "abc" for number in range(20)}
    assert len(added.studies()) == 60
    assert added.entries[60:] == before


# Manual validation.


def test_ratings_are_kept_by_trial(studies: Path) -> None:
    folder = studies / "demo"
    assert read_manual(folder) == {}
    write_manual(folder, "fake_00000", 14.0)
    write_manual(folder, "fake_00001", 15.5)
    write_manual(folder, "fake_00000", 13.7)
    assert read_manual(folder) == {"fake_00000": 13.7, "fake_00001": 15.5}
    assert gather(folder).trials["manual"].to_pylist() == [13.7, 15.5, None]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_rating_is_a_number(studies: Path, value: float) -> None:
    with pytest.raises(ConfigError, match="`manual` must be a number from 0 on"):
        write_manual(studies / "demo", "fake_00000", value)
    assert read_manual(studies / "demo") == {}


DAMAGED = [("manual.json", text) for text in ("", "[]", '{"fake_00000": "good"}', '{"fake_00000": null}')]
DAMAGED += [("manual/fake_00000.json", text) for text in ("", "[]", '"good"', "null")]


@pytest.mark.parametrize(("name", "text"), DAMAGED)
def test_damaged_ratings_are_named(studies: Path, name: str, text: str) -> None:
    (studies / "demo" / "manual").mkdir()
    (studies / "demo" / name).write_text(text)
    with pytest.raises(StudyError, match=f"{re.escape(name)} is damaged"):
        gather(studies / "demo")


def test_one_command_brings_a_rating_into_log_and_tables(log: Path, studies: Path) -> None:
    assert run("add", "study=demo", "manual=13.7", log=log, studies=studies) == 0
    assert json.loads((studies / "demo" / "manual" / "fake_00001.json").read_text()) == 13.7
    table = pq.read_table(studies / "demo" / "reports" / "trials.parquet")
    assert table["manual"].to_pylist() == [None, 13.7, None]
    [study] = read_log(log).studies()
    assert study == study_entry(studies / "demo")
    assert study.manual == 13.7


def test_a_rating_leaves_the_verdict_that_was_logged(log: Path, studies: Path) -> None:
    entry = study_entry(studies / "demo", reason="interrupted")
    add_entry(log, dataclasses.replace(entry, verdict="As it was said then."))
    assert run("add", "study=demo", "manual=13.7", log=log, studies=studies) == 0
    [study] = read_log(log).studies()
    assert (study.state, study.verdict, study.manual) == ("aborted: interrupted", "As it was said then.", 13.7)


def test_a_rating_of_another_trial_is_not_the_best_ones(
    log: Path, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "study=demo", "trial=2", "manual=20", log=log, studies=studies) == 0
    assert gather(studies / "demo").trials["manual"].to_pylist() == [None, None, 20.0]
    [study] = read_log(log).studies()
    assert study.manual is None
    assert "the rating is in the study's tables alone" in capsys.readouterr().out


def test_a_rating_outlives_a_damaged_log(log: Path, studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text("nothing")
    assert run("add", "study=demo", "manual=13.7", log=log, studies=studies) == 2
    assert "The rating is in" in capsys.readouterr().err
    assert read_manual(studies / "demo") == {"fake_00001": 13.7}


def test_a_run_is_rated_in_its_place(log: Path, studies: Path) -> None:
    assert run("add", "run=56", "manual=13.8", log=log, studies=studies) == 0
    [note, rated] = read_log(log).entries
    assert isinstance(note, LogNote)
    assert rated == dataclasses.replace(RUN, manual=13.8)


# The other verbs.


def test_a_study_is_added_and_renewed_and_keeps_its_rating(log: Path, studies: Path) -> None:
    make_budgeted(studies, TRIALS[:1], name="other")
    for name in ("demo", "other"):
        assert run("add", f"study={name}", log=log, studies=studies) == 0
    assert run("add", "study=demo", "manual=13.7", log=log, studies=studies) == 0
    (studies / "demo" / "manual" / "fake_00001.json").unlink()
    assert run("add", "study=demo", log=log, studies=studies) == 0
    assert [(study.name, study.state.split(":")[0], study.manual) for study in read_log(log).studies()] == [
        ("other", "aborted", None),
        ("demo", "finished", 13.7),
    ]


def test_an_entry_is_shown_as_it_stands(log: Path, studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "run=56", log=log, studies=studies) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("## Run 56\n\n- SER: 72 %")
    assert shown in log.read_text()
    add_entry(log, study_entry(studies / "demo"))
    assert run("show", "study=demo", log=log, studies=studies) == 0
    assert capsys.readouterr().out in log.read_text()


def test_the_list_fits_the_terminal(
    log: Path, studies: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    add_entry(log, study_entry(studies / "demo"))
    assert run("list", log=log, studies=studies) == 0
    listed = capsys.readouterr().out.splitlines()
    assert max(map(len, listed)) <= 90
    assert [line.split()[:3] for line in listed[1:]] == [
        ["2023-11-14", "study", "demo"],
        ["note", "A", "note"],
        ["run", "56", "72"],
    ]


def test_check_passes_and_names_studies_without_an_entry(
    log: Path, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", log=log, studies=studies) == 0
    out = capsys.readouterr().out
    assert "note: study demo has no entry" in out
    assert "1 runs, 0 studies and 1 notes, all in form" in out
    add_entry(log, study_entry(studies / "demo"))
    assert run("check", log=log, studies=studies) == 0
    assert "note:" not in capsys.readouterr().out


def test_check_says_every_finding(log: Path, studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(f"{log.read_text()}## Run 56\n\n- Commit: c360\n- Settings: `train.epocs=3`\n")
    assert run("check", log=log, studies=studies) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 5
    for fragment in ("line 15: would be", "Run 56: it is there 2 times", "train.epocs: no such field", "but is c360"):
        assert fragment in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "name one entry: run=63, or study=NAME"),
        (["show", "run=56", "study=demo"], "name one entry"),
        (["show", "run=57"], "run=57: no such run in the training log; there are 56"),
        (["show", "run=first"], "run: "),
        (["show", "study=dmo"], "study=dmo: no such study in the training log; there are none"),
        (["add"], "name one entry"),
        (["add", "run=56"], "run=56: say what to add to it: manual=13.7"),
        (["add", "run=57", "manual=1"], "run=57: no such run"),
        (["add", "run=56", "manual=-1"], "`manual` must be a number from 0 on, but got -1"),
        (["add", "run=56", "manual=nan"], "`manual` must be a number from 0 on, but got nan"),
        (["add", "study=demo", "manual=inf"], "`manual` must be a number from 0 on, but got inf"),
        (["add", "run=56", "trial=1", "manual=1"], "trial=1: say what it was rated: study=NAME trial=1 manual=13.7"),
        (["add", "study=demo", "trial=1"], "trial=1: say what it was rated"),
        (["add", "study=demo", "trial=7", "manual=1"], "trial=7: no such trial; there are 0 to "),
        (["add", "study=dmo"], "study=dmo: no such study in"),
        (["list", "run=56"], "run: no such field; there are log, studies"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], message: str, log: Path, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = log.read_text()
    assert run(*words, log=log, studies=studies) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert log.read_text() == before
    assert read_manual(studies / "demo") == {}


def test_the_best_trial_cannot_be_rated_where_there_is_none(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_budgeted(tmp_path / "early", TRIALS[2:])
    assert run("add", "study=demo", "manual=1", log=log, studies=tmp_path / "early") == 2
    assert "no trial is completed yet" in capsys.readouterr().err
    assert run("add", "study=demo", "trial=2", "manual=1", log=log, studies=tmp_path / "early") == 0


@pytest.mark.parametrize("verb", ["list", "show run=56", "check", "add run=56 manual=1"])
def test_a_missing_log_is_named(verb: str, studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = studies / "nowhere" / "LOG.md"
    assert run(*verb.split(), log=missing, studies=studies) == 2
    assert str(missing) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: name a verb first; there are list, show, add, check"),
        (["lst"], "error: unknown verb 'lst'; choose list, show, add, check (did you mean list?)"),
        (["run=56"], "error: unknown verb 'run=56'"),
    ],
)
def test_a_missing_verb_names_them_all(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        command(words)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["list", "--help"], ["add", "--help"]])
def test_help_is_there_for_all_and_for_each(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        command(words)
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert ("results.training_log check" if words[0].startswith("-") else "fields (field=value):") in printed


def test_the_command_runs_as_a_module_without_torch_and_ray() -> None:
    code = (
        "import sys, results.training_log; sys.exit(bool({'torch', 'ray', 'optuna', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    checked = subprocess.run(
        [sys.executable, "-m", "results.training_log", "check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "all in form" in checked.stdout
