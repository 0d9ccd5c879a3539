"""The trial that is handed over, with everything that the files of an export say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.command_line import typed
from datasets.errors import StudyError
from omr_model.config import TrainingConfig
from omr_model.layout import DESCRIPTION, WEIGHTS
from results.findings import Findings, Known
from results.gather import Tables
from results.ranking import RankedTrial, chosen, rank
from results.study import StudyRecord
from results.trial_report import TrialReport
from results.winner import winner
from results.working_copy import bring_file


@dataclass(frozen=True)
class ExportedTrial:
    """What the files of an export are made of.

    Attributes:
        study: the study's record.
        tables: those of the study.
        ranking: all its trials, as `results.ranking.rank` orders them.
        trial: the one of them that is exported.
        checkpoint: the folder of its weights.
        config: of its training, as `checkpoint.json` has it.
        epochs: its rows of `epochs`.
        epoch: the one of them that belongs to the weights.
        samples: its rows of `samples`.
        findings: what is known of the whole study.
    """

    study: StudyRecord
    tables: Tables
    ranking: list[RankedTrial]
    trial: RankedTrial
    checkpoint: Path
    config: Mapping[str, Any]
    epochs: pa.Table
    epoch: Mapping[str, Any]
    samples: pa.Table
    findings: Findings

    @cached_property
    def training(self) -> TrainingConfig:
        """`config` with its types; what an older version did not have is as it is by default."""
        return typed(TrainingConfig(), dict(self.config))

    @property
    def row(self) -> dict[str, Any]:
        """The trial's row of `trials`."""
        rows: list[dict[str, Any]] = self.tables.trials.filter(pc.field("trial_id") == self.trial.trial_id).to_pylist()
        return rows[0]

    @property
    def report(self) -> TrialReport:
        """The trial's page."""
        return TrialReport(self.study, self.ranking, self.trial, self.epoch, self.tables.samples, self.findings)


def collect(source: Path, name: str, known: Known | None = None) -> ExportedTrial:
    """What there is of one trial.

    Args:
        source: the study's folder.
        name: id or number of the trial; empty for the one that the study ends with (`results.winner`).
        known: what is known of the study, if the caller has it.

    Raises:
        StudyError: no such study or trial, no trial that is completed, or a checkpoint that is gone.
    """
    known = known or Known.of(source)
    study, tables, found = known.study, known.tables, known.findings
    ranking = rank(tables.trials)
    trial = chosen(ranking, name) if name else winner(ranking, found.decisions)
    checkpoint = _checkpoint(source, trial)
    description = _description(checkpoint)
    of_trial = pc.field("trial_id") == trial.trial_id
    epochs = tables.epochs.filter(of_trial)
    return ExportedTrial(
        study=study,
        tables=tables,
        ranking=ranking,
        trial=trial,
        checkpoint=checkpoint,
        config=description["config"],
        epochs=epochs,
        epoch=_epoch_of_weights(epochs, description["epoch"]),
        samples=tables.samples.of(trial.trial_id),
        findings=found,
    )


def _checkpoint(study: Path, trial: RankedTrial) -> Path:
    if trial.checkpoint is None:
        raise StudyError(f"trial {trial.number} ({trial.state}) has no checkpoint, so there is nothing to export")
    folder = study / trial.checkpoint
    for name in (WEIGHTS, DESCRIPTION):
        bring_file(study, f"{trial.checkpoint}/{name}")
    if not (folder / WEIGHTS).is_file():
        why = " (it was pruned: what is stopped early keeps no weights)" if trial.state == "pruned" else ""
        raise StudyError(f"the checkpoint of trial {trial.number} is gone: there is no {folder / WEIGHTS}{why}")
    return folder


def _description(checkpoint: Path) -> Mapping[str, Any]:
    """`checkpoint.json`, which `omr_model.checkpoint` writes; read here without waiting for torch."""
    path = checkpoint / DESCRIPTION
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
