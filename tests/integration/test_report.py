"""`python -m results.report`: the file that it writes, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from datasets.errors import ConfigError, StudyError
from results.report import ReportConfig, report, write_report
from results.study import write_changes, write_study
from tests.studies import FakeTrial, make_study, study_record

TRIALS = [
    FakeTrial(0, (0.5, 0.4, 0.3), origin="base"),
    FakeTrial(1, (0.5, 0.3, 0.1), params={"model.decoder.dropout": 0.3}),
    FakeTrial(2, (0.9,), "pruned", params={"model.decoder.dropout": 0.5}),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_study(tmp_path_factory.mktemp("studies"), TRIALS)
    return write_report(folder, folder / "report.html").read_text(encoding="utf-8")


def test_the_command_writes_the_page_into_the_study_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study(tmp_path, [])
    report(ReportConfig(study="demo", studies=str(tmp_path)))
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    elsewhere = tmp_path / "new" / "page.html"
    report(ReportConfig(study="demo", studies=str(tmp_path), to=str(elsewhere)))
    assert elsewhere.read_bytes() == (folder / "report.html").read_bytes()


def test_an_unknown_study_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    make_study(tmp_path, [])
    with pytest.raises(StudyError, match=r"study=demi: no such study .*did you mean demo"):
        report(ReportConfig(study="demi", studies=str(tmp_path), to=str(tmp_path / "page.html")))
    assert not (tmp_path / "page.html").exists()


def test_a_page_ends_in_html() -> None:
    with pytest.raises(ConfigError, match=r"to=page\.pdf: the file's name must end in \.html"):
        ReportConfig(study="demo", to="page.pdf")


def test_sections_come_in_the_order_in_which_a_reader_asks(text: str) -> None:
    assert re.findall(r"<section id=\"([^\"]+)\"", text) == [
        *("verdict", "ranking", "progress", "curves", "parameters", "importance", "fidelity", "mistakes"),
        *("cautions", "cost", "provenance"),
    ]


def test_the_page_is_one_small_file(text: str) -> None:
    assert 0.5e6 < len(text.encode()) < 5e6


def test_the_page_says_where_the_study_comes_from(text: str) -> None:
    record = study_record()
    for told in (
        record.provenance.code.commit,
        record.corpus.hash,
        "torch 2.11.0",
        "2 x A GPU",
        "model.decoder.depth=4",
    ):
        assert told in re.sub("<wbr>", "", text)
    assert "What the uncommitted changes were is not recorded" in text


def test_the_uncommitted_changes_are_kept_with_the_study_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.study.uncommitted_changes", lambda: "-x = 1\n+x = '<b>'\n")
    folder = make_study(tmp_path, [])
    code = study_record().provenance.code
    write_study(folder, study_record())
    write_changes(folder, code)
    text = write_report(folder, folder / "report.html").read_text(encoding="utf-8")
    assert "+x = &#39;&lt;b&gt;&#39;" in text
    assert "not recorded: the study is older" not in text


@pytest.mark.parametrize(("trial_id", "shown"), [("fake_00001", True), ("fake_00000", False)])
def test_the_attention_of_the_kept_export_is_shown_if_it_is_of_the_trial_that_the_study_ends_with(
    tmp_path: Path, trial_id: str, shown: bool
) -> None:
    folder = make_study(tmp_path, TRIALS)
    (folder / "best" / "figures").mkdir(parents=True)
    (folder / "best" / "figures" / "attention.png").write_bytes(b"a picture")
    (folder / "best" / "metrics.json").write_text(json.dumps({"trial": {"trial_id": trial_id}}), encoding="utf-8")
    report(ReportConfig(study="demo", studies=str(tmp_path)))
    assert ('id="attention"' in (folder / "report.html").read_text(encoding="utf-8")) == shown
