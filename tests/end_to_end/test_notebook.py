"""The notebook of the documentation, run from its first cell to its last on a small study."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.studies import FakeTrial, make_study

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 6 <= len(notebook.cells) <= 10
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_every_cell_runs_and_shows_something(
    notebook: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [FakeTrial(0, (0.9, 0.5), origin="base"), FakeTrial(1, (0.8, 0.3)), FakeTrial(2, (0.9,), "pruned")]
    make_study(tmp_path / "studies", trials)
    monkeypatch.setenv("OMR_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [[output.get("data", {}) for output in cell.outputs] for cell in cells]
    assert all(shown)
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    first, *_, figure, last = (outputs[-1] for outputs in shown)
    assert "Study demo" in first["text/html"]
    assert "trial 1" in figure["image/svg+xml"]
    assert "demo/0 errs" in last["text/html"]
    assert "not trained to its end" in last["text/html"]
