"""A study in a notebook: its tables' types, its trials, and what is shown of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import results
from datasets.errors import ConfigError, StudyError
from results.gather import gather
from results.notebook import STATES, Study
from tests.studies import FakeTrial, checkpoint_of, make_study

TRIALS = (
    FakeTrial(0, (0.9, 0.5), origin="base"),
    FakeTrial(1, (0.8, 0.3), params={"model.decoder.dropout": 0.2}),
    FakeTrial(2, (0.9,), "pruned", params={"model.decoder.dropout": None}),
    FakeTrial(3, (), None),
)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    make_study(folder, TRIALS)
    return folder


@pytest.fixture(scope="module")
def study(studies: Path) -> Study:
    return results.load("demo", studies=studies)


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, results; sys.exit(bool({'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_is_not_there_is_answered_with_those_that_are(studies: Path) -> None:
    with pytest.raises(StudyError, match=r"study=dmo: no such study in .*; there are demo \(did you mean demo\?\)"):
        results.load("dmo", studies=studies)


def test_the_tables_are_those_of_the_study_in_types_that_know_missing_values(study: Study) -> None:
    tables = gather(study.folder)
    for name in ("trials", "epochs", "samples"):
        frame = getattr(study, name)
        table = tables.samples.table() if name == "samples" else getattr(tables, name)
        assert list(frame.columns) == table.column_names
        assert len(frame) == len(table)
        assert getattr(study, name) is frame
    types = study.trials.dtypes
    assert list(study.trials["state"].cat.categories) == list(STATES)
    assert types["number"] == types["repeats"] == types["seed"] == pd.Int64Dtype()
    assert types["message"] == pd.StringDtype()
    assert types["ser"] == "float64"
    assert str(types["started"].tz) == "UTC"
    assert study.trials["ended"].isna().tolist() == [False, False, False, True]
    assert study.trials["started"][0].timestamp() == 1_700_000_000
    assert study.trials["repeats"].isna().all()
    assert study.epochs.groupby("trial_id").size().to_dict() == {"fake_00000": 2, "fake_00001": 2, "fake_00002": 1}


def test_importance_and_rungs_have_the_columns_of_the_schema(study: Study) -> None:
    from results.schema import IMPORTANCE, RUNGS

    assert list(study.importance.columns) == IMPORTANCE.names
    assert list(study.rungs.columns) == RUNGS.names
    assert study.rungs["compared"].dtype == pd.BooleanDtype()


def test_the_best_trial_and_what_is_known_of_it(study: Study) -> None:
    best = study.best
    assert (best.number, best.trial_id, best.state, best.rank) == (1, "fake_00001", "completed", 1)
    assert best.ser == 0.3
    assert best.interval is not None
    assert best.interval[0] < best.interval[1]
    assert best.setting == {"model.decoder.dropout": 0.2}
    assert best.checkpoint == study.folder / checkpoint_of(TRIALS[1])
    assert best.checkpoint.is_dir()
    assert best.epochs["ser"].tolist() == [0.8, 0.3]
    assert set(best.samples["trial_id"]) == {"fake_00001"}
    assert study.base is not None
    assert study.base.number == 0
    assert study.trial("fake_00002").setting == {}
    assert study.trial(3).ser is study.trial(3).interval is study.trial(3).checkpoint is None
    with pytest.raises(StudyError, match="trial=7: no such trial"):
        study.trial(7)


def test_predictions_begin_with_the_worst_staff(study: Study) -> None:
    read = study.predictions(1)
    assert len(read) == len(study.best.samples) == 24
    assert read["ser"].is_monotonic_decreasing
    assert read["ser"].tolist() == (read["distance"] / read["reference_length"]).tolist()


def test_a_trial_is_compared_with_studies_trials_and_names(studies: Path, study: Study) -> None:
    make_study(studies, [FakeTrial(4, (0.9, 0.4))], name="second")
    second = results.load("second", studies)
    [pair] = study.compare(second).pairs
    assert pair == study.compare("second/4").pairs[0]
    assert pair.first == "demo/1"
    assert pair.difference is not None
    assert [one.name for one in study.trial(0).compare(study.best, "demo/2").contestants] == [
        "demo/0",
        "demo/1",
        "demo/2",
    ]
    assert "<table>" in study.compare(second)._repr_html_()


def test_nothing_is_compared_with_itself_alone(study: Study) -> None:
    for compare in (study.compare, study.trial(0).compare):
        with pytest.raises(ConfigError, match="nothing to compare with: name two or more"):
            compare()
    assert "both are trial 1 of demo" in repr(study.compare(study.best))


def test_all_of_it_is_as_it_was_when_it_was_loaded(tmp_path: Path) -> None:
    """Not a part from now and another from then; here nothing is left of the folder."""
    expected = results.load("demo", make_study(tmp_path, TRIALS).parent).findings
    study = results.load("demo", tmp_path)
    shutil.rmtree(study.folder)
    assert repr(study.findings) == repr(expected)  # NaN is not equal to itself
    assert (len(study.trials), study.importance.empty) == (len(TRIALS), not expected.importance.knobs)


def test_what_is_shown_says_the_verdict_and_is_escaped(studies: Path, study: Study) -> None:
    assert study.verdict in " ".join(repr(study).split())
    assert "4 trials (2 completed, 1 pruned, 1 running) on engraved." in repr(study)
    assert "Completed, rank 1: SER 30.0 %" in repr(study.best)
    make_study(studies, [FakeTrial(0, (0.5,), None, params={"model.<b>": "<script>"})], name="a<b>")
    wild = results.load("a<b>", studies)
    for shown in (wild._repr_html_(), wild.trial(0)._repr_html_()):
        assert "<b>Study a&lt;b&gt;</b>" in shown or "of study a&lt;b&gt;</b>" in shown
        assert "<script>" not in shown
        assert "color:" not in shown  # it is read on white and on black


def test_a_study_without_a_finished_trial_is_shown_all_the_same(studies: Path) -> None:
    for name, trials in (("running", [FakeTrial(0, (0.5,), None)]), ("empty", [])):
        make_study(studies, trials, name=name)
        begun = results.load(name, studies)
        assert "No trial was completed yet." in repr(begun)
        assert begun.verdict == ""
        with pytest.raises(StudyError, match="no trial is completed yet"):
            _ = begun.best
        assert len(begun.trials) == len(trials)
        assert all(begun.figure(figure).to_dict()["title"] for figure in begun.figures)
        assert list(begun.samples.columns)[:2] == ["study", "trial_id"]


def test_a_figure_of_the_page_stands_by_itself(study: Study, tmp_path: Path) -> None:
    """Colours and data are in it: no name is left that only the page would know."""
    assert {"ranking-intervals", "best-so-far", "curves-ser"} <= set(study.figures)
    light, dark = (study.figure("best-so-far", dark=dark).to_dict() for dark in (False, True))
    assert light["config"]["background"] != dark["config"]["background"]
    assert not re.findall(r'"\$(?!schema")[a-z]+', json.dumps(light))
    data = [layer["data"] for layer in light["layer"]]
    tables = [one["values"] if "values" in one else light["datasets"][one["name"]] for one in data]
    [trials] = [rows for rows in tables if "trial" in rows[0]]
    assert sorted(row["ser"] for row in trials if row["ser"] is not None) == [0.3, 0.5, 0.9]
    study.figure("ranking-intervals").save(tmp_path / "ranking.svg")
    assert "trial 1" in (tmp_path / "ranking.svg").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown figure 'rankin'; choose .*best-so-far"):
        study.figure("rankin")
