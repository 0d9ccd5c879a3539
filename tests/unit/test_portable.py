"""What an export takes with it is read off the source: modules, packages, and what a runtime can do without."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from results import portable
from results.portable import ENTRY, ONNX, TORCH, Needs, needs, requirements

SOURCES = {
    "datasets/__init__.py": "",
    "datasets/inner/__init__.py": "import numpy",
    "datasets/inner/leaf.py": "VALUE = 1",
    "datasets/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas",
    "omr_model/__init__.py": "",
    "omr_model/heavy.py": "import torch.nn as nn\nimport timm",
    "omr_model/heavier.py": "from omr_model import heavy",
    "omr_model/both.py": (
        "import json\n"
        "from datasets.inner.leaf import VALUE\n"
        "from datasets import typed\n"
        "def read(runtime):\n"
        "    if runtime == 'torch':\n"
        "        import safetensors\n"
        "        from omr_model.heavier import heavy\n"
        "        return heavy\n"
        "    else:\n"
        "        import onnxruntime\n"
        "def convert():\n"
        "    try:\n"
        "        import onnx\n"
        "        with open('x'):\n"
        "            import torch\n"
        "    except ImportError:\n"
        "        import difflib, rich\n"
    ),
    "omr_model/circle.py": "import omr_model.circle\nimport tqdm",
}


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project of a few lines in the place of ours."""
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(portable, "_ROOT", tmp_path)
    _forget()
    yield
    _forget()


def _forget() -> None:
    for remembered in (portable._broken, portable._file_of, portable._imports):
        remembered.cache_clear()


@pytest.mark.usefixtures("made_up")
def test_imports_are_followed_into_functions_but_not_for_types() -> None:
    found = needs("omr_model.both")
    assert set(found.modules) == {
        *("datasets", "datasets.inner", "datasets.inner.leaf", "datasets.typed"),
        *("omr_model", "omr_model.both", "omr_model.heavier", "omr_model.heavy"),
    }
    assert found.packages == {"numpy", "torch", "timm", "safetensors", "onnxruntime", "onnx", "rich"}


@pytest.mark.usefixtures("made_up")
def test_a_block_that_cannot_run_needs_nothing() -> None:
    without_torch = needs("omr_model.both", without=TORCH)
    assert without_torch.packages == {"numpy", "onnxruntime", "onnx", "rich"}
    assert not {"omr_model.heavy", "omr_model.heavier"} & set(without_torch.modules)
    assert needs("omr_model.both", without=ONNX).packages == {"numpy", "torch", "timm", "safetensors", "rich"}


@pytest.mark.usefixtures("made_up")
def test_what_is_imported_at_once_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"omr_model\.heavier imports one of torch"):
        needs("omr_model.heavier", without=TORCH)


@pytest.mark.usefixtures("made_up")
def test_a_module_may_import_itself() -> None:
    assert needs("omr_model.circle", without=TORCH).packages == {"tqdm"}


def test_the_command_runs_without_torch_and_without_onnxruntime() -> None:
    by_torch, by_onnx = needs(ENTRY, without=ONNX), needs(ENTRY, without=TORCH)
    assert "omr_model.model" in by_torch.modules
    assert "onnxruntime" in by_onnx.packages
    assert not {"torch", "timm", "x_transformers"} & by_onnx.packages
    assert all(path.is_file() for path in by_torch.modules.values())
    rooms = {name.partition(".")[0] for needed in (by_torch, by_onnx) for name in needed.modules}
    assert rooms == {"datasets", "omr_model"}


def test_requirements_name_what_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: Mapping[str, str] = {"torch": "2.15.0+cpu", "opencv-python": "5.0", "pillow": "13.0"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    packages = {"torch": ["torch"], "cv2": ["opencv-python"], "PIL": ["pillow", "zebra"]}
    monkeypatch.setattr(portable, "_distributions", lambda: packages)
    head, *lines = requirements(Needs({}, frozenset({"torch", "cv2", "PIL", "not_there"}))).splitlines()
    assert lines == ["opencv-python==5.0", "pillow==13.0", "torch==2.15.0"]
    assert head.endswith(f"Python {sys.version.split()[0]}.")
