"""`python -m results.export study=NAME`: the best trial of a study as a folder to keep, to use, to pass on.

README.md            the model card (`results.model_card`), which lists all other files
predict.py, code/    reads pictures on a machine without this project (`results.portable`)
requirements.txt     the packages for that; with onnx=true also requirements-onnx.txt, which has no PyTorch
model.safetensors    the weights
checkpoint.json      what rebuilds the model around them
config.json          the trial's whole configuration
vocabulary.json      tokens and ids; preprocessing.json: from a picture to the model's input (`results.specification`)
metrics.json         the trial's rows of `trials` and `epochs`, the decisions of the study (`results.evidence`), only
                     where none is about the trial its one seed against the base's, and how the weights read back
predictions.parquet  what it read on every validation staff
figures/             SER and losses by epoch; where the decoder looks
report.md            what it is, how good, how sure, where it comes from; report.html: the study's page
onnx/                the model for onnxruntime, with onnx=true

Before the folder takes its place, the weights in it read a few validation staves again (`results.read_back`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from datasets.command_line import check_target, main
from datasets.errors import CorpusError, StudyError
from datasets.files import new_folder
from datasets.manifest import Manifest
from datasets.parquet import to_parquet
from datasets.vocabulary import vocabulary
from omr_model.layout import DESCRIPTION, METRICS_FILE, WEIGHTS
from results.evidence import Decision
from results.exported import ExportedTrial, collect
from results.figures import training_curve
from results.findings import Findings, Known
from results.model_card import CARD_FILE, FILES, PREDICTIONS_FILE, ModelCard, parameters
from results.portable import COMMAND_FILE, write_code
from results.ranking import RankedTrial
from results.read_back import TriedOut, attempt, try_out
from results.specification import preprocessing, vocabulary_of
from results.study import DEFAULT_STUDIES, PAGE_FILE, CorpusRecord, find_study
from results.trial_report import CURVE_FILE
from results.verdict import against_base, first_sentence
from results.winner import winner_if_any

DEFAULT_EXPORTS = Path(__file__).resolve().parent / "exports"
REPORT_FILE = "report.md"
EARLIER_FILES = {"samples.parquet", "curve.png"}  # of exports that had no predict.py yet


@dataclass(frozen=True)
class ExportConfig:
    """Attributes.

    study: name of the study.
    trial: id or number of a trial; empty for the one that the study ends with (`results.winner`).
    to: the folder to write; empty for `results/exports/` and the study's name.
    onnx: write the model for onnxruntime as well.
    overwrite: replace an export that is there.
    studies: folder of the studies.
    """

    study: str = ""
    trial: str = ""
    to: str = ""
    onnx: bool = False
    overwrite: bool = False
    studies: str = DEFAULT_STUDIES


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        trial: which.
        verdict: on it, in words.
        findings: what the study has shown.
        remarks: what is missing in the folder, and why; a sentence each.
    """

    folder: Path
    trial: RankedTrial
    verdict: str
    findings: Findings
    remarks: tuple[str, ...]


def export_trial(config: ExportConfig) -> None:
    """Write the best trial of a study, or one of your choice, to a folder that works by itself.

    python -m results.export study=dropout-1 to=best-model
    python -m results.export study=dropout-1 trial=0 to=base-model onnx=true

    Without `to` it is results/exports/ and the study's name. Trials that were stopped early keep no weights.
    """
    exported = export(config)
    print("\n".join([first_sentence(exported.verdict), *exported.remarks, str(exported.folder / CARD_FILE)]))


def export(config: ExportConfig, known: Known | None = None) -> Export:
    """Write one trial's folder, whole or not at all.

    Args:
        known: what is known of the study, if the caller has it.

    Raises:
        StudyError: no such study or trial, no trial that is completed, a checkpoint that is gone, or a folder
            that is there already.
        CheckpointError: the weights are damaged.
        OmrError: ONNX is asked for, and its packages are missing.
    """
    source = find_study(config.studies, config.study)
    target = Path(config.to) if config.to else DEFAULT_EXPORTS / config.study
    _check_target(target, config.overwrite)
    chosen_trial = collect(source, config.trial, known)
    with new_folder(target) as folder:
        tried = _fill(folder, chosen_trial, source, config.onnx)
    return Export(target, chosen_trial.trial, chosen_trial.report.verdict(), chosen_trial.findings, tried.remarks)


