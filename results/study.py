"""A study's folder: what lies where in it, and `study.json`, which says what the study is.

    study.json               this module
    events.jsonl             results.journal: what happened, as it happened
    reports/*.parquet        results.gather: the three tables
    changes/DIGEST.diff      how the code with that digest differed from its commit, where it did
    optuna.journal, tune/    the engine's own state

Checkpoints lie where the events say.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.corpus_storage import corpus_folder
from datasets.errors import StudyError
from datasets.files import write_atomically
from results.provenance import CodeVersion, Hardware, Provenance, uncommitted_changes

STUDY_FILE, EVENTS_FILE, REPORTS_FOLDER, ENGINE_FOLDER = "study.json", "events.jsonl", "reports", "tune"
PAGE_FILE, BEST_FOLDER = "report.html", "best"
CHANGES_FOLDER, DIGEST_DIGITS = "changes", 16
DEFAULT_STUDIES = str(Path(__file__).resolve().parent / "studies")
DEFAULT_LOG = Path(__file__).resolve().parent.parent / "LOG.md"


@dataclass(frozen=True)
class CorpusRecord:
    """The prepared corpus that a study trains on; `path` may be an address, `hash` is that of its content."""

    name: str
    path: str
    hash: str

    @property
    def folder(self) -> Path:
        """Where it is on this machine; a corpus at an address may not have been brought here."""
        return corpus_folder(self.path)


@dataclass(frozen=True)
class StudyRecord:
    """What `study.json` says.

    Attributes:
        name: also that of the folder.
        created: ISO 8601 in UTC.
        provenance: of the process that created the study.
        config: the whole configuration before any parameter is sampled, as plain JSON values.
        space: names of the spaces that are searched.
        roles: `scientific` or `nuisance`, by target of the searched parameters (`model.decoder.dropout`).
        corpus: what is trained on.
        seed: of the sampler; the trainings' is in `config`.
        max_epochs: epochs of a trial that is not stopped early.
    """

    name: str
    created: str
    provenance: Provenance
    config: dict[str, Any]
    space: tuple[str, ...]
    roles: dict[str, str]
    corpus: CorpusRecord
    seed: int
    max_epochs: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """Targets of the searched parameters, in the order of the space."""
        return tuple(self.roles)


def write_study(folder: Path, record: StudyRecord) -> None:
    """Write `study.json`, atomically; the folder is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / STUDY_FILE, f"{to_json(record)}\n".encode())


def read_study(folder: Path) -> StudyRecord:
    """Read `study.json`.

    Raises:
        StudyError: the folder holds no study, or its `study.json` is damaged.
    """
    path = folder / STUDY_FILE
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{folder} is no study: it has no {STUDY_FILE}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged ({type(error).__name__}: {error})") from None


def write_changes(folder: Path, code: CodeVersion) -> None:
    """Keep how this code differs from its commit, beside `study.json`; nothing where it does not, or is kept."""
    path = folder / CHANGES_FOLDER / f"{code.digest[:DIGEST_DIGITS]}.diff"
    if code.dirty and not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, uncommitted_changes().encode())


def read_changes(folder: Path) -> dict[str, str]:
    """What `write_changes` kept, by the first digits of the code's digest, the oldest first."""
    files = sorted((folder / CHANGES_FOLDER).glob("*.diff"), key=lambda path: path.stat().st_mtime)
    return {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in files}


def to_json(record: StudyRecord) -> str:
    """The record as strict JSON."""
    return json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> StudyRecord:
    """The inverse of `to_json`.

    Raises:
        ValueError, KeyError, TypeError: no JSON, or not of a study.
    """
    tree = json.loads(text)
    made = tree["provenance"]
    hardware = Hardware(**{**made["hardware"], "gpus": tuple(made["hardware"]["gpus"])})
    provenance = Provenance(**{**made, "code": CodeVersion(**made["code"]), "hardware": hardware})
    return StudyRecord(
        **{**tree, "space": tuple(tree["space"]), "provenance": provenance, "corpus": CorpusRecord(**tree["corpus"])}
    )


def find_study(studies: Path | str, name: str) -> Path:
    """The folder of a study; one at an address is brought to this machine, as it is there now.

    Raises:
        StudyError: there is none of this name; the message names those there are.
        ConfigError, StorageError: no address, or one that cannot be read.
    """
    from results.working_copy import bring_study  # which knows all that a study has, and so this module

    folder = bring_study(studies, name)
    check_is_study(folder, studies, name)
    return folder


def check_is_study(folder: Path, studies: Path | str, name: str) -> None:
    """Raise StudyError unless a folder is that of a study of this name; the message names those there are."""
    from results.working_copy import study_names

    if name and Path(name).name == name and (folder / STUDY_FILE).is_file():
        return
    names = study_names(studies)
    there = f"there are {', '.join(names)}" if names else "there are none yet"
    if not name:
        raise StudyError(f"name the study: study=NAME; in {studies} {there}")
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise StudyError(f"study={name}: no such study in {studies}; {there}{hint}")
