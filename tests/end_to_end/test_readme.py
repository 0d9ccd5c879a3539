"""Every command of README and documentation works: run for real on a small study, or composed where running is another
test's."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import results
from datasets.images import encode_png
from datasets.shards import PreparedCorpus
from search.compose import compose
from search.run import VERBS
from search.space import SearchSpace
from tests.corpora import camera_primus, cpms, diw, grandstaff, photographed, scores
from tests.end_to_end.commands import ROOT, SMALL_MODEL, run
from tests.end_to_end.conftest import Searched
from tests.end_to_end.documented import COMMANDS, README, commands, snippets


def test_every_command_is_covered_here() -> None:
    covered = {
        "search.run",
        "datasets.prepare",
        "datasets.inspect",
        "datasets.distortion_sheet",
        "results.gather",
        "results.export",
        "results.findings",
        "results.report",
        "results.compare",
    }
    covered |= {"results.training_log"}
    covered |= {"omr_model.predict", "omr_model.evaluate", "omr_model.train", "omr_model.attention"}
    assert {words[2] for words in COMMANDS} == covered


def is_search(words: list[str]) -> bool:
    return not VERBS.keys() & {word.partition("=")[0] for word in words}


@pytest.mark.parametrize("words", [words for words in commands("search.run") if is_search(words)], ids=" ".join)
def test_searches_compose(words: list[str]) -> None:
    fields = [word for word in words if word not in ("--config", "base=study:mine")]
    config = compose(fields)
    SearchSpace(config.space, config.training())


def test_a_search_can_begin_at_another_studys_best_trial(searched: Searched) -> None:
    [words] = [words for words in commands("search.run") if "base=study:mine" in words]
    done = run("search.run", "--config", *words, f"paths.studies={searched.studies}")
    assert done.status == 0, done.err
    assert "embedding: 32" in done.out


def test_a_study_is_listed_looked_at_and_given_more(searched: Searched) -> None:
    managing = [words for words in commands("search.run") if not is_search(words)]
    studies = f"paths.studies={searched.studies}"
    done = {" ".join(words): run("search.run", *words, studies) for words in managing if "extend=+20" not in words}
    assert {command: one.status for command, one in done.items()} == {
        "list": 0,
        "status=mine": 0,
        "stop=mine": 2,
        "resume=mine": 2,
    }
    assert "finished" in done["list"].out
    assert "trained to the end" in done["status=mine"].out or "completed" in done["status=mine"].out
    assert "is not running" in done["stop=mine"].err
    assert "is finished; extend=+20 gives it 20 more trials" in done["resume=mine"].err
    assert ["resume=mine", "extend=+20"] in managing  # run by test_search, with fewer


def test_findings_are_told(searched: Searched) -> None:
    for words in commands("results.findings"):
        done = run("results.findings", *words, f"studies={searched.studies}")
        assert done.status == 0, done.err
        assert "To bear in mind" in done.out


def test_the_log_is_listed_shown_rated_and_checked(searched: Searched) -> None:
    log = searched.studies / "LOG.md"
    for words in commands("results.training_log"):
        run_63 = ["log=LOG.md"] if "run=63" in words else [f"log={log}"]
        done = run("results.training_log", *words, *run_63, f"studies={searched.studies}")
        assert done.status == 0, done.err
    rated = pd.read_parquet(searched.folder / "reports" / "trials.parquet").set_index("number")["manual"].dropna()
    assert list(rated) == [13.7]
    assert "- Manual validation: 13.7" in log.read_text()


@pytest.fixture
def other(searched: Searched) -> Iterator[Path]:
    """Another study: the same one under the name `other`."""
    folder = shutil.copytree(searched.folder, searched.studies / "other")
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(record | {"name": "other"}))
    yield folder
    shutil.rmtree(folder)


def test_studies_are_compared(searched: Searched, other: Path, tmp_path: Path) -> None:
    for words in commands("results.compare"):
        done = run("results.compare", *words, f"studies={searched.studies}", f"log={ROOT / 'LOG.md'}", cwd=tmp_path)
        assert done.status == 0, done.err
    assert (tmp_path / "comparison.html").stat().st_size > 1000
    assert other.exists()


def test_the_page_of_a_study_is_made_anew(searched: Searched) -> None:
    (searched.folder / "report.html").unlink()
    for words in commands("results.report"):
        assert run("results.report", *words, f"studies={searched.studies}").status == 0
    assert "<html" in (searched.folder / "report.html").read_text(encoding="utf-8")


def test_gathering_exporting_predicting_and_evaluating(searched: Searched, tmp_path: Path) -> None:
    staves = PreparedCorpus.open(searched.corpora / "engraved-short").staves("test")
    (tmp_path / "scans").mkdir()
    for picture in ("staff.png", "scans/1.png", "scans/2.png"):
        (tmp_path / picture).write_bytes(encode_png(staves.image(0)))
    shutil.rmtree(searched.folder / "reports")
    for module in ("results.gather", "results.export"):
        for words in commands(module):
            done = run(module, *words, f"studies={searched.studies}", cwd=tmp_path)
            assert done.status == 0, done.err
    assert (tmp_path / "best-model" / "report.md").exists()
    there = {"datasets/corpora": str(searched.corpora), "results/studies": str(searched.studies)}
    for module in ("omr_model.predict", "omr_model.attention", "omr_model.evaluate"):
        for words in commands(module):
            done = run(module, *(_moved(word, there) for word in words), cwd=tmp_path)
            assert done.status == 0, done.err
            assert module != "omr_model.evaluate" or re.match(r"SER \d+\.\d % on \d+ staves", done.out)
    for suffix in ("semantic", "musicxml", "mei"):
        assert (tmp_path / "scans-read" / f"1.{suffix}").exists()
    assert (tmp_path / "attention" / "strip.png").exists()


def _moved(word: str, there: Mapping[str, str]) -> str:
    for here, place in there.items():
        word = word.replace(here, place)
    return word


def test_training_once_and_going_on(searched: Searched, tmp_path: Path) -> None:
    small = [*SMALL_MODEL, f"corpora={searched.corpora}", "limit=80"]
    first, second = commands("omr_model.train")
    assert second == [*first, "resume=true"]
    done = run("omr_model.train", *first, *small, "train.epochs=2", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "epoch 2/2" in done.out
    again = run("omr_model.train", *second, *small, "train.epochs=2", cwd=tmp_path)
    assert again.status == 0, again.err
    refused = run("omr_model.train", *first, *small, "train.epochs=2", cwd=tmp_path)
    assert refused.status == 2
    assert "is there already" in refused.err


def test_drawing_sheets(searched: Searched, tmp_path: Path) -> None:
    photographed.make(tmp_path / "my_photographs", 4)
    more = {"datasets.inspect": [f"corpora={searched.corpora}", "count=4"], "datasets.distortion_sheet": []}
    for module, fields in more.items():
        for words in commands(module):
            done = run(module, *words, *fields, cwd=tmp_path)
            assert done.status == 0, done.err
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert (tmp_path / "effects.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file and folder that the README prepares, small, in the true layouts."""
    folder = tmp_path_factory.mktemp("downloads")
    for archive, make in (("CameraPrIMuS.tgz", camera_primus.make), ("grandstaff.tgz", grandstaff.make)):
        make(folder / "unpacked", 10)
        with tarfile.open(folder / archive, "w:gz") as tarred:
            tarred.add(folder / "unpacked", arcname="corpus")
        shutil.rmtree(folder / "unpacked")
    roots = {"CPMS": cpms, "DIW": diw, "my_photographs": photographed, "my_scores": scores}
    for name, corpus in roots.items():
        corpus.make(folder / name, 10)
    return folder


