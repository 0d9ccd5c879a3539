"""What onnxruntime reads is what torch reads: the same symbols, as sure of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from datasets.errors import CheckpointError, ConfigError
from datasets.images import Gray
from omr_model.config import BackboneConfig, EncoderConfig, ModelConfig
from omr_model.decoding import greedy
from omr_model.model import TrOMR
from omr_model.onnx_model import DECODER, DESCRIPTION, ENCODER, OnnxReader, export_onnx
from omr_model.reading import Reading
from tests.models import SMALL
from tests.onnx_models import save_with_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

STAVES = 5
OTHER_KIND = replace(  # batch norm is in `test_handed_over`
    SMALL,
    backbone=BackboneConfig(family="convnext", layers=(1, 1), channels=(8, 16)),
    encoder=EncoderConfig(patch=(8, 1), depth=1, heads=2),
)


def pictures(config: ModelConfig) -> list[Gray]:
    """Black and white blocks, which fill pictures of the model's size."""
    chosen = np.random.default_rng(0).integers(0, 2, (STAVES, 4, 8), dtype=np.uint8) * 255
    return list(chosen.repeat(config.height // 4, axis=1).repeat(config.width // 8, axis=2))


@pytest.fixture(scope="module")
def exported(with_onnx: tuple[TrOMR, Path]) -> tuple[TrOMR, Path]:
    """A model, and the folder of its two graphs."""
    model, checkpoint = with_onnx
    return model, checkpoint / "onnx"


def assert_read_alike(model: TrOMR, folder: Path, batch_size: int) -> list[Reading]:
    images = pictures(model.config)
    expected = greedy(model, torch.from_numpy(np.stack(images))[:, None])
    read = OnnxReader(folder, threads=1).read(images, batch_size)
    assert [staff.symbols for staff in read] == [staff.symbols for staff in expected]
    for one, other in zip(read, expected, strict=True):
        np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-4)
    assert len({str(symbol) for staff in read for symbol in staff.symbols}) > 10
    return read


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_any_batch_reads_alike(exported: tuple[TrOMR, Path], batch_size: int) -> None:
    read = assert_read_alike(*exported, batch_size)
    assert len({len(staff.symbols) for staff in read}) > 2


def test_a_model_of_another_kind_reads_alike(tmp_path: Path) -> None:
    """Another backbone, tall patches, no class token, a decoder without attention on attention."""
    assert_read_alike(save_with_onnx(OTHER_KIND, tmp_path / "model"), tmp_path / "model" / "onnx", batch_size=3)


def test_pictures_of_other_sizes_are_fitted(exported: tuple[TrOMR, Path]) -> None:
    model, folder = exported
    reader = OnnxReader(folder, threads=1)
    small = np.full((model.config.height // 2, model.config.width // 4), 255, dtype=np.uint8)
    [fitted] = reader.read([np.full((model.config.height, model.config.width), 255, dtype=np.uint8)])
    assert reader.read([small]) == [fitted]
    assert reader.read([]) == []


def test_reading_needs_no_torch(exported: tuple[TrOMR, Path]) -> None:
    code = f"""
import sys
import numpy
from pathlib import Path
from omr_model.onnx_model import OnnxReader
reader = OnnxReader(Path({str(exported[1])!r}), threads=1)
print(len(reader.read([numpy.zeros((64, 256), dtype=numpy.uint8)])), "torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "False"]


def test_there_are_three_files_and_weights_are_in_them(exported: tuple[TrOMR, Path]) -> None:
    model, folder = exported
    assert {file.name for file in folder.iterdir()} == {ENCODER, DECODER, DESCRIPTION}
    weights = sum(weight.numel() * 4 for weight in model.parameters())
    assert weights <= sum(file.stat().st_size for file in folder.iterdir()) < 2 * weights + 500_000
    assert not list(folder.parent.glob(".*"))


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = TrOMR(SMALL).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("torch.onnx.export", lambda _graph, _example, path, **_: Path(path).touch())
        export_onnx(model, tmp_path / "model")
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr("torch.onnx.export", fails)
    with pytest.raises(RuntimeError):
        export_onnx(TrOMR(SMALL), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["onnx", "onnxscript"])
def test_missing_packages_are_named_with_what_installs_them(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "omr_model.onnx_graphs", raising=False)
    with pytest.raises(ConfigError, match=rf"needs {module}: pip install 'omr-search\[onnx\]'"):
        export_onnx(TrOMR(SMALL), tmp_path / "model")


def test_a_missing_onnxruntime_is_named(exported: tuple[TrOMR, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"install onnxruntime: pip install 'omr-search\[onnx\]'"):
        OnnxReader(exported[1])


def test_a_provider_that_is_not_there_is_named(exported: tuple[TrOMR, Path]) -> None:
    with pytest.raises(ConfigError, match=r"no AbacusExecutionProvider here; it has .*CPUExecutionProvider"):
        OnnxReader(exported[1], providers=["AbacusExecutionProvider"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"vocabulary_version": "full-0"}, "vocabulary full-0; this has full-1"),
        ({"colour": "red"}, "damaged"),
    ],
)
def test_a_description_of_another_version_is_refused(
    exported: tuple[TrOMR, Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    copied = shutil.copytree(exported[1], tmp_path / "copied")
    tree = json.loads((copied / DESCRIPTION).read_text()) | change
    (copied / DESCRIPTION).write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=message):
        OnnxReader(copied)


def test_a_truncated_graph_and_no_graph_are_refused(exported: tuple[TrOMR, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(exported[1], tmp_path / "copied")
    (copied / DECODER).write_bytes((copied / DECODER).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"{DECODER} cannot be read"):
        OnnxReader(copied)
    with pytest.raises(CheckpointError, match=f"it has no {DESCRIPTION}"):
        OnnxReader(tmp_path)


def test_a_gpu_that_onnxruntime_cannot_start_is_no_secret(
    exported: tuple[TrOMR, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It logs why, and reads on the CPU."""
    gpu = "CUDAExecutionProvider"
    opened = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [gpu, "CPUExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **_: opened(path, options, ["CPUExecutionProvider"]),
    )
    with pytest.raises(ConfigError, match=f"cannot start {gpu} here, and would read with CPUExecutionProvider"):
        OnnxReader(exported[1], providers=[gpu])
    OnnxReader(exported[1])  # nobody asked for a GPU
