"""Policies of the code base, held as tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("datasets", "omr_model", "results", "search")  # each may import those before it
ENGINES = ("ray", "optuna", "hydra")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOMS, include_external_packages=True, cache_dir=None)


def test_imports_run_one_way(imports: grimp.ImportGraph) -> None:
    backwards = [
        (importer, imported)
        for position, room in enumerate(ROOMS)
        for later in ROOMS[position + 1 :]
        for importer in imports.find_descendants(room) | {room}
        for imported in imports.find_modules_directly_imported_by(importer)
        if imported.split(".")[0] == later
    ]
    assert backwards == []


def importers(graph: grimp.ImportGraph, package: str) -> set[str]:
    return set(graph.find_modules_that_directly_import(package)) if package in graph.modules else set()


def test_the_trainer_knows_nothing_of_the_engine(imports: grimp.ImportGraph) -> None:
    """Optuna's importances are the one thing that is used outside a search."""
    allowed = {"optuna": {"results.importance"}}
    for engine in ENGINES:
        outside = {module for module in importers(imports, engine) if not module.startswith("search")}
        assert outside == allowed.get(engine, set()), engine


def test_ray_is_imported_in_one_package(imports: grimp.ImportGraph) -> None:
    assert importers(imports, "ray")
    assert all(module.startswith("search.engine.") for module in importers(imports, "ray"))


def test_datasets_does_not_need_torch(imports: grimp.ImportGraph) -> None:
    assert not {module for module in importers(imports, "torch") if module.startswith("datasets")}


def test_import_datasets_finds_ours() -> None:
    """Another project's package has the same name; ours must win, and nothing may depend on the other."""
    spec = importlib.util.find_spec("datasets")
    assert spec is not None
    assert spec.origin == str(ROOT / "datasets" / "__init__.py")
    found = subprocess.run(
        [sys.executable, "-c", "import datasets; print(datasets.__file__)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == spec.origin
    assert '"datasets' not in (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0]


@pytest.mark.parametrize(
    "command",
    ["search.run", "datasets.prepare", "results.gather", "results.compare", "results.export", "results.training_log"],
)
def test_what_a_person_waits_for_does_not_import_torch(command: str) -> None:
    """Help and errors come at once: torch and Ray take seconds to import. A search checks its corpus without, too."""
    code = f"import sys, {command}; sys.exit(bool({{'torch', 'ray'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=False).returncode == 0


def test_top_level_is_what_was_agreed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        *("datasets", "omr_model", "search", "results", "tests", "docs"),
        *("pyproject.toml", "LOG.md", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile"),
    }


def test_no_source_file_holds_two_ideas() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
