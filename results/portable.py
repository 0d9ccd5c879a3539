"""What an export needs to read pictures on a machine that has nothing of this project: code, packages, a command.

What `omr_model.predict` needs is read off its source, module by module, and not kept in a list that would go stale. An
import inside a function counts as well, unless its block cannot run with the runtime that is asked for: the list of
packages for ONNX has no torch, and the other way round.
"""

from __future__ import annotations

import ast
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from results.provenance import DISTRIBUTION

ENTRY = "omr_model.predict"
ROOMS = ("datasets", "omr_model")
CODE_FOLDER, COMMAND_FILE, LICENCE_FILE = "code", "predict.py", "LICENSE"
TORCH_REQUIREMENTS, ONNX_REQUIREMENTS = "requirements.txt", "requirements-onnx.txt"
TORCH, ONNX = ("torch",), ("onnx", "onnxruntime", "onnxscript")
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Needs:
    """What a module needs: files of this project by module name, and packages of others as they are imported."""

    modules: dict[str, Path]
    packages: frozenset[str]


@dataclass(frozen=True)
class _Block:
    """The imports of one block of statements, as full names; `inner` blocks run later, or perhaps never."""

    names: frozenset[str]
    inner: tuple[_Block, ...]


def write_code(folder: Path, onnx: bool) -> None:
    """Put `code/`, `predict.py` and the requirements into an export.

    Args:
        onnx: write `requirements-onnx.txt`, too.
    """
    runtimes = [(TORCH_REQUIREMENTS, needs(ENTRY, without=ONNX))]
    if onnx:
        runtimes.append((ONNX_REQUIREMENTS, needs(ENTRY, without=TORCH)))
    for path in {path for _, needed in runtimes for path in needed.modules.values()}:
        copy = folder / CODE_FOLDER / path.relative_to(_ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (folder / CODE_FOLDER / LICENCE_FILE).write_text(_licence(), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("portable_command.py"), folder / COMMAND_FILE)
    for name, needed in runtimes:
        (folder / name).write_text(requirements(needed), encoding="utf-8")


def needs(entry: str, without: Collection[str] = ()) -> Needs:
    """Everything that is imported when a module is, or when one of its functions runs.

    Args:
        entry: a module of this project.
        without: packages that are not there; blocks that cannot run without them are passed over.

    Raises:
        ValueError: the module cannot be imported without them.
    """
    if _broken(entry, frozenset(without)):
        raise ValueError(f"{entry} imports one of {', '.join(without)} as soon as it is imported")
    modules: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None:
            packages.add(name.partition(".")[0])
        elif name not in modules:
            modules[name] = path
            waiting += _names(_imports(path), frozenset(without))
            waiting += _parents(name)
    return Needs(dict(sorted(modules.items())), frozenset(packages - sys.stdlib_module_names))


def requirements(needed: Needs) -> str:
    """The packages with the versions that are installed here, as pip reads them.

    Local parts of a version are left out (`2.15.0+cpu`): they name a build that not every index has. So is what is not
    installed: whatever can do without it here can do so elsewhere.
    """
    distributions = _distributions()
    names = sorted({_called(name, distributions[name]) for name in needed.packages if name in distributions})
    head = f"# What {COMMAND_FILE} needs, as installed where this was exported: Python {platform.python_version()}.\n"
    return head + "".join(f"{name}=={importlib.metadata.version(name).partition('+')[0]}\n" for name in names)


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """What is installed, by the names that it is imported by; it takes a second to ask."""
    return importlib.metadata.packages_distributions()


def _called(package: str, distributions: Sequence[str]) -> str:
    """What has to be installed to import a package: `opencv-python` for `cv2`."""
    return min(distributions, key=lambda name: (name.lower() != package.lower(), name)).lower()


@cache
def _broken(module: str, absent: frozenset[str]) -> bool:
    """Whether importing a module fails where some packages are absent."""
    if module.partition(".")[0] in absent:
        return True
    path = _file_of(module)
    return path is not None and any(_broken(name, absent) for name in _imports(path).names if name != module)


def _names(block: _Block, absent: frozenset[str]) -> Iterator[str]:
    """The names that a block imports, and those of its inner ones that can run."""
    yield from block.names
    for inner in block.inner:
        if not any(_broken(name, absent) for name in inner.names):
            yield from _names(inner, absent)


@cache
def _imports(path: Path) -> _Block:
    return _block(ast.parse(path.read_text(encoding="utf-8")).body)


def _block(body: Sequence[ast.stmt]) -> _Block:
    names: set[str] = set()
    inner: list[_Block] = []
    for statement in body:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names |= {_member(statement.module or "", alias.name) for alias in statement.names}
        elif not _is_for_types(statement):
            inner += [_block(part) for part in _bodies(statement)]
    return _Block(frozenset(names), tuple(inner))


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks within a statement: of a function, a class, each branch of an `if`, a `try` or a `match`."""
    for value in vars(statement).values():
        if isinstance(value, list) and value:
            if isinstance(value[0], ast.stmt):
                yield value
            elif isinstance(value[0], (ast.ExceptHandler, ast.match_case)):
                yield from (part.body for part in value)


def _is_for_types(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:`, which never runs."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _member(module: str, name: str) -> str:
    """What `from module import name` imports: a module of that name, or the module that has it."""
    return f"{module}.{name}" if _file_of(f"{module}.{name}") else module


def _parents(module: str) -> Iterator[str]:
    """The packages that a module lies in, which are imported before it."""
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))


@cache
def _file_of(module: str) -> Path | None:
    """The file of a module of this project; None for another's."""
    if module.partition(".")[0] not in ROOMS:
        return None
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _licence() -> str:
    """This project's licence, from the checkout or from what was installed."""
    path = _ROOT / LICENCE_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    text = importlib.metadata.distribution(DISTRIBUTION).read_text(f"licenses/{LICENCE_FILE}")
    if text is None:
        raise FileNotFoundError(f"{path}: the licence of this project is neither there nor beside what was installed")
    return text
