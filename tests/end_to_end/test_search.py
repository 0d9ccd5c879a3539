"""The main job, from its command line to its tables and its exported best trial."""

from __future__ import annotations

import json
import re
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from datasets.shards import PreparedCorpus
from omr_model.metrics import summarize
from results.study import read_study
from results.training_log import read_log
from tests.end_to_end.commands import SMALL_MODEL, interrupt, run
from tests.end_to_end.conftest import Searched
from tests.models import printed_on


def test_the_search_ends_well_and_says_where_everything_is(searched: Searched) -> None:
    assert searched.done.status == 0, searched.done.err
    out = searched.done.out
    assert re.search(r"^study +mine", out, re.M)
    assert re.search(r"^code +(commit \w{8} \(the \d+|unversioned)", out, re.M)
    assert re.search(
        r"^search +9 parameters in 5 trials of 3 epochs; the base and 3 more that are given first, then tpe; asha\s+"
        r"stops weak trials after epochs 1 and 2; ",
        out,
        re.M,
    )
    assert re.search(r"^note +5 trials for 9 parameters are a demonstration", out, re.M)
    assert re.search(r"^dashboard  http://127\.0\.0\.1:\d+   token \w+", out, re.M)
    assert re.search(r"trial +0  epoch +1/3  SER +\d+\.\d %", out)
    report, export, log = out.splitlines()[-3:]
    assert report.split() == ["report", str(searched.folder / "report.html")]
    assert export.split() == ["export", str(searched.folder / "best")]
    assert re.fullmatch(r"log +\S+LOG.md: Study mine, finished", log)


def test_nothing_but_the_search_speaks(searched: Searched) -> None:
    """No warning of a third party, no progress bar, no escape code where there is no terminal."""
    lines = [line for line in searched.done.err.splitlines() if line]
    assert lines == []
    assert "Warning" not in searched.done.out
    assert "\x1b" not in searched.done.out


def test_the_tables_are_complete_and_agree(searched: Searched) -> None:
    trials, epochs, samples = (
        pd.read_parquet(searched.folder / "reports" / f"{name}.parquet") for name in ("trials", "epochs", "samples")
    )
    assert sorted(trials["number"]) == list(range(len(trials)))
    assert set(trials["state"]) <= {"completed", "pruned"}
    assert "completed" in set(trials["state"])
    assert trials["repeats"].isna().sum() == 5
    again = trials[trials["repeats"].notna()].sort_values("number")
    assert 0 in set(again["repeats"])  # the base
    assert again["seed"].is_unique  # no two trainings share their luck
    assert len(again) == 4
    assert set(again["state"]) == {"completed"}
    completed = trials[trials["state"] == "completed"]
    assert (completed["epochs"] == 3).all()
    validation = PreparedCorpus.open(searched.corpora / "engraved-short").staves("validation")
    scored = min(12, len(validation))  # train.validation_staves=12
    for trial in trials.itertuples():
        rows = epochs[epochs["trial_id"] == trial.trial_id]
        assert list(rows["epoch"]) == list(range(1, trial.epochs + 1))
        assert rows["ser"].iloc[-1] == trial.ser
        read = samples[samples["trial_id"] == trial.trial_id]
        assert len(read) == scored
        assert read["distance"].sum() / read["reference_length"].sum() == pytest.approx(trial.ser)
    assert samples.groupby("trial_id")["staff_id"].apply(frozenset).nunique() == 1


def test_the_logs_points_came_first(searched: Searched) -> None:
    trials = pd.read_parquet(searched.folder / "reports" / "trials.parquet").sort_values("number")
    assert list(trials["params.model.backbone.drop_rate"])[:4] == [0.0, 0.1, 0.2, 0.8]
    assert list(trials["params.model.backbone.drop_path_rate"])[:4] == [0.0, 0.1, 0.2, 0.8]


def test_the_base_came_first_and_was_trained_to_the_end(searched: Searched) -> None:
    trials = pd.read_parquet(searched.folder / "reports" / "trials.parquet").set_index("number")
    assert list(trials["origin"])[:4] == ["base", *(f"training log, run {run}" for run in (56, 55, 57))]
    assert (trials["state"][0], trials["epochs"][0]) == ("completed", 3)


def test_the_study_is_entered_in_the_log(searched: Searched) -> None:
    [entry] = [study for study in read_log(searched.studies / "LOG.md").studies() if study.name == "mine"]
    assert (entry.state, entry.space) == ("finished", ("dropout",))
    assert entry.command.startswith("python -m search.run space=dropout model=tiny study=mine")
    metrics = json.loads((searched.folder / "best" / "metrics.json").read_text())
    number, rates = metrics["trial"]["number"], {metrics["trial"]["number"]: metrics["trial"]["ser"]}
    for decision in metrics["decisions"]:  # over all seeds that count
        rates |= {decision["candidate"]: decision["ser"], decision["base"]: decision["base_ser"]}
    assert entry.ser == pytest.approx(rates[number], abs=1e-4)
    assert "base" in entry.verdict
    assert " ".join(entry.verdict.split()) in " ".join(searched.done.out.split())


