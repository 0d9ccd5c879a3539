"""What made a result: code, packages, machine, command line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

DISTRIBUTION = "omr-search"
UNVERSIONED: Literal["unversioned"] = "unversioned"
RunNumber: TypeAlias = int | Literal["unversioned"]

CODE_VARIABLE = "OMR_CODE"
"""Where a copy of the code without git is told its version: a job of Ray's, an image (`search.runtime_env`)."""
PACKAGES = ("datasets", "omr_model", "results", "search")
CODE_FILES = {".py", ".yaml", ".toml"}
MOST_CHANGES = 200_000  # characters of uncommitted changes that are kept
NO_CODE = {"corpora", "studies", "exports", "__pycache__"}  # folders in them
_CODE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class CodeVersion:
    """Where the code stands in git.

    Attributes:
        commit: the full hash, or `unversioned`: no git, outside a repository, or before the first commit.
        run_number: commits up to that one (`git rev-list --count HEAD`), the training log's way to number
            runs, so that a number leads to its code; or `unversioned`.
        dirty: files differ from the commit, new ones included; the training log, which every study writes to, is
            no code.
        digest: of the code itself, so that two uncommitted states are told apart; empty in records of before it was.
    """

    commit: str = UNVERSIONED
    run_number: RunNumber = UNVERSIONED
    dirty: bool = False
    digest: str = ""

    def __str__(self) -> str:
        if self.commit == UNVERSIONED:
            return "unversioned: NO git commit leads back to this code"
        return _code_text(self.commit[:8], self.run_number) + (", uncommitted changes" if self.dirty else "")


def code_words(text: str) -> str:
    """A version in words as `CodeVersion` has them now; records of before say `run 75, commit 7c60b550`."""
    return re.sub(r"^run (\d+), commit (\w+)", lambda found: _code_text(found[2], int(found[1])), text)


def _code_text(commit: str, count: RunNumber) -> str:
    if count == UNVERSIONED:
        return f"commit {commit}"
    ending = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"commit {commit} (the {count}{ending})"


@dataclass(frozen=True)
class Hardware:
    """The machine: names as it gives them, cores that this process may use, main memory in bytes."""

    cpu: str
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """Everything outside the configuration that a result may depend on.

    Attributes:
        code: this repository's version.
        python: version of the interpreter.
        packages: version by name, of this project and of what it requires.
        platform: operating system, as `platform.platform()` says it.
        hardware: the machine that collected this; on a cluster, the driver's.
        command_line: the words that started the process, quoted for a shell.
        time: of collection, ISO 8601 in UTC.
    """

    code: CodeVersion
    python: str
    packages: dict[str, str]
    platform: str
    hardware: Hardware
    command_line: str
    time: str


def collect() -> Provenance:
    """Ask git, the installed packages and the machine. Takes some 0.1 s, 10 s at most if a driver hangs."""
    return Provenance(
        code=code_version(_CODE),
        python=platform.python_version(),
        packages=_packages(),
        platform=platform.platform(),
        hardware=Hardware(cpu=_cpu(), cores=_cores(), memory_bytes=_memory_bytes(), gpus=_gpus()),
        command_line=shlex.join(sys.orig_argv),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def code_version(folder: Path) -> CodeVersion:
    """The git version of the code in `folder`.

    A folder that git does not track is unversioned even inside a repository: it may be an installed copy in
    somebody else's. But the environment may tell the version of a copy (`CODE_VARIABLE`), if it is of the same code.
    """
    digest = _digest([folder / package for package in PACKAGES])
    tracked = _output("git", "-C", str(folder), "ls-files", "--error-unmatch", ".")
    commit = _output("git", "-C", str(folder), "rev-parse", "--verify", "HEAD")
    count = _output("git", "-C", str(folder), "rev-list", "--count", "HEAD")
    if not (tracked and commit and count):
        return _told_version(digest)
    changes = _output("git", "-C", str(folder), "status", "--porcelain", "--", ".", ":(exclude,top)LOG.md")
    return CodeVersion(commit=commit, run_number=int(count), dirty=bool(changes), digest=digest)


def imported_digest() -> str:
    """The hash of this project's code as this process imports it, wherever each package lies.

    Raises:
        ModuleNotFoundError: a package is not there.
    """
    folders = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"No module named {package!r}")
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    return _digest(folders)


def told_version(version: CodeVersion) -> str:
    """A version as `CODE_VARIABLE` tells it to a copy of the code that git does not know."""
    return json.dumps(asdict(version), sort_keys=True)


def _told_version(digest: str) -> CodeVersion:
    """The version that the environment says the code with this digest has; unversioned if it says none, or of others.

    The digest is what makes it more than a claim: it is reckoned from the code itself, on both sides.
    """
    try:
        version = CodeVersion(**json.loads(os.environ.get(CODE_VARIABLE, "")))
    except (ValueError, TypeError):
        return CodeVersion(digest=digest)
    return version if version.digest == digest else CodeVersion(digest=digest)


def uncommitted_changes(folder: Path = _CODE) -> str:
    """How the code in `folder` differs from its commit, as git tells it, new modules in full; the log left out.

    Of more than `MOST_CHANGES` characters the first are told, and how many are missing.
    """
    git = ("git", "-C", str(folder))
    changed = _output(*git, "diff", "--no-color", "--no-ext-diff", "HEAD", "--", ".", ":(exclude,top)LOG.md")
    new = _output(*git, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    parts = [changed, *(_new_file(folder / name, name) for name in sorted(filter(None, new)))]
    text = "\n".join(filter(None, parts))
    more = len(text) - MOST_CHANGES
    return f"{text[:MOST_CHANGES]}\n[{more:,} characters more, which were not kept]\n" if more > 0 else f"{text}\n"


def _new_file(path: Path, name: str) -> str:
    """A module's text behind a line that names it; of any other file the name alone, as it may be anything."""
    try:
        text = path.read_text(encoding="utf-8") if path.suffix in CODE_FILES else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    return f"new file {name}\n" + "".join(f"+{line}\n" for line in text.splitlines())


def _digest(packages: Sequence[Path]) -> str:
    """The hash of this project's modules and YAML files, wherever its packages lie."""
    hashed = hashlib.sha256()
    for package in packages:
        for where, folders, files in os.walk(package):
            folders[:] = sorted(set(folders) - NO_CODE)
            for path in sorted(Path(where, name) for name in files if name.endswith((".py", ".yaml"))):
                name = path.relative_to(package.parent).as_posix()
                hashed.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return hashed.hexdigest()


def _output(*command: str) -> str:
    """What a program prints; nothing if it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line]
    return {name: importlib.metadata.version(name) for name in [DISTRIBUTION, *sorted(names)]}


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return model.group(1).strip() if model else platform.processor() or platform.machine()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs; asked of the driver, so that nobody has to wait for torch."""
    return tuple(_output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines())
