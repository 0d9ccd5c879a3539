"""An export of real weights: it works from its folder alone, with either runtime, and reads what the search read."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from datasets.images import encode_png
from datasets.shards import PreparedCorpus
from omr_model import checkpoint
from omr_model.predict import open_reader
from omr_model.trainer import EpochRecord, Trainer
from results.export import Export, ExportConfig, export
from results.journal import EpochReported, Journal, TrialEnded, TrialStarted
from results.samples import SAMPLES_FILE, write_samples
from results.study import CorpusRecord, read_study, write_study
from tests.models import training
from tests.studies import study_record

pytest.importorskip("onnxscript", reason="ONNX is an extra")

OURS = """
import json, runpy, sys
sys.argv = sys.argv[1:]
if sys.argv[0] == "-no-torch":
    sys.modules["torch"] = None
    sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    ours = ("datasets", "omr_model", "results", "search")
    print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ours]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def studies(corpus: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one trial, which was trained for an epoch on real staves."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    record = study_record("small")
    ours = CorpusRecord(name="engraved-short", path=str(corpus.path), hash=corpus.manifest.content_hash)
    write_study(folder, dataclasses.replace(record, corpus=ours, max_epochs=1))
    trainer = Trainer(training(epochs=1, staves_per_epoch=320, validation_staves=12, learning_rate=3e-3), corpus)
    reported: list[EpochRecord] = []
    trainer.fit(reported.append)
    [epoch] = reported
    checkpoint.save(trainer, epoch, folder / "saved")
    write_samples(epoch.evaluation.staves, epoch.epoch, folder / "saved" / SAMPLES_FILE)
    journal = Journal(folder / "events.jsonl")
    journal.append(TrialStarted("one", 0, 0, {"model.decoder.dropout": 0.0}, 1e9, "base", None))
    journal.append(EpochReported("one", epoch.metrics(), "saved", 1e9 + 60))
    journal.append(TrialEnded("one", "completed", "trained to the end", 1e9 + 61))
    return folder.parent


@pytest.fixture(scope="module")
def exported(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Its trial, for both runtimes."""
    to = tmp_path_factory.mktemp("handed over") / "model"  # a blank in the path, as people have them
    return export(ExportConfig(study="small", studies=str(studies), to=str(to), onnx=True))


@pytest.fixture
def picture(corpus: PreparedCorpus, tmp_path: Path) -> Path:
    """A validation staff."""
    path = tmp_path / "staff.png"
    path.write_bytes(encode_png(corpus.staves("validation").image(0)))
    return path


def recorded(exported: Export, staff_id: str) -> str:
    """What the search has read on a staff."""
    rows = pq.read_table(exported.folder / "predictions.parquet").to_pylist()
    return str(next(row["prediction"] for row in rows if row["staff_id"] == staff_id))


def predict(exported: Export, *words: str, torch: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `predict.py` from the root of the file system, where nothing of this project is."""
    hidden = [] if torch else ["-no-torch"]
    command = [sys.executable, "-c", OURS, *hidden, str(exported.folder / "predict.py"), *words]
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd="/", env=surroundings, capture_output=True, text=True, check=False)
    files = json.loads(done.stderr.splitlines()[-1])
    assert files
    assert all(Path(file).is_relative_to(exported.folder / "code") for file in files)
    return done


@pytest.mark.parametrize("torch", [True, False])
def test_it_reads_from_its_folder_alone(exported: Export, corpus: PreparedCorpus, picture: Path, torch: bool) -> None:
    done = predict(exported, str(picture), torch=torch)
    assert (done.returncode, done.stdout) == (0, f"{recorded(exported, corpus.staves('validation').staff_id(0))}\n")


def test_it_says_what_it_can_do(exported: Export) -> None:
    done = predict(exported)
    assert done.returncode == 0
    assert f"checkpoint={exported.folder}" in done.stdout


def test_it_says_what_is_not_installed(exported: Export) -> None:
    """An interpreter without packages: `-S` leaves out those that are installed."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(exported.folder / "predict.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.match(
        r"error: the package \w+ is not installed: pip install -r .*requirements-onnx\.txt or ", done.stderr
    )


def test_what_is_read_again_is_what_was_recorded(exported: Export) -> None:
    metrics = json.loads((exported.folder / "metrics.json").read_text())
    for runtime in ("read_back", "read_back_onnx"):
        found = metrics[runtime]
        assert found["staves"] == found["equal"] > 5
        assert (found["different"], found["symbols"] > 0) == (0, True)
    assert exported.remarks == ()
    card = (exported.folder / "README.md").read_text()
    assert "validation staves again with PyTorch on a CPU: symbol for symbol what the search had recorded." in card
    assert "again with onnxruntime on a CPU: symbol for symbol" in card
    for name in ("report.html", "figures/attention.png", "code/LICENSE"):
        assert (exported.folder / name).stat().st_size > 1000


def test_both_runtimes_are_as_sure(exported: Export, corpus: PreparedCorpus) -> None:
    """Of a model with batch norm and without attention on attention; `test_onnx` has those of other kinds."""
    staves = corpus.staves("validation")
    images = [staves.image(place) for place in range(5)]
    by_torch, by_onnx = (open_reader(exported.folder, runtime, "cpu").read(images) for runtime in ("torch", "onnx"))
    assert [staff.symbols for staff in by_onnx] == [staff.symbols for staff in by_torch]
    for one, other in zip(by_onnx, by_torch, strict=True):
        np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-4)
    assert len({round(staff.confidence, 4) for staff in by_torch}) > 1


def test_the_card_is_valid_and_lists_every_file(exported: Export) -> None:
    _, front, body = (exported.folder / "README.md").read_text().split("---\n", 2)
    fields: dict[str, Any] = yaml.safe_load(front)
    assert fields["pipeline_tag"] == "image-to-text"
    [metric] = fields["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == pytest.approx(exported.trial.ser)
    listed = re.findall(r"^\| `([^`]+)` \| [^|]+ \|$", body.split("## Files")[1], flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in exported.folder.iterdir())
    for link in re.findall(r"\]\(([^)]+)\)", body):
        assert (exported.folder / link).is_file()


def test_requirements_are_pinned_for_each_runtime(exported: Export) -> None:
    read = {name: (exported.folder / name).read_text() for name in ("requirements.txt", "requirements-onnx.txt")}
    pinned = {name: set(re.findall(r"^([\w-]+)==[\d.]+$", text, flags=re.MULTILINE)) for name, text in read.items()}
    for name, text in read.items():
        assert len(pinned[name]) == len(text.splitlines()) - 1  # a comment, and nothing else: no index, no local build
    assert {"torch", "timm", "x-transformers", "opencv-python"} <= pinned["requirements.txt"]
    assert "onnxruntime" not in pinned["requirements.txt"]
    assert {"onnxruntime", "opencv-python"} <= pinned["requirements-onnx.txt"]
    assert not {"torch", "timm", "onnx"} & pinned["requirements-onnx.txt"]


def test_what_differs_is_counted(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a search in another precision: a symbol more was recorded on each staff."""
    monkeypatch.setattr("results.export._write_page", lambda *_: None)
    monkeypatch.setattr("results.read_back._draw", lambda *_: None)
    other = tmp_path / "studies"
    shutil.copytree(studies, other)
    path = other / "small" / "saved" / SAMPLES_FILE
    table = pq.read_table(path)
    longer = [f"{text} barline" for text in table["prediction"].to_pylist()]
    column = table.schema.get_field_index("prediction")
    pq.write_table(table.set_column(column, table.schema.field(column), [longer]), path)
    folder = export(ExportConfig(study="small", studies=str(other), to=str(tmp_path / "to"))).folder
    found = json.loads((folder / "metrics.json").read_text())["read_back"]
    assert (found["equal"], found["different"]) == (0, found["staves"])
    text = (folder / "README.md").read_text()
    assert f"0 as the search had recorded them, the others with {found['staves']} of {found['symbols']} symbols" in text


def test_a_corpus_that_was_made_anew_is_not_compared_with(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.export._write_page", lambda *_: None)
    other = tmp_path / "studies"
    shutil.copytree(studies, other)
    record = read_study(other / "small")
    write_study(other / "small", dataclasses.replace(record, corpus=dataclasses.replace(record.corpus, hash="0")))
    exported = export(ExportConfig(study="small", studies=str(other), to=str(tmp_path / "to")))
    assert exported.remarks == (
        "The weights were not read back: the corpus was prepared anew since, with other contents",
    )
    assert "The corpus itself is not at hand any more" in (exported.folder / "README.md").read_text()
