"""Pictures to text, MusicXML and MEI on the command line, with torch and without."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.errors import CheckpointError, ConfigError, ImageError
from datasets.images import encode_png
from datasets.notation import format_semantic, parse
from omr_model import predict as module
from omr_model.decoding import greedy
from omr_model.model import TrOMR
from omr_model.onnx_model import OnnxReader
from omr_model.predict import PredictJob, open_reader, predict, run
from omr_model.predictions import MOST_SHOWN, Prediction, print_predictions, readings_file
from omr_model.reading import Reading
from omr_model.torch_reader import TorchReader
from tests.models import random_batch, save_model


@pytest.fixture(scope="module")
def model(with_onnx: tuple[TrOMR, Path]) -> TrOMR:
    return with_onnx[0]


@pytest.fixture(scope="module")
def checkpoint(with_onnx: tuple[TrOMR, Path]) -> Path:
    """With `onnx/` beside the weights, as an export has it."""
    return with_onnx[1]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three pictures, two of one stem, and what a folder of scans also has."""
    folder = tmp_path / "my scans, 2024"
    (folder / "deeper").mkdir(parents=True)
    for name, image in zip(("a.png", "b.png", "b.jpeg"), random_batch().image.numpy()[:, 0], strict=True):
        (folder / name).write_bytes(encode_png(image))
    (folder / "deeper" / "c.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "._a.png").write_bytes(b"what macOS leaves")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def readings(model: TrOMR) -> dict[str, Reading]:
    return dict(zip(("a.png", "b.png", "b.jpeg"), greedy(model, random_batch().image), strict=True))


def test_one_picture_goes_to_the_terminal(
    checkpoint: Path, scans: Path, readings: dict[str, Reading], capsys: pytest.CaptureFixture[str]
) -> None:
    predict(PredictJob(checkpoint=str(checkpoint), image=str(scans / "a.png")))
    assert capsys.readouterr().out == format_semantic(readings["a.png"].symbols) + "\n"


@pytest.mark.parametrize(("form", "root"), [("musicxml", "<score-partwise"), ("mei", "<mei ")])
def test_the_terminal_gets_the_first_format(
    checkpoint: Path, scans: Path, capsys: pytest.CaptureFixture[str], form: str, root: str
) -> None:
    predict(PredictJob(checkpoint=str(checkpoint), image=str(scans / "a.png"), formats=(form, "semantic")))
    printed = capsys.readouterr().out
    assert root in printed
    assert printed.startswith("<?xml")


def test_a_picture_goes_to_files(checkpoint: Path, scans: Path, tmp_path: Path) -> None:
    to = tmp_path / "deep" / "er"
    predict(PredictJob(checkpoint=str(checkpoint), image=str(scans / "a.png"), to=str(to), formats=("mei", "semantic")))
    assert sorted(path.name for path in to.iterdir()) == ["a.mei", "a.semantic"]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_folder_goes_to_files_and_a_table(
    checkpoint: Path,
    scans: Path,
    readings: dict[str, Reading],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    batch_size: int,
) -> None:
    to = tmp_path / "read"
    formats = ("semantic", "musicxml", "mei")
    predict(
        PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(to), formats=formats, batch_size=batch_size)
    )
    names = [f"{name}.{form}" for name in ("a.png", "b.jpeg", "b.png") for form in sorted(formats)]
    assert sorted(path.name for path in to.iterdir()) == [*names, "readings.parquet"]
    assert (to / "b.jpeg.semantic").read_text() == format_semantic(readings["b.jpeg"].symbols) + "\n"
    rows = {row["file"]: row for row in pq.read_table(to / "readings.parquet").to_pylist()}
    assert rows.keys() == readings.keys()
    for name, reading in readings.items():
        assert rows[name]["symbols"] == len(reading.symbols)
        assert rows[name]["prediction"] == format_semantic(reading.symbols)
        assert rows[name]["confidence"] == pytest.approx(reading.confidence, abs=1e-4)
        least = min(reading.confidences)
        assert rows[name]["least_confidence"] == pytest.approx(least, abs=1e-4)
        assert rows[name]["least_sure"] == str(reading.symbols[reading.confidences.index(least)])
        assert len(rows[name]["confidences"]) == len(reading.symbols)
        assert rows[name]["remarks"]  # an untrained model writes no music
    shown = [word for line in capsys.readouterr().out.splitlines() for word in line.split()[:1] if word in readings]
    assert shown == sorted(readings, key=lambda name: readings[name].confidence)


