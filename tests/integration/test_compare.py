"""`python -m results.compare`: what is printed, what is written, and what is refused with a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from results.compare import command
from tests.studies import FakeTrial, make_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    make_study(folder, [FakeTrial(0, (0.9, 0.5), origin="base"), FakeTrial(1, (0.8, 0.3))], name="one")
    make_study(folder, [FakeTrial(5, (0.9, 0.2)), FakeTrial(6, (0.9,), "pruned")], name="two")
    return folder


def run(studies: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command([*words, f"studies={studies}"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_prints_the_difference_and_the_figures(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(studies, "one", "two") == 0
    printed = capsys.readouterr().out
    assert "two errs" in printed
    assert "one/1" not in printed
    assert "epochs" in printed
    assert max(map(len, printed.splitlines())) <= 118


def test_a_refused_pair_is_no_error_of_the_command(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(studies, "one", "two/6") == 0
    assert "No difference between one and two/6 is told: two/6 was not trained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one", "tow"], "study=tow: no such study"),
        (["one"], "name two or more"),
        (["one", "run:63", "log=nowhere.md"], "there is no training log here"),
        (["one", "two", "to=both.pdf"], "must end in .html or .md"),
        (["study=one", "two"], "names stand bare: python -m results.compare one two"),
        (["one", "two", "to=no/such/folder.md"], "there is no folder no/such"),
        (["one", "two", "ot=both.md"], "ot: no such field; there are to, studies, log"),
    ],
)
def test_a_mistake_gets_one_message_and_writes_nothing(
    studies: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(studies.rglob("*"))
    assert run(studies, *words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out
    assert sorted(studies.rglob("*")) == before


def test_a_folder_is_no_file_and_a_file_no_folder(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").mkdir()
    (tmp_path / "page.md").touch()
    for to, message in (("page.html", "this is a folder; name a file"), ("page.md/page.md", "page.md is no folder")):
        assert run(studies, "one", "two", f"to={tmp_path / to}") == 2
        assert message in capsys.readouterr().err


def test_a_page_and_a_markdown_file_say_the_same(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("both.md", "both.html"):
        assert run(studies, "one", "two", f"to={tmp_path / name}") == 0
    sentence = next(line for line in capsys.readouterr().out.splitlines() if "two errs" in line)
    written = (tmp_path / "both.md").read_text(encoding="utf-8")
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert sentence[:60] in written
    assert sentence[:60] in page.replace("\u00a0", " ")
    assert page.startswith("<!doctype html>")
    assert len(page) < 100_000  # no chart, no library of charts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.html", "both.md"]


def test_it_runs_as_a_module_and_tells_how() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "results.compare", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "dropout-1 run:63 run:77" in done.stdout
    assert "  to=" in done.stdout
