"""What optuna-dashboard shows of a study beyond what the sampler knows; written when a search ends.

    optuna-dashboard results/studies/NAME/optuna.journal --artifact-dir results/studies/NAME/artifacts

Each trial gets its state and its SER with its interval as user attributes; the trial that the study ends with and the
base get their curve and the staves that they read worst as artifacts. Optuna changes no trial that has ended, so the
storage is written anew, whole or not at all: a dashboard that is open is to be started again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from results.evidence import decisions_of
from results.figures import training_curve
from results.gather import Tables, gather
from results.ranking import base, rank
from results.study import read_study
from results.winner import winner_if_any
from search.optuna_study import ARTIFACT, OPTUNA_JOURNAL, SHOWN, numbers

ARTIFACTS_FOLDER = "artifacts"
CURVE, WORST = "curve.png", "worst staves.txt"
WORST_STAVES = 10


def show_in_optuna(folder: Path, tables: Tables | None = None) -> None:
    """See the module. A study whose storage is gone is left as it is.

    Args:
        tables: of the study, if the caller has them.

    Raises:
        StudyError: the study is damaged.
        OSError: as the system says.
    """
    path = folder / OPTUNA_JOURNAL
    if not path.exists():
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    before = optuna.load_study(study_name=folder.name, storage=JournalStorage(JournalFileBackend(str(path))))
    tables = tables or gather(folder)
    shown = {row["number"]: {name: row[name] for name in SHOWN} for row in tables.trials.to_pylist()}
    artifacts = _artifacts(folder, tables)
    named = {trial.number: number for number, trial in numbers(before).items()}
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    study = optuna.create_study(
        study_name=folder.name, storage=JournalStorage(JournalFileBackend(str(fresh))), direction="minimize"
    )
    for trial in before.get_trials():
        number = named.get(trial.number)
        if number is not None:
            trial.user_attrs = trial.user_attrs | shown.get(number, {})
        _attach(trial, artifacts.get(number, {}))
        study.add_trial(trial)
    for name, value in before.user_attrs.items():
        study.set_user_attr(name, value)
    for name, value in before._storage.get_study_system_attrs(before._study_id).items():
        study._storage.set_study_system_attr(study._study_id, name, value)
    fresh.replace(path)


def _attach(trial: FrozenTrial, artifacts: dict[str, Any]) -> None:
    """In place of those of an earlier session."""
    kept = {name: value for name, value in trial.system_attrs.items() if not name.startswith(ARTIFACT)}
    trial.system_attrs = kept | artifacts


def _artifacts(folder: Path, tables: Tables) -> dict[int | None, dict[str, Any]]:
    """Write the artifacts; as Optuna's system attributes of a trial, by its number."""
    ranking = rank(tables.trials)
    last = winner_if_any(ranking, decisions_of(read_study(folder), tables))
    store = folder / ARTIFACTS_FOLDER
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    attributes: dict[int | None, dict[str, Any]] = {}
    for trial in (last, base(ranking)):
        if trial is None or not trial.epochs or trial.number in attributes:
            continue
        own = pc.field("trial_id") == trial.trial_id
        with TemporaryDirectory() as written:
            curve, worst = Path(written) / CURVE, Path(written) / WORST
            training_curve(tables.epochs.filter(own), f"Trial {trial.number} of study {folder.name}", curve)
            worst.write_text(_worst(tables.samples.of(trial.trial_id)), encoding="utf-8")
            attributes[trial.number] = _uploaded(store, [curve, worst])
    return attributes


def _uploaded(store: Path, files: list[Path]) -> dict[str, Any]:
    """Copy files to the store; Optuna's attributes of a trial that has them, made with one that is still running."""
    study = optuna.create_study()
    trial = study.ask()
    for file in files:
        upload_artifact(artifact_store=FileSystemArtifactStore(str(store)), file_path=str(file), study_or_trial=trial)
    return dict(study.trials[0].system_attrs)


def _worst(samples: pa.Table) -> str:
    """The staves with most errors, the worst first."""
    rows = sorted(samples.to_pylist(), key=lambda row: (-row["distance"], row["staff_id"]))[:WORST_STAVES]
    parts = [
        f"{row['staff_id']} of {row['work']}: {row['distance']} errors in {row['reference_length']} symbols\n"
        f"  printed  {row['reference']}\n"
        f"  read     {row['prediction']}\n"
        for row in rows
    ]
    return "\n".join(parts) or "No staff that was read is kept.\n"