def test_the_table_in_the_terminal_ends(
    checkpoint: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(MOST_SHOWN):
        (scans / f"more-{index}.png").write_bytes((scans / "a.png").read_bytes())
    predict(PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(tmp_path / "read")))
    printed = capsys.readouterr().out
    assert printed.count(".png") + printed.count(".jpeg") == MOST_SHOWN
    assert "and 3 that it is surer of" in printed


def test_a_folder_to_the_terminal_is_a_line_a_picture(
    checkpoint: Path, scans: Path, readings: dict[str, Reading], capsys: pytest.CaptureFixture[str]
) -> None:
    predict(PredictJob(checkpoint=str(checkpoint), image=str(scans)))
    lines = [f"{name}: {format_semantic(readings[name].symbols)}" for name in sorted(readings)]
    assert capsys.readouterr().out.splitlines() == lines


def test_what_cannot_be_read_is_passed_over_and_said(
    checkpoint: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (scans / "a-before-all-others.png").write_bytes((scans / "a.png").read_bytes()[:100])
    with pytest.raises(SystemExit) as stopped:
        predict(PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(tmp_path / "read"), batch_size=1))
    assert stopped.value.code == 1
    first, *named = capsys.readouterr().err.splitlines()
    assert first == f"error: 2 of 5 files in {scans} could not be read:"
    assert [line.partition(": ")[0].strip() for line in named] == [
        str(scans / name) for name in ("a-before-all-others.png", "torn.jpg")
    ]
    assert pq.read_table(tmp_path / "read" / "readings.parquet").num_rows == 3


@pytest.mark.parametrize("image", ["a.png", ""])
def test_nothing_is_replaced_unasked(checkpoint: Path, scans: Path, image: str) -> None:
    """A corpus has the label of a picture beside it, under the same name."""
    label = scans / ("a.semantic" if image else "a.png.semantic")
    label.write_text("the truth")
    job = PredictJob(checkpoint="no checkpoint: nothing is loaded", image=str(scans / image), to=str(scans))
    with pytest.raises(ConfigError, match=rf"{label.name} would be replaced; .*overwrite=true"):
        predict(job)
    assert label.read_text() == "the truth"
    predict(replace(job, checkpoint=str(checkpoint), overwrite=True))
    assert label.read_text() != "the truth"


def test_what_was_read_before_is_not_replaced_unasked(checkpoint: Path, scans: Path, tmp_path: Path) -> None:
    job = PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(tmp_path / "read"))
    predict(job)
    with pytest.raises(ConfigError, match=r"a\.png\.semantic and 3 more would be replaced"):
        predict(job)
    predict(replace(job, overwrite=True))


@pytest.mark.parametrize(
    ("pictures", "names"),
    [
        (["a.png", "b.jpg"], ["a", "b"]),
        (["a.png", "a.jpg", "a.png.png"], ["a.png", "a.jpg", "a.png.png"]),
        (["a.png", "A.jpg"], ["a.png", "A.jpg"]),
    ],
)
def test_no_two_pictures_have_one_name(pictures: list[str], names: list[str]) -> None:
    assert list(module._names([Path(name) for name in pictures]).values()) == names


def test_a_name_that_nobody_can_write_loses_nothing_else(
    checkpoint: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("e" * 250 + ".png", "\udcff.png"):
        (scans / name).write_bytes((scans / "a.png").read_bytes())
    formats = ("semantic", "musicxml", "mei")
    job = PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(tmp_path / "read"), formats=formats)
    with pytest.raises(SystemExit):
        predict(job)
    told = capsys.readouterr().err
    assert "1 of 5 files" in told
    assert "File name too long" in told
    rows = pq.read_table(tmp_path / "read" / "readings.parquet").to_pylist()
    assert {row["file"] for row in rows} == {"a.png", "b.jpeg", "b.png", "\ufffd.png"}
    predict(replace(job, image=str(scans / "\udcff.png"), to=""))


