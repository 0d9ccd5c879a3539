import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import matplotlib.image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.errors import CheckpointError, ConfigError, StudyError
from results.export import Export, ExportConfig, export, export_trial
from results.export import _write_page as write_page
from results.read_back import _load as load
from results.winner import winner_of
from tests.studies import FakeTrial, checkpoint_of, make_study, unloadable

BEST = FakeTrial(2, (0.9, 0.4, 0.2), params={"model.decoder.dropout": 0.25, "loss.kind": "a|b"})
LUCKY = FakeTrial(1, (0.1,), "pruned")
TRIALS = (FakeTrial(0, (0.9, 0.6, 0.5), origin="base"), LUCKY, BEST, FakeTrial(3, (), "failed"))
FILES = [
    "README.md",
    "checkpoint.json",
    "code",
    "config.json",
    "figures",
    "metrics.json",
    "model.safetensors",
    "predict.py",
    "predictions.parquet",
    "preprocessing.json",
    "report.html",
    "report.md",
    "requirements.txt",
    "vocabulary.json",
]


@pytest.fixture(autouse=True)
def _drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of a study has tests of its own, and takes a while to draw; so does the curve (`exported` has it)."""
    monkeypatch.setattr("results.export._write_page", _a_page_at_once)
    monkeypatch.setattr("results.read_back._load", unloadable)
    monkeypatch.setattr("results.export.training_curve", lambda _epochs, _title, path: path.touch())


def _a_page_at_once(folder: Path, *_: object) -> None:
    (folder / "report.html").write_text("<html>")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder for studies."""
    return tmp_path / "studies"