def _fill(folder: Path, it: ExportedTrial, source: Path, onnx: bool) -> TriedOut:
    """Write all files; what could not be made is remarked."""
    training = it.training
    for name in (WEIGHTS, DESCRIPTION):
        shutil.copyfile(it.checkpoint / name, folder / name)
    write_code(folder, onnx)
    _write_json(folder / "config.json", it.config)
    _write_json(folder / "vocabulary.json", vocabulary_of(training.model))
    _write_json(folder / "preprocessing.json", preprocessing(training.model))
    (folder / PREDICTIONS_FILE).write_bytes(to_parquet(it.samples))
    (folder / CURVE_FILE).parent.mkdir()
    training_curve(it.epochs, f"Trial {it.trial.number} of study {it.study.name}", folder / CURVE_FILE)
    (folder / REPORT_FILE).write_text(it.report.text(), encoding="utf-8")
    words = vocabulary(training.train.scored_in or training.model.vocabulary)
    tried = try_out(folder, it.study.corpus, it.samples, words, onnx)
    remarks = list(tried.remarks)
    attempt(remarks, f"There is no {PAGE_FILE}", lambda: _write_page(folder, it, source))
    tried = replace(tried, remarks=tuple(remark.replace(f"{folder}/", "") for remark in remarks))
    _write_json(folder / METRICS_FILE, _metrics(it, tried))
    files = [CARD_FILE, *(path.relative_to(folder).as_posix() for path in folder.rglob("*"))]
    card = ModelCard(it, _corpus(it.study.corpus), parameters(folder / WEIGHTS), tried, files)
    (folder / CARD_FILE).write_text(card.text(), encoding="utf-8")
    return tried


def _write_page(folder: Path, it: ExportedTrial, source: Path) -> None:
    """The study's page; it shows the model at work that the study ends with, if that is this one."""
    from results.report import write_report

    last = winner_if_any(it.ranking, it.findings.decisions)
    is_it = last is not None and last.trial_id == it.trial.trial_id
    known = Known(it.study, it.tables, it.findings)
    write_report(source, folder / PAGE_FILE, exported=folder if is_it else None, known=known)


def _corpus(record: CorpusRecord) -> Manifest | None:
    """The manifest of what the study was trained on; None if it is gone, or another by now."""
    try:
        manifest = Manifest.read(record.folder)
    except CorpusError:
        return None
    return manifest if manifest.content_hash == record.hash else None


def _metrics(it: ExportedTrial, tried: TriedOut) -> dict[str, Any]:
    decided = any(it.trial.number in (one.candidate, one.base) for one in it.findings.decisions)
    compared = None if decided else against_base(it.trial, it.ranking, it.tables.samples)
    return {
        "trial": it.row,
        "epoch": it.epoch,
        "against_base": compared and asdict(compared),
        "decisions": [_decided(decision) for decision in it.findings.decisions],
        "read_back": tried.torch and asdict(tried.torch),
        "read_back_onnx": tried.onnx and asdict(tried.onnx),
        "remarks": tried.remarks,
    }


def _check_target(target: Path, overwrite: bool) -> None:
    """An overwrite replaces an export, and never by accident a folder of another kind, or with more in it."""
    check_target("to", target, folder=True)
    if target.name in ("", ".."):
        raise StudyError(f"to={target}: name a folder in another one")
    if not target.exists():
        return
    if not overwrite:
        raise StudyError(f"to={target}: it is there already; choose another folder, or say overwrite=true")
    there = {path.name for path in target.iterdir()}
    if missing := [name for name in (DESCRIPTION, METRICS_FILE, REPORT_FILE) if name not in there]:
        raise StudyError(f"to={target}: it holds no export (no {', '.join(missing)}), so it is not overwritten")
    known = FILES if COMMAND_FILE in there else FILES.keys() | EARLIER_FILES
    if strange := sorted(there - set(known)):
        raise StudyError(
            f"to={target}: it also holds what no export has ({', '.join(strange)}), so it is not overwritten"
        )


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