def test_a_full_disk_ends_it(checkpoint: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_files", full)
    with pytest.raises(OSError, match="No space left"):
        predict(PredictJob(checkpoint=str(checkpoint), image=str(scans), to=str(tmp_path / "read")))


@pytest.mark.parametrize(("name", "message"), [("cuda", "^device=cuda: this machine has no"), ("tpu", "^device=tpu: ")])
def test_a_device_that_is_not_there_is_called_as_it_was_named(
    checkpoint: Path, scans: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        predict(PredictJob(checkpoint=str(checkpoint), image=str(scans), runtime="torch", device=name))


def test_a_reading_that_stops_early_is_not_the_surest() -> None:
    """Nothing was read of one picture, and of another the end was never written."""
    screen = StringIO()
    told = [
        Prediction("sure.png", Reading(parse("barline"), [0.9], 0.9), ()),
        Prediction("nothing.png", Reading([], [], 0.2), ("mended",)),
        Prediction("cut.png", Reading(parse("barline"), [0.4]), ("mended",)),
    ]
    print_predictions(told, screen)
    shown = [word for word in screen.getvalue().split() if word.endswith(".png")]
    assert shown == ["nothing.png", "cut.png", "sure.png"]
    assert "the end (0.20)" in screen.getvalue()
    rows = pq.read_table(pa.BufferReader(readings_file(told))).to_pylist()
    assert [row["end"] for row in rows] == [0.9, 0.2, None]
    assert [row["remarks"] for row in rows] == ["", "mended", "cut off at the longest sequence; mended"]


def test_a_folder_of_nothing_readable_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match="1 of 1 files"):
        predict(PredictJob(checkpoint=str(checkpoint), image=str(tmp_path / "scans"), to=str(tmp_path / "read")))
    assert not (tmp_path / "read").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": ""}, "name both"),
        ({"to": "{scans}/a.png"}, "to=.*a.png is no folder"),
        ({"to": "{scans}/a.png/sub"}, "to=.*a.png is no folder"),
        ({"formats": ("mei",)}, "needs another folder"),
        ({"formats": ()}, "at least one of semantic, musicxml, mei"),
        ({"formats": ("mai",)}, "did you mean mei"),
        ({"runtime": "tensorflow"}, "unknown runtime 'tensorflow'; choose auto, torch, onnx"),
        ({"batch_size": 0}, "must be at least 1"),
        ({"runtime": "onnx", "device": "tpu"}, "unknown device 'tpu'; choose auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_done_is_refused(checkpoint: Path, scans: Path, fields: dict[str, object], message: str) -> None:
    given = {name: value.format(scans=scans) if isinstance(value, str) else value for name, value in fields.items()}
    with pytest.raises(ConfigError, match=message):
        predict(PredictJob(**{"checkpoint": str(checkpoint), "image": str(scans)} | given))  # type: ignore[arg-type]


def test_torch_is_taken_where_it_can_be(checkpoint: Path, tmp_path: Path) -> None:
    assert isinstance(open_reader(checkpoint, device="cpu"), TorchReader)
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "onnx").symlink_to(checkpoint / "onnx")
    assert isinstance(open_reader(tmp_path / "light"), OnnxReader)


def test_without_its_folder_onnx_is_refused(model: TrOMR, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no onnx/; an export has one with onnx=true"):
        open_reader(save_model(model, tmp_path / "plain"), "onnx")


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_without_torch_and_onnx_the_way_out_is_named(
    model: TrOMR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"torch is not installed; without it, onnx/ of an export can be read"):
        open_reader(save_model(model, tmp_path / "plain"), runtime)


def test_onnxruntime_reads_where_there_is_no_torch(
    checkpoint: Path, scans: Path, readings: dict[str, Reading], tmp_path: Path
) -> None:
    """As `predict.py` of an export calls it: the checkpoint is its own folder, the picture is named by itself."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"from omr_model.predict import run; run(sys.argv[1:], checkpoint={str(checkpoint)!r})"
    )
    words = [str(scans), f"to={tmp_path / 'read'}", "formats=semantic,musicxml,mei"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for row in pq.read_table(tmp_path / "read" / "readings.parquet").to_pylist():
        assert row["prediction"] == format_semantic(readings[row["file"]].symbols)
        assert row["confidences"] == pytest.approx(readings[row["file"]].confidences, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "b.png"], "name one picture or one folder, not 2: a.png b.png"),
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["--verbose"], "'--verbose' is not of the form field=value"),
    ],
)
def test_words_that_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(words, checkpoint="somewhere")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_help_needs_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(["--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert "formats are semantic, musicxml and mei" in told
    assert "device is auto, cpu or cuda" in told
