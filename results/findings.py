"""`python -m results.findings study=NAME`: what a study has shown, and how far that can be trusted.

The verdicts (`results.evidence`), whether stopping early misled (`results.fidelity`), which parameter moves which
errors (`results.importance`), and what to bear in mind (`results.cautions`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from datasets.command_line import main
from datasets.files import write_atomically
from datasets.parquet import to_parquet
from results.cautions import Caution, cautions
from results.evidence import Decision, decisions_of
from results.fidelity import Fidelity, fidelity
from results.gather import Tables, gather
from results.importance import SHARE_RESAMPLES, Importance, importance
from results.ranking import rank
from results.report_sections import doubt, not_judged, number_text, real_effects
from results.schema import IMPORTANCE, RUNGS, STUDY_KEY
from results.study import DEFAULT_STUDIES, REPORTS_FOLDER, StudyRecord, read_study, to_json
from results.verdict import how_decided, verdict
from results.winner import winner_if_any
from results.working_copy import opened_study

WIDTH, MOST_LINES = 118, 25
HOW_DECIDED = "How this was worked out"
NO_VERDICT = "No verdict: no trial has been trained again with other seeds beside the base."
MOST_EFFECTS, MOST_CAUTIONS = 4, 5  # in the terminal


@dataclass(frozen=True)
class Findings:
    """What is known of a study, by the modules of the same names.

    `verdict` says the decisions in words, and how good the trial is that the study ends with; "" if there is none.
    """

    study: str
    verdict: str
    decisions: tuple[Decision, ...]
    fidelity: Fidelity
    importance: Importance
    cautions: tuple[Caution, ...]


@dataclass(frozen=True)
class Known:
    """A study as it was read, gathered and judged at one moment: worked out once, and shown in many places."""

    study: StudyRecord
    tables: Tables
    findings: Findings

    @classmethod
    def of(cls, folder: Path, *, resamples: int = SHARE_RESAMPLES) -> Known:
        """The study in `folder`, as it stands now.

        Args:
            resamples: as for `findings_of`.

        Raises:
            StudyError: no study, or a damaged one.
        """
        study, tables = read_study(folder), gather(folder)
        return cls(study, tables, findings_of(study, tables, resamples=resamples))


@dataclass(frozen=True)
class FindingsConfig:
    """Attributes.

    study: name of the study.
    studies: folder of the studies.
    """

    study: str = ""
    studies: str = DEFAULT_STUDIES


def print_findings(config: FindingsConfig) -> None:
    """Say what a study has shown so far, and write importance.parquet and rungs.parquet to its reports.

    python -m results.findings study=dropout-1
    """
    with opened_study(config.studies, config.study) as folder:
        found = findings(folder)
        write_findings(folder, found)
    print(text(found))


def findings(folder: Path) -> Findings:
    """What the study in `folder` has shown, as it stands now.

    Raises:
        StudyError: no study, or a damaged one.
    """
    return Known.of(folder).findings


def findings_of(study: StudyRecord, tables: Tables, *, resamples: int = SHARE_RESAMPLES) -> Findings:
    """What a study has shown, as it was read and gathered.

    Args:
        study: its record.
        tables: its tables.
        resamples: for the intervals of the importances' shares; 0 leaves them out, which take most of the time.
    """
    ranking = rank(tables.trials)
    rungs = fidelity(study, ranking, tables.epochs)
    decisions = decisions_of(study, tables)
    best = winner_if_any(ranking, decisions)
    return Findings(
        study=study.name,
        verdict="" if best is None else verdict(best, ranking, tables.samples, decisions),
        decisions=tuple(decisions),
        fidelity=rungs,
        importance=importance(study, ranking, tables.epochs, resamples=resamples),
        cautions=tuple(cautions(study, tables, rungs, decisions)),
    )


def write_findings(folder: Path, found: Findings) -> None:
    """Write `reports/importance.parquet` and `reports/rungs.parquet`, each atomically (`results.schema`)."""
    study, reports = read_study(folder), folder / REPORTS_FOLDER
    reports.mkdir(exist_ok=True)
    for name, table in (("importance", importance_table(study, found)), ("rungs", rungs_table(study, found))):
        write_atomically(reports / f"{name}.parquet", to_parquet(table))


def text(found: Findings) -> str:
    """The findings for a terminal, verdict first, in `MOST_LINES` lines at most."""
    effects, warned = real_effects(found.importance), [caution.text for caution in found.cautions]
    how = how_decided(found.decisions)
    lines = [
        found.verdict,
        *([] if found.decisions else [NO_VERDICT]),
        *_bulleted(f"Which settings matter, beyond noise, {_compared(found.importance)}", effects, MOST_EFFECTS),
        *([doubt(found.importance, found.fidelity)] if effects else []),
        *([] if effects else [_nothing_moves(found.importance)]),
        *_rungs_text(found.fidelity),
        *_bulleted("To bear in mind", warned, MOST_CAUTIONS),
        *_bulleted(HOW_DECIDED, [how] if how else [], 1),
    ]
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    ]
    if len(wrapped) > MOST_LINES:
        wrapped = [*wrapped[: MOST_LINES - 1], "... all of it is in report.md of the exported trial"]
    return "\n".join(wrapped)


def _bulleted(title: str, texts: Sequence[str], most: int) -> list[str]:
    shown = [f"  - {text}" for text in texts[:most]]
    more = [f"  - and {len(texts) - most} more"] if len(texts) > most else []
    return [f"{title}:", *shown, *more] if texts else []


def _nothing_moves(found: Importance) -> str:
    if not found.knobs:
        return "Which settings matter: too few trials to say, or nothing varied."
    return f"Which settings matter: none beyond noise, {_compared(found)}."


def _compared(found: Importance) -> str:
    return f"in {found.trials} trials after epoch {found.epoch} ({found.when})"


def _rungs_text(found: Fidelity) -> list[str]:
    """The order after each epoch against that at the end; a warning is among the cautions."""
    if not found.rungs:
        return []
    if all(math.isnan(rung.tau) for rung in found.rungs):
        return [f"Whether stopping early misleads {not_judged(found)}"]
    orders = ", ".join(f"{number_text(rung.tau)} after epoch {rung.epoch}" for rung in found.rungs)
    return [f"Order of the trials against that at the end (Kendall's tau): {orders}."]


def importance_table(study: StudyRecord, found: Findings) -> pa.Table:
    """`IMPORTANCE`, a row a parameter and kind of error."""
    basis = {"study": study.name, "basis": found.importance.basis, "epoch": found.importance.epoch}
    rows = [
        {**basis, "parameters": ", ".join(knob.targets), "trials": knob.trials, **vars(cell)}
        for knob in found.importance.knobs
        for cell in knob.cells
    ]
    return _table(rows, IMPORTANCE, study)


def rungs_table(study: StudyRecord, found: Findings) -> pa.Table:
    """`RUNGS`, a row an epoch."""
    about = {"study": study.name, "compared": found.fidelity.compared, "reduction": found.fidelity.reduction}
    rows = [{**about, **vars(rung), "tau_low": rung.low, "tau_high": rung.high} for rung in found.fidelity.rungs]
    return _table(rows, RUNGS, study)


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, study: StudyRecord) -> pa.Table:
    columns = [
        pa.array([row[name] for row in rows], schema.field(name).type, from_pandas=True) for name in schema.names
    ]
    return pa.table(columns, schema=schema).replace_schema_metadata({STUDY_KEY: to_json(study)})


if __name__ == "__main__":
    main(print_findings, FindingsConfig())
