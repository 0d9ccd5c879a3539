"""`python -m results.report study=NAME`: a study as one page, to look at, to print, to hand on.

The page needs nothing but itself (`results.page.html`). It can be written at any moment, also while the search runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from datasets.command_line import check_ending, check_target, main
from datasets.files import write_atomically
from omr_model.layout import METRICS_FILE, WEIGHTS
from results.findings import Known
from results.page.blocks import Page
from results.page.causes import cautions_blocks, fidelity_blocks, importance_blocks
from results.page.cost import cost_section
from results.page.datasets import curves_data, parallel_data, trials_data
from results.page.html import to_html
from results.page.mistakes import mistakes_section
from results.page.opening import opening
from results.page.origin import origin_section
from results.page.parameters import parameter_names, parameters_section
from results.page.progress import curves_section, progress_section, ranking_section
from results.page.subject import Subject
from results.study import BEST_FOLDER, DEFAULT_STUDIES, PAGE_FILE
from results.working_copy import bring_file, opened_study


@dataclass(frozen=True)
class ReportConfig:
    """Attributes.

    study: name of the study.
    to: the file to write, which ends in .html; empty for `report.html` in the study's folder.
    studies: folder of the studies.
    """

    study: str = ""
    to: str = ""
    studies: str = DEFAULT_STUDIES

    def __post_init__(self) -> None:
        check_ending("to", self.to, [Path(PAGE_FILE).suffix])


def report(config: ReportConfig) -> None:
    """Write a study's page: one HTML file that needs no network; `to` is report.html in its folder if not named.

    python -m results.report study=dropout-1
    """
    with opened_study(config.studies, config.study) as folder:
        to = Path(config.to) if config.to else folder / PAGE_FILE
        check_target("to", to, folder=False)
        bring_file(folder, f"{BEST_FOLDER}/{WEIGHTS}")  # the page shows the model at work
        subject = Subject.of(folder)
        print(_write(subject, to, _kept_export(subject)))


def write_report(folder: Path, to: Path, exported: Path | None = None, known: Known | None = None) -> Path:
    """Write the page of the study in `folder`, whole or not at all.

    Args:
        folder: the study's.
        to: the file.
        exported: an export of the trial that the study ends with, whose model is shown at work; None shows the staves
            without it.
        known: what is known of the study, if the caller has it.

    Returns:
        The file.

    Raises:
        StudyError: no study, or a damaged one.
    """
    return _write(Subject.of(folder, known), to, exported)


def _write(subject: Subject, to: Path, exported: Path | None) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, to_html(page_of(subject, exported)).encode())
    return to


def _kept_export(subject: Subject) -> Path | None:
    """The export in the study's folder, as long as it is of the trial that the study ends with."""
    folder = subject.folder / BEST_FOLDER
    try:
        trial = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))["trial"]["trial_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if subject.winner is not None and trial == subject.winner.trial_id else None


def page_of(subject: Subject, exported: Path | None = None) -> Page:
    """The page's content, in the order in which a reader asks."""
    study, winner = subject.study, subject.winner
    mistakes = [] if winner is None else [mistakes_section(study, winner, subject.tables.samples, exported)]
    return Page(
        title=f"Study {study.name}",
        subtitle=f"Search over {', '.join(study.space)} on corpus {study.corpus.name}; begun {study.created[:10]}.",
        sections=[
            opening(subject),
            ranking_section(subject),
            progress_section(subject),
            curves_section(subject),
            parameters_section(subject),
            importance_blocks(subject),
            fidelity_blocks(subject),
            *mistakes,
            cautions_blocks(subject),
            cost_section(subject),
            origin_section(subject),
        ],
        datasets=[
            trials_data(subject),
            curves_data(subject),
            parallel_data(subject, parameter_names(subject)),
        ],
    )


if __name__ == "__main__":
    main(report, ReportConfig())