def test_optuna_knows_the_same_states(searched: Searched) -> None:
    storage = JournalStorage(JournalFileBackend(str(searched.folder / "optuna.journal")))
    told = {trial.number: trial.state.name for trial in optuna.load_study(study_name="mine", storage=storage).trials}
    trials = pd.read_parquet(searched.folder / "reports" / "trials.parquet").query("repeats.isna()")
    names = {"completed": "COMPLETE", "pruned": "PRUNED"}
    assert told == {row.number: names[row.state] for row in trials.itertuples()}


def test_the_study_says_what_it_was_made_of(searched: Searched) -> None:
    record = read_study(searched.folder)
    corpus = PreparedCorpus.open(searched.corpora / "engraved-short")
    assert record.corpus.hash == corpus.manifest.content_hash
    assert record.space == ("dropout",)
    assert record.config["model"]["embedding"] == 32
    assert {"ray", "optuna", "torch", "timm"} <= set(record.provenance.packages)


def test_the_best_trial_is_a_checkpoint_that_reads_music(searched: Searched, tmp_path: Path) -> None:
    best = searched.folder / "best"
    assert {"README.md", "model.safetensors", "checkpoint.json", "figures"} <= {path.name for path in best.iterdir()}
    picture = tmp_path / "staff.png"
    _write_picture(searched, picture)
    done = run("omr_model.predict", f"checkpoint={best}", f"image={picture}")
    assert done.status == 0, done.err
    assert len(done.out.splitlines()) == 1


def test_a_trial_scores_in_evaluate_what_it_scored_in_the_search(searched: Searched) -> None:
    """The exported weights, read again by another command, have the SER that the tables say."""
    import torch

    from omr_model import checkpoint
    from omr_model.data import StaffDataset, validation_choice
    from omr_model.decoding import read_batches
    from omr_model.metrics import score_staff

    best = searched.folder / "best"
    model = checkpoint.load_model(best, torch.device("cpu"))
    staves = PreparedCorpus.open(searched.corpora / "engraved-short").staves("validation")
    data = StaffDataset(staves, model.vocabulary, validation_choice(len(staves), 12))
    images = torch.stack([torch.from_numpy(data[index].image) for index in range(len(data))])[:, None]
    scores = [
        score_staff(read.symbols, printed_on(data, index)) for index, read in enumerate(read_batches(model, [images]))
    ]
    assert summarize(scores).ser == pytest.approx(checkpoint.describe(best).ser)


def test_a_second_search_of_the_same_name_changes_nothing(searched: Searched) -> None:
    before = {path: path.stat().st_mtime_ns for path in searched.folder.rglob("*")}
    done = run("search.run", "space=dropout", "model=tiny", "study=mine", *searched.paths)
    assert done.status == 2
    assert done.err.startswith("error: study=mine: there is a study of this name")
    assert {path: path.stat().st_mtime_ns for path in searched.folder.rglob("*")} == before


def test_a_name_that_the_log_has_is_taken_and_a_damaged_log_stops_a_search_before_it_starts(
    searched: Searched, tmp_path: Path
) -> None:
    words = ["space=dropout", "model=tiny", *searched.paths, f"paths.studies={tmp_path / 'elsewhere'}"]
    taken = run("search.run", *words, "study=mine")
    assert taken.status == 2
    assert taken.err.startswith("error: study=mine: there is a study of this name in the training log")
    (tmp_path / "LOG.md").write_text("# Training log\n\n## Run 1\n\n- Date: yesterday\n")
    damaged = run("search.run", *words, f"paths.log={tmp_path / 'LOG.md'}")
    assert damaged.status == 2
    assert "LOG.md, line 5" in damaged.err
    assert not (tmp_path / "elsewhere").exists()


def test_a_search_in_which_every_trial_diverges_says_so(searched: Searched) -> None:
    done = run(
        "search.run",
        *("space=dropout", "model=tiny", "study=hopeless", *searched.paths, *SMALL_MODEL),
        *("budget.trials=2", "train.epochs=4", "cluster.cpus=1", "cluster.dashboard=false"),
        *("optimizer.learning_rate=1", "optimizer.warmup=0", "optimizer.gradient_clip=1000000", "loss.alpha=1000"),
    )
    folder = searched.studies / "hopeless"
    states = list(pd.read_parquet(folder / "reports" / "trials.parquet")["state"])
    assert states == ["diverged", "diverged"], done.out
    assert done.status == 2
    assert "2 diverged" in done.err
    told = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    states = [trial.state.name for trial in optuna.load_study(study_name="hopeless", storage=told).trials]
    assert sorted(states) == ["PRUNED", "PRUNED", "WAITING", "WAITING"]  # two of the log's points were not reached


