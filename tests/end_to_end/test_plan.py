"""`plan=true` on its real command line: numbers from a measurement, and nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.end_to_end.commands import SMALL_MODEL, Done, run

LINES = ["plan", "corpus", "measured", "memory", "a trial", "search", "disk", "from"]


def planned(*words: str) -> dict[str, str]:
    """The plan's lines by their names, each on one line."""
    done: Done = run("search.run", "model=tiny", "plan=true", "cluster.cpus=2", *SMALL_MODEL, *words)
    assert (done.status, done.err) == (0, "")
    lines = re.sub(r"\n {11}", " ", done.out).splitlines()
    assert [line[:10].strip() for line in lines] == LINES
    return {line[:10].strip(): line[11:] for line in lines}


def numbers(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in re.findall(r"\d[\d,.]*\d|\d", text)]


def test_a_plan_says_what_a_search_costs_and_leaves_nothing(corpora: Path, tmp_path: Path) -> None:
    before = sorted(corpora.rglob("*"))
    lines = planned(
        "space=dropout",
        f"paths.corpora={corpora}",
        f"paths.studies={tmp_path / 'studies'}",
        "data.limit=80",
        "budget.trials=5",
        "train.epochs=90",
        "scheduler.grace_epochs=40",
    )
    assert lines["plan"] == "space=dropout: 5 trials of 90 epochs, tpe and hyperband; nothing is run"
    assert re.match(r"engraved-short: \d+ train, \d+ validation, \d+ test staves, .* MB, prepared", lines["corpus"])
    assert re.match(r"base \d+ staves/s, 3 other settings of the space \d+( to \d+)? staves/s", lines["measured"])
    assert "2 side by side, 1 core each" in lines["measured"]
    assert re.match(r"90 epochs: .* if it is trained to the end", lines["a trial"])
    likely, low, high, *_ = numbers(lines["search"])
    at_most = numbers(lines["search"].split("), ")[1])[0]
    assert 0 < low <= likely <= high < at_most
    assert "hyperband stops weak trials after epochs 40 and 80, in 2 brackets" in lines["search"]
    assert "0 GPU hours; 2 trials at a time" in lines["search"]
    assert numbers(lines["disk"])[0] > 0
    assert "a measurement of" in lines["from"]
    assert list(tmp_path.iterdir()) == []
    assert sorted(corpora.rglob("*")) == before


def test_a_corpus_that_is_not_prepared_is_judged_by_a_sample_that_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    lines = planned(
        "space=vocabulary",
        f"paths.corpora={tmp_path / 'corpora'}",
        f"paths.studies={tmp_path / 'studies'}",
        "data.limit=1000",
        "scheduler=none",
        "train.epochs=1000000",
        "budget.trials=8",
        "budget.hours=0.5",
    )
    assert re.match(r"engraved-short: not prepared; about 1,000 staves, .* judged by 128 of them", lines["corpus"])
    assert re.match(
        r"0\.5 hours likely \(0\.5 by setting; every trial is trained to the end\), 0\.5 at", lines["search"]
    )
    assert "budget.hours=0.5 will end it early" in lines["search"]
    assert lines["disk"].endswith(" for the corpus")
    assert list(tmp_path.iterdir()) == [temporary]
    assert list(temporary.glob("omr-plan-*")) == []