def test_every_corpus_of_the_readme_is_prepared_and_mixed(downloads: Path) -> None:
    for words in commands("datasets.prepare"):
        fields = words if any(word.startswith("corpora=") for word in words) else [*words, "corpora=corpora"]
        done = run("datasets.prepare", *fields, "limit=12", cwd=downloads)
        assert done.status == 0, f"{words}: {done.err}"
        assert "staves (train " in done.out
    assert "made of" in run("datasets.prepare", "data=log_run_63", "corpora=corpora", cwd=downloads).out


def test_the_python_lines_work(searched: Searched, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert other.exists()
    monkeypatch.setattr(results, "load", functools.partial(results.load, studies=str(searched.studies)))
    of_pages = [snippet.text for snippet in snippets("python") if "results.load" in snippet.text]
    assert len(of_pages) == 1
    for text in of_pages:
        names: dict[str, Any] = {}
        exec(compile(text, "documentation", "exec"), names)
        assert len(names["study"].trials) >= 5


@pytest.mark.parametrize(("target", "command"), [("search", "-m search.run space=dropout"), ("test", "-m pytest")])
def test_make_runs_what_the_readme_says(target: str, command: str) -> None:
    planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert command in planned.stdout
    assert f"make {target}" in README


def test_help_is_there_for_every_command() -> None:
    modules = sorted({words[2] for words in COMMANDS})
    done = run("tests.end_to_end.helped", *modules)
    assert done.status == 0, done.err
    helped = json.loads(done.out)
    assert {module: (status, len(said.splitlines()) > 3) for module, (status, said) in helped.items()} == dict.fromkeys(
        modules, (0, True)
    )