def test_ctrl_c_lets_each_trial_finish_its_epoch_and_keeps_it(searched: Searched) -> None:
    words = [
        *("space=dropout", "model=tiny", "study=stopped", *searched.paths, *SMALL_MODEL),
        *("budget.trials=50", "train.epochs=200", "scheduler=none", "cluster.cpus=2", "cluster.dashboard=false"),
    ]
    done = interrupt("search.run", *words, after="epoch  2/200")
    assert done.status == 130, done.err
    assert "stopping: each trial ends with its epoch" in done.out
    assert "export     none: no trial is completed" in done.out
    assert done.err.strip() == "interrupted"
    trials = pd.read_parquet(searched.studies / "stopped" / "reports" / "trials.parquet")
    assert set(trials["state"]) == {"paused"}
    assert trials["epochs"].max() >= 2
    assert trials["ser_low"].notna().all()  # the samples of the last epoch are there
    [entry] = [study for study in read_log(searched.studies / "LOG.md").studies() if study.name == "stopped"]
    assert entry.state == "aborted: interrupted"
    assert "after epoch" in entry.verdict  # what it had
    told = JournalStorage(JournalFileBackend(str(searched.studies / "stopped" / "optuna.journal")))
    states = {trial.state.name for trial in optuna.load_study(study_name="stopped", storage=told).trials}
    assert states <= {"PRUNED", "WAITING"}


def test_a_search_that_is_interrupted_and_resumed_with_more_ends_as_one_that_had_it_all(searched: Searched) -> None:
    done = interrupt(
        "search.run", *searched.words("broken", trials=4), "cluster.dashboard=false", after="trial   1  epoch  1/3"
    )
    assert done.status == 130, done.err
    assert "resume=broken" in done.out
    done = run("search.run", "resume=broken", "extend=+1", f"paths.studies={searched.studies}")
    assert done.status == 0, done.err
    assert done.err == ""
    for name, by in (("trials", ["number"]), ("epochs", ["trial_id", "epoch"]), ("samples", ["trial_id", "staff_id"])):
        tables = [
            pd.read_parquet(searched.studies / study / "reports" / f"{name}.parquet").sort_values(by, ignore_index=True)
            for study in ("mine", "broken")
        ]
        measured = [
            column
            for column in tables[0]
            if re.search("^(study|manual|checkpoint|started|ended)$|second|time|memory", column)
        ]
        pd.testing.assert_frame_equal(*(table.drop(columns=measured) for table in tables), check_exact=True)
    entries = [study for study in read_log(searched.studies / "LOG.md").studies() if study.name == "broken"]
    assert [entry.state for entry in entries] == ["finished"]


def test_studies_are_listed_and_looked_at(
    searched: Searched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.run import main

    monkeypatch.setenv("COLUMNS", "200")
    studies = f"paths.studies={searched.studies}"
    main(["list", studies])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "finished" in rows["mine"]
    main(["status=mine", studies])
    out = capsys.readouterr().out
    assert "5 trials and 4 again with other seeds" in out
    assert re.search(r"^ +0 +completed +3/3 +\d+\.\d %.* base *$", out, re.M)


def test_a_search_that_runs_out_of_time_ranks_what_it_has(searched: Searched) -> None:
    done = run(
        "search.run",
        *("space=dropout", "model=tiny", "study=hurried", *searched.paths, *SMALL_MODEL, "scheduler=none"),
        *("budget.trials=500", "budget.hours=0.004", "train.epochs=1", "cluster.cpus=1", "cluster.dashboard=false"),
    )
    assert done.status == 0, done.err
    assert "The search ended early: out of time." in done.out
    assert (searched.studies / "hurried" / "best" / "report.md").exists()


def test_a_study_without_a_name_gets_the_spaces_and_a_number(searched: Searched) -> None:
    from search.compose import compose
    from search.study import named

    config = compose(["space=dropout", "model=tiny", f"paths.studies={searched.studies}"])
    assert named(config, ["dropout"]).study == "dropout-1"
    (searched.studies / "dropout-1").mkdir()
    assert named(config, ["dropout"]).study == "dropout-2"
    assert named(config, ["dropout"], {"dropout-2", "dropout-3"}).study == "dropout-4"


def _write_picture(searched: Searched, path: Path) -> None:
    import cv2

    staves = PreparedCorpus.open(searched.corpora / "engraved-short").staves("test")
    assert cv2.imwrite(str(path), staves.image(0))
