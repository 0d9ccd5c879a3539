"""`python -m results.export study=NAME`: the best trial of a study as a folder to keep, to use, to pass on.

report.md            what it is, how good, how sure, where it comes from
model.safetensors    the weights
checkpoint.json      what `omr_model.predict` needs beside them
config.json          the trial's whole configuration
metrics.json         the trial's rows of `trials` and `epochs`, the decisions of the study (`results.evidence`), and,
                     only where none is about the trial, its one seed against the base's
samples.parquet      what it read on every validation staff
curve.png            SER and losses by epoch
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.command_line import main
from datasets.errors import StudyError
from datasets.files import new_folder
from results.evidence import Decision
from results.figures import training_curve
from results.findings import Findings, findings
from results.gather import gather, to_parquet
from results.ranking import RankedTrial, chosen, rank
from results.samples import SAMPLES_FILE
from results.study import DEFAULT_STUDIES, find_study, read_study
from results.trial_report import CURVE_FILE, TrialReport
from results.verdict import against_base
from results.winner import winner

DEFAULT_EXPORTS = Path(__file__).resolve().parent / "exports"
WEIGHTS_FILE, DESCRIPTION_FILE, REPORT_FILE = "model.safetensors", "checkpoint.json", "report.md"


@dataclass(frozen=True)
class ExportConfig:
    """Attributes.

    study: name of the study.
    trial: id or number of a trial; empty for the one that the study ends with (`results.winner`).
    to: the folder to write; empty for `results/exports/` and the study's name.
    overwrite: replace an export that is there.
    studies: folder of the studies.
    """

    study: str = ""
    trial: str = ""
    to: str = ""
    overwrite: bool = False
    studies: str = DEFAULT_STUDIES


@dataclass(frozen=True)
class Export:
    """What was written: its folder, the trial, the verdict on it in words, and what the study has shown."""

    folder: Path
    trial: RankedTrial
    verdict: str
    findings: Findings


def export_trial(config: ExportConfig) -> None:
    """Write the best trial of a study, or one of your choice, to a folder."""
    exported = export(config)
    print(f"{exported.verdict}\n{exported.folder / REPORT_FILE}")


def export(config: ExportConfig) -> Export:
    """Write one trial's folder, whole or not at all.

    Raises:
        StudyError: no such study or trial, no trial that is completed, a checkpoint that is gone, or a folder
            that is there already.
    """
    source = find_study(Path(config.studies), config.study)
    target = Path(config.to) if config.to else DEFAULT_EXPORTS / config.study
    _check_target(target, config.overwrite)

    tables = gather(source)
    ranking = rank(tables.trials)
    found = findings(source, tables)
    trial = chosen(ranking, config.trial) if config.trial else winner(ranking, found.decisions)
    checkpoint = _checkpoint(source, trial)
    description = _description(checkpoint)
    epochs = tables.epochs.filter(pc.field("trial_id") == trial.trial_id)
    epoch = _epoch_of_weights(epochs, description["epoch"])
    report = TrialReport(read_study(source), ranking, trial, epoch, tables.samples, str(target), found)

    with new_folder(target) as folder:
        for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
            shutil.copyfile(checkpoint / name, folder / name)
        _write_json(folder / "config.json", description["config"])
        decided = any(trial.number in (one.candidate, one.base) for one in found.decisions)
        compared = None if decided else against_base(trial, ranking, tables.samples)
        metrics = {
            "trial": _row(tables.trials, trial),
            "epoch": epoch,
            "against_base": compared and asdict(compared),
            "decisions": [_decided(decision) for decision in found.decisions],
        }
        _write_json(folder / "metrics.json", metrics)
        samples = tables.samples.filter(pc.field("trial_id") == trial.trial_id)
        (folder / SAMPLES_FILE).write_bytes(to_parquet(samples))
        training_curve(epochs, f"Trial {trial.number} of study {config.study}", folder / CURVE_FILE)
        (folder / REPORT_FILE).write_text(report.text(), encoding="utf-8")
    return Export(target, trial, report.verdict(), found)


def _check_target(target: Path, overwrite: bool) -> None:
    """An overwrite replaces an export, and never by accident a folder of another kind."""
    if not target.exists():
        return
    if not overwrite:
        raise StudyError(f"to={target}: it is there already; choose another folder, or say overwrite=true")
    if not (target / REPORT_FILE).is_file():
        raise StudyError(f"to={target}: it holds no export (no {REPORT_FILE}), so it is not overwritten")


def _checkpoint(study: Path, trial: RankedTrial) -> Path:
    if trial.checkpoint is None:
        raise StudyError(f"trial {trial.number} ({trial.state}) has no checkpoint, so there is nothing to export")
    folder = study / trial.checkpoint
    if not (folder / WEIGHTS_FILE).is_file():
        raise StudyError(f"the checkpoint of trial {trial.number} is gone: there is no {folder / WEIGHTS_FILE}")
    return folder


def _description(checkpoint: Path) -> Mapping[str, Any]:
    """`checkpoint.json`, which `omr_model.checkpoint` writes; read here without waiting for torch."""
    path = checkpoint / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        return {name: description[name] for name in ("config", "epoch")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is missing or damaged ({type(error).__name__}: {error})") from None


def _epoch_of_weights(epochs: pa.Table, epoch: int) -> Mapping[str, Any]:
    rows: list[dict[str, Any]] = epochs.filter(pc.field("epoch") == epoch).to_pylist()
    if not rows:
        raise StudyError(f"the checkpoint is of epoch {epoch}, which the journal does not have")
    return rows[0]


def _row(trials: pa.Table, trial: RankedTrial) -> dict[str, Any]:
    rows: list[dict[str, Any]] = trials.filter(pc.field("trial_id") == trial.trial_id).to_pylist()
    return rows[0]


def _decided(decision: Decision) -> dict[str, Any]:
    """A decision as JSON has it: what is not known is null."""
    return {name: None if value != value else value for name, value in asdict(decision).items()}


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    text = json.dumps(tree, indent=2, ensure_ascii=False, default=_encode_moment)
    path.write_text(f"{text}\n", encoding="utf-8")


def _encode_moment(value: datetime) -> str:
    return value.isoformat()


if __name__ == "__main__":
    main(export_trial, ExportConfig())
