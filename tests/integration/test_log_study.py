"""A study's folder as an entry of the training log."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from datasets.addresses import ADDRESS_FILE
from results.evidence import decisions_of
from results.gather import gather
from results.journal import SessionEnded, SessionStarted, to_line
from results.log_format import format_log, parse_log
from results.log_records import TrainingLog
from results.log_study import WITHOUT_A_WORD, study_entry
from results.ranking import best, rank
from results.study import read_study
from results.verdict import verdict
from tests.logs import HEAD_START, TRIALS, make_budgeted
from tests.studies import START, FakeTrial


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    make_budgeted(tmp_path / "studies", TRIALS)
    return tmp_path / "studies"


def test_a_finished_study_says_all_that_the_log_is_to_hold(studies: Path) -> None:
    tables = gather(studies / "demo")
    ranking = rank(tables.trials)
    top = best(ranking)
    entry = study_entry(studies / "demo")
    assert (entry.name, entry.state, entry.space) == ("demo", "finished", ("dropout",))
    assert entry.date == datetime.date(2023, 11, 14)
    assert entry.hours == round((HEAD_START + 2 * 1000 + 61) / 3600, 2)  # until trial 2 has ended
    assert entry.command == "python -m search.run space=dropout 'study=a b'"
    assert entry.code == "commit 9e2c1412 (the 77th), uncommitted changes"
    assert entry.corpus == "engraved 0123456789ab"
    assert entry.trials == "3: 2 completed, 1 pruned"
    assert entry.best == {"model.decoder.dropout": 0.1}
    assert top.ser_low is not None
    assert top.ser_high is not None
    assert (entry.ser, entry.ser_low, entry.ser_high) == (0.2, round(top.ser_low, 4), round(top.ser_high, 4))
    assert entry.verdict.split() == verdict(top, ranking, tables.samples).split()
    assert max(map(len, entry.verdict.splitlines())) <= 120
    assert entry.folder == str(studies / "demo")
    assert entry.manual is None


def test_a_study_in_the_repository_is_named_by_its_place_there(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.log_study.ROOT", studies.parent.resolve())
    assert study_entry(studies / "demo").folder == "studies/demo"


def test_a_study_at_an_address_is_named_by_that(studies: Path) -> None:
    (studies / ADDRESS_FILE).write_text("s3://bucket/studies")
    assert study_entry(studies / "demo").folder == "s3://bucket/studies/demo"


@pytest.mark.parametrize(
    ("trials", "state", "counts"),
    [
        (TRIALS[:2], f"aborted: {WITHOUT_A_WORD}", "2 of 3: 2 completed"),
        ((), f"aborted: {WITHOUT_A_WORD}", "0 of 3"),
        ((*TRIALS[:2], FakeTrial(2, (0.9,), None)), f"aborted: {WITHOUT_A_WORD}", "3: 2 completed, 1 running"),
        ((*TRIALS[:2], FakeTrial(2, (0.9,), "paused")), "aborted: paused for a test", "3: 2 completed, 1 paused"),
        ((*TRIALS[:2], FakeTrial(2, (), "failed")), "finished", "3: 2 completed, 1 failed"),
    ],
)
def test_an_aborted_study_is_logged_as_aborted(
    tmp_path: Path, trials: tuple[FakeTrial, ...], state: str, counts: str
) -> None:
    entry = study_entry(make_budgeted(tmp_path, trials))
    assert (entry.state, entry.trials) == (state, counts)


def test_trials_that_were_cut_off_say_why(tmp_path: Path) -> None:
    folder = make_budgeted(tmp_path, (FakeTrial(0, (0.9,), "paused"), FakeTrial(1, (0.9,), "paused")))
    journal = folder / "events.jsonl"
    text = journal.read_text()
    first, second = "the search ended in the middle of an epoch", "the search ended before the trial did: interrupted"
    journal.write_text(text.replace("paused for a test", first, 1).replace("paused for a test", second))
    assert study_entry(folder).state == "aborted: interrupted"
    journal.write_text(journal.read_text().replace("interrupted", "out of time"))
    assert study_entry(folder).state == "finished"  # the hours that it was given are up


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("interrupted", "aborted: interrupted"),
        ("OSError: no space\nleft", "aborted: OSError: no space left"),
        ("", f"aborted: {WITHOUT_A_WORD}"),
        ("finished", "finished"),
    ],
)
def test_who_ran_it_knows_better(studies: Path, reason: str, state: str) -> None:
    assert study_entry(studies / "demo", reason=reason).state == state


def test_without_a_finished_trial_the_log_has_what_was_reached(tmp_path: Path) -> None:
    trials = (FakeTrial(0, (0.9, 0.41), "pruned"), FakeTrial(1, (0.6, 0.7), "paused"), FakeTrial(2, (), "failed"))
    entry = study_entry(make_budgeted(tmp_path, trials))
    assert entry.best == {}
    assert (entry.ser, entry.ser_low, entry.ser_high) == (None, None, None)
    assert "No trial was trained to the end." in entry.verdict
    assert "41.0 %, of trial 0 after epoch 2" in entry.verdict.replace("\n", " ")


def test_a_study_without_any_epoch_is_logged_too(tmp_path: Path) -> None:
    entry = study_entry(make_budgeted(tmp_path, ()))
    assert entry.hours is None
    assert "none has a symbol error rate" in entry.verdict


REPEATED = (
    FakeTrial(0, (0.9, 0.1), origin="base"),
    FakeTrial(1, (0.9, 0.05)),
    FakeTrial(2, (0.9, 0.1), repeats=0),
    FakeTrial(3, (0.9, 0.9), repeats=1),
    FakeTrial(4, (0.9, 0.1), repeats=0),
    FakeTrial(5, (0.9, 0.9), repeats=1),
)
"""A trial that was best in the search, and is not with other seeds."""


def driven(tmp_path: Path, outcome: str | None) -> Path:
    """Repeats, in two sessions of an hour each, the second with one more trial; how that ended, None: not."""
    folder = make_budgeted(tmp_path / "studies", REPEATED, budget=1)
    path = folder / "events.jsonl"
    began = [SessionStarted(n, "", "", {"trials": n}, [], START) for n in (1, 2)]
    ends = [SessionEnded("interrupted", 3600.0, START), *([SessionEnded(outcome, 3600.0, START)] if outcome else [])]
    first, second = (to_line(one) for one in began)
    ended = "".join(map(to_line, ends[1:]))
    path.write_text(f"{first}{to_line(ends[0])}{second}{path.read_text()}{ended}")
    return folder


def test_repeats_are_no_trials_of_the_budget_and_the_log_has_the_trial_that_is_left(tmp_path: Path) -> None:
    folder = driven(tmp_path, "finished")
    entry = study_entry(folder)
    assert entry.trials == "2: 2 completed; and 4 repeats"
    assert entry.hours == 2  # without the days between
    assert " ".join(entry.verdict.split()).startswith("Reject trial 1: ")
    assert "In the search, trial 0 was number 2 of the 2 trials" in " ".join(entry.verdict.split())
    [decision] = decisions_of(read_study(folder), gather(folder))
    assert (entry.ser, entry.ser_low, entry.ser_high) == (round(decision.base_ser, 4), None, None)
    assert decision.base_ser != gather(folder).trials["ser"][0].as_py()
    assert parse_log(format_log(TrainingLog("", (entry,)))).entries == (entry,)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("finished", "finished"),
        ("out of epochs", "finished"),
        ("interrupted", "aborted: interrupted"),
        (None, f"aborted: {WITHOUT_A_WORD}"),
    ],
)
def test_a_study_ended_as_its_last_session_did(tmp_path: Path, outcome: str | None, state: str) -> None:
    assert study_entry(driven(tmp_path, outcome)).state == state


def test_a_trial_that_still_waits_at_a_rung_does_not_make_a_finished_study_an_aborted_one(tmp_path: Path) -> None:
    folder = make_budgeted(tmp_path, (*TRIALS[:2], FakeTrial(2, (0.9,), "paused")))
    path = folder / "events.jsonl"
    began, ended = SessionStarted(1, "", "", {"trials": 3}, [], START), SessionEnded("finished", 60.0, START)
    path.write_text(f"{to_line(began)}{path.read_text()}{to_line(ended)}")
    assert study_entry(folder).state == "finished"


@pytest.mark.parametrize("trials", [TRIALS, TRIALS[:2], ()])
def test_what_a_study_leaves_reads_back(tmp_path: Path, trials: tuple[FakeTrial, ...]) -> None:
    entry = study_entry(make_budgeted(tmp_path, trials, budget=None))
    assert parse_log(format_log(TrainingLog("", (entry,)))).entries == (entry,)