@pytest.fixture
def studies(empty: Path) -> Path:
    """With one study in it."""
    make_study(empty, TRIALS)
    return empty


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The best trial of that study, once for all who only look at it."""
    studies = tmp_path_factory.mktemp("exported") / "studies"
    make_study(studies, TRIALS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("results.export._write_page", _a_page_at_once)
        patched.setattr("results.read_back._load", unloadable)
        return run(studies)


def run(studies: Path, **fields: object) -> Export:
    config = {"study": "demo", "studies": str(studies), "to": str(studies.parent / "best")} | fields
    return export(ExportConfig(**config))  # type: ignore[arg-type]


def test_the_best_trial_is_a_folder_of_its_own(exported: Export) -> None:
    assert exported.trial.number == BEST.number
    assert sorted(path.name for path in exported.folder.iterdir()) == FILES
    source = exported.folder.parent / "studies" / "demo" / checkpoint_of(BEST)
    for name in ("model.safetensors", "checkpoint.json"):
        assert (exported.folder / name).read_bytes() == (source / name).read_bytes()
    assert json.loads((exported.folder / "config.json").read_text()) == {"model": {"decoder": {"dropout": 0.1}}}


def test_metrics_and_samples_are_those_of_the_trial(exported: Export) -> None:
    folder = exported.folder
    found = json.loads((folder / "metrics.json").read_text())
    assert found["trial"]["params.model.decoder.dropout"] == 0.25
    assert found["trial"]["started"].startswith("2023-11-14T")
    assert (found["epoch"]["epoch"], found["epoch"]["ser"]) == (3, 0.2)
    samples = pq.read_table(folder / "predictions.parquet")
    assert set(samples["trial_id"].to_pylist()) == {BEST.trial_id}


def test_the_report_says_what_a_reader_asks(exported: Export) -> None:
    report = (exported.folder / "report.md").read_text()
    for text in (
        "# Trial 2 of study demo",
        "Trial 2 is the best of the 2 trials that completed 3 epochs. Its symbol error rate is 20.0 % (95 %",
        "That of the base (trial 0), 50.0 %, is higher by",
        "trial 2 is better than the base",
        "| parameter | role | this trial | base (trial 0) |",
        "| `model.decoder.dropout` | scientific | 0.25 | 0.1 |",
        "| `loss.kind` | - | a\\|b | not used |",
        "No nuisance parameter was searched over.",
        "| rhythm branch | 12.0 % |  |",
        "| errors in accidentals |",
        "| 1 | 2 | completed | 3 | 20.0 % |",
        "| 2 | 0 (base) | completed | 3 | 50.0 % |",
        "| - | 1 | pruned | 1 | 10.0 % |",
        "| - | 3 | failed | 0 | - |  |",
        "reference   clef-G2",
        "commit 9e2c1412 (the 77th), uncommitted changes",
        "`0123456789abcdef`",
        "2 x A GPU; A CPU, 2 cores; 8 GiB",
        "python predict.py staff.png",
        "![Symbol error rate and loss by epoch](figures/curve.png)",
    ):
        assert text in report
    assert exported.verdict in report


def test_a_mixture_is_told_by_corpus(studies: Path) -> None:
    path = studies / "demo" / checkpoint_of(BEST) / "samples.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows[:6]:
        row |= {"source": "cpms"}
    for row, written in zip(rows[-3:], (0, 2, 5), strict=True):
        row |= {"source": "diw", "reference_length": 0, "reference": "", "distance": written}
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    report = (run(studies).folder / "report.md").read_text()
    assert "## By corpus" in report
    cpms = [row["distance"] / row["reference_length"] for row in rows[:6]]
    assert f"| cpms | 6 | {100 * sum(cpms) / 6:.1f} % |" in report
    assert "| diw | 3 | no music: 2.33 symbols written per strip |  |" in report


def test_of_one_corpus_there_is_no_table_by_corpus(exported: Export) -> None:
    assert "By corpus" not in (exported.folder / "report.md").read_text()


def test_the_difference_to_the_base_is_there_for_machines(empty: Path) -> None:
    make_study(empty, [FakeTrial(0, (0.9,), origin="base"), FakeTrial(1, (0.05,))])
    metrics = json.loads((run(empty).folder / "metrics.json").read_text())
    assert metrics["against_base"]["judgement"] == "better"
    assert (
        metrics["against_base"]["low"] <= metrics["against_base"]["difference"] <= metrics["against_base"]["high"] < 0
    )


def test_what_was_rejected_with_other_seeds_is_not_exported(empty: Path) -> None:
    repeats = [FakeTrial(2 + n, (0.1 if n % 2 == 0 else 0.9,), repeats=n % 2) for n in range(4)]
    make_study(empty, [FakeTrial(0, (0.1,), origin="base"), FakeTrial(1, (0.05,)), *repeats])
    exported = run(empty)
    assert exported.trial.number == winner_of(empty / "demo").number == 0
    assert exported.verdict.startswith("Reject trial 1: ")
    metrics = json.loads((exported.folder / "metrics.json").read_text())
    assert metrics["against_base"] is None
    assert [(one["candidate"], one["verdict"]) for one in metrics["decisions"]] == [(1, "reject")]


def test_the_curve_is_a_picture(exported: Export) -> None:
    height, width, _ = matplotlib.image.imread(exported.folder / "figures/curve.png").shape
    assert (height, width) == (640, 1600)


def test_a_clear_difference_is_told_from_the_choice_of_pieces(empty: Path) -> None:
    make_study(empty, [FakeTrial(0, (0.9,)), FakeTrial(1, (0.05,))])
    assert "trial 1 is better than the next best, by more than the choice of pieces explains" in run(empty).verdict
    other = run(empty, trial="0", to=str(empty.parent / "other")).verdict
    assert "Trial 0 is number 2 of the 2" in other
    assert "trial 0 is worse than the best, by more than the choice of pieces explains" in other


def test_two_trials_alike_are_not_told_apart(empty: Path) -> None:
    make_study(empty, [FakeTrial(0, (0.31,)), FakeTrial(1, (0.3,))])
    assert "do not show which is better" in run(empty).verdict


def test_without_the_rivals_samples_there_is_no_test(studies: Path) -> None:
    shutil.rmtree(studies / "demo" / checkpoint_of(FakeTrial(0, ())))
    assert "cannot be tested against the base (trial 0)" in run(studies).verdict


@pytest.mark.parametrize("name", ["1", LUCKY.trial_id])
def test_a_trial_may_be_chosen_by_number_or_id(studies: Path, name: str) -> None:
    exported = run(studies, trial=name)
    assert exported.trial.number == LUCKY.number
    assert "has no rank (pruned, epochs: 1)" in exported.verdict


def test_the_only_trial_has_nobody_to_be_compared_with(empty: Path) -> None:
    make_study(empty, [FakeTrial(0, (0.5,))])
    assert run(empty).verdict.startswith("Trial 0 is the only trial that completed 1 epoch. Its")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"study": "dem"}, r"no such study in .*; there are demo \(did you mean demo\?\)"),
        ({"trial": "7"}, r"trial=7: no such trial; there are 0 to "),
        ({"trial": "3"}, r"trial 3 \(failed\) has no checkpoint"),
    ],
)
def test_what_is_not_there_is_said(studies: Path, fields: dict[str, str], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        run(studies, **fields)
    assert not (studies.parent / "best").exists()


def test_nothing_finished_is_said(empty: Path) -> None:
    make_study(empty, [FakeTrial(0, (0.5,), None)])
    with pytest.raises(StudyError, match=r"no trial is completed yet.*1 running"):
        run(empty)


def test_a_checkpoint_that_is_gone_or_damaged_is_said(studies: Path) -> None:
    checkpoint = studies / "demo" / checkpoint_of(BEST)
    (checkpoint / "checkpoint.json").write_text("{}")
    with pytest.raises(StudyError, match=r"checkpoint\.json is missing or damaged"):
        run(studies)
    shutil.rmtree(checkpoint)
    with pytest.raises(StudyError, match="checkpoint of trial 2 is gone"):
        run(studies)


def test_an_export_is_replaced_only_on_request(studies: Path) -> None:
    first = run(studies)
    with pytest.raises(StudyError, match="overwrite=true"):
        run(studies, trial="0")
    run(studies, trial="0", overwrite=True)
    assert "# Trial 0" in (first.folder / "report.md").read_text()
    assert sorted(path.name for path in first.folder.parent.iterdir()) == ["best", "studies"]


def test_a_folder_of_another_kind_is_never_replaced(studies: Path) -> None:
    with pytest.raises(StudyError, match="holds no export"):
        run(studies, to=str(studies), overwrite=True)
    (studies / "report.md").touch()
    with pytest.raises(StudyError, match="holds no export"):
        run(studies, to=str(studies), overwrite=True)
    assert (studies / "demo" / "study.json").exists()


def test_a_folder_with_more_than_an_export_is_never_replaced(studies: Path) -> None:
    notes = run(studies).folder / "notes.txt"
    notes.touch()
    with pytest.raises(StudyError, match=r"it also holds what no export has \(notes\.txt\)"):
        run(studies, overwrite=True)
    assert notes.exists()


def test_an_export_of_an_earlier_version_is_replaced(studies: Path) -> None:
    earlier = {"report.md", "checkpoint.json", "metrics.json", "samples.parquet", "curve.png"}
    (studies.parent / "best").mkdir()
    for name in earlier:
        (studies.parent / "best" / name).touch()
    assert sorted(path.name for path in run(studies, overwrite=True).folder.iterdir()) == FILES


def test_a_target_that_cannot_be_is_refused(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run(studies).folder)
    for target in (".", ".."):
        with pytest.raises(StudyError, match="name a folder in another one"):
            run(studies, to=target, overwrite=True)
    with pytest.raises(ConfigError, match=r"to=report\.md/x: report\.md is no folder"):
        run(studies, to="report.md/x")


def test_a_failed_export_leaves_what_was_there(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    run(studies)
    monkeypatch.setattr("results.export.training_curve", fail)
    with pytest.raises(OSError, match="full"):
        run(studies, trial="0", overwrite=True)
    assert "# Trial 2" in (studies.parent / "best" / "report.md").read_text()
    assert sorted(path.name for path in studies.parent.iterdir()) == ["best", "studies"]


def test_what_is_not_installed_loses_nobody_the_export(exported: Export) -> None:
    assert len(exported.remarks) == 2
    assert exported.remarks[0] == "The weights were not read back: the corpus is no longer where the study had it"
    assert exported.remarks[1].startswith("The weights were not loaded again: ModuleNotFoundError")
    metrics = json.loads((exported.folder / "metrics.json").read_text())
    assert (metrics["read_back"], metrics["remarks"]) == (None, list(exported.remarks))
    card = (exported.folder / "README.md").read_text()
    assert all(remark in card for remark in exported.remarks)


@pytest.mark.parametrize("onnx", [False, True])
def test_damaged_weights_are_not_handed_over(studies: Path, monkeypatch: pytest.MonkeyPatch, onnx: bool) -> None:
    monkeypatch.setattr("results.read_back._load", load)
    with pytest.raises(CheckpointError, match="damaged"):
        run(studies, onnx=onnx)
    assert not (studies.parent / "best").exists()


def test_onnx_that_was_asked_for_and_cannot_be_written_is_an_error(studies: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        run(studies, onnx=True)
    assert not (studies.parent / "best").exists()


@pytest.mark.parametrize(("number", "is_remark"), [(errno.ENOSPC, False), (errno.EROFS, False), (errno.EACCES, True)])
def test_a_full_disk_is_no_remark_and_a_file_that_cannot_be_read_is(
    studies: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_remark: bool
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("results.export._write_page", fails)
    with nullcontext() if is_remark else pytest.raises(OSError, match=os.strerror(number)):
        assert os.strerror(number) in run(studies).remarks[-1]
    assert (studies.parent / "best").exists() == is_remark


def test_the_command_prints_verdict_and_remarks(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_trial(ExportConfig(study="demo", studies=str(studies), to=str(studies.parent / "best")))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Trial 2 is the best of the 2 trials")
    assert lines[1].startswith("The weights were not read back")
    assert lines[-1] == str(studies.parent / "best" / "README.md")


def test_a_mistake_is_told_without_waiting_for_torch(studies: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "results.export", "study=demo", f"studies={studies}"]
    done = subprocess.run([*command, f"to={studies}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: to=")
    assert " torch\n" not in done.stderr


@pytest.mark.parametrize(("trial", "shown"), [("", True), ("2", True), ("0", False)])
def test_the_page_shows_the_model_that_the_study_ends_with_and_no_other(
    studies: Path, monkeypatch: pytest.MonkeyPatch, trial: str, shown: bool
) -> None:
    given: list[tuple[Path, Path, Path | None]] = []
    monkeypatch.setattr("results.export._write_page", write_page)
    monkeypatch.setattr(
        "results.report.write_report", lambda source, to, exported, **_: given.append((source, to, exported))
    )
    run(studies, trial=trial)
    [(source, to, exported)] = given
    assert (source, to.name) == (studies / "demo", "report.html")
    assert exported == (to.parent if shown else None)
