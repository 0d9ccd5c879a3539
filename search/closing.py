"""The end of a search: its best trial exported, what it has shown, its entry in the training log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import OmrError, StudyError
from datasets.files import write_atomically
from results.export import ExportConfig, export
from results.findings import Known, text, write_findings
from results.gather import Tables
from results.journal import SessionStarted, read
from results.log_records import FINISHED, LogStudy
from results.log_study import study_entry
from results.study import BEST_FOLDER, EVENTS_FILE, PAGE_FILE
from results.training_log import add_entry
from search.config import SearchConfig
from search.optuna_view import show_in_optuna
from search.outcome import Outcome

TABLES = ("trials", "epochs", "samples", "importance", "rungs")


def close(config: SearchConfig, outcome: Outcome) -> None:
    """Say what came out, enter it in the log, and leave as the outcome wants it: quietly or as interrupted.

    What cannot be written is told, and keeps nothing else from being written. The last three lines say where the
    report, the export and the entry in the log are.

    Raises:
        StudyError: no trial was trained to the end, or something could not be written.
        CheckpointError: the weights of the best trial are damaged.
        LogError: the log is damaged.
        KeyboardInterrupt: the search was interrupted.
    """
    folder = config.folder()
    print(f"\ntables     {shown(folder)}/reports/*.parquet   {'  '.join(TABLES)}")
    known = Known.of(folder)
    exported, problem = _export(config, known)
    _show_in_optuna(folder, known.tables)
    report = _report(folder, exported, known)
    aborted = outcome in (Outcome.INTERRUPTED, Outcome.DISK_FULL)  # a budget that is spent is no accident
    reason = str(outcome) if aborted else str(problem) if isinstance(problem, OSError) else FINISHED
    entry, unwritten = _enter(config, reason, known.tables)
    if outcome != Outcome.FINISHED:
        print(f"The search ended early: {outcome}. Go on with: python -m search.run resume={config.study}")
    print(f"report     {report}")
    print(f"export     {f'none: {problem}' if exported is None else shown(exported)}")
    print(f"log        {entry}")
    problem = problem or unwritten
    if outcome == Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if outcome == Outcome.DISK_FULL:
        raise StudyError("the disk is full; make room, then resume")
    if isinstance(problem, OSError):
        raise StudyError(f"{problem}; what was trained is safe: mend that, then resume={config.study}")
    if problem is not None:
        raise problem


def _export(config: SearchConfig, known: Known) -> tuple[Path | None, OmrError | OSError | None]:
    """Write the best trial and the findings, and print these; the export, and what kept any of it from being done."""
    folder, exported, problem = config.folder(), None, None
    try:
        best = export(
            ExportConfig(
                study=config.study, studies=config.paths.studies, to=str(folder / BEST_FOLDER), overwrite=True
            ),
            known,
        )
        exported = best.folder
        for remark in best.remarks:
            print(f"export     {remark}")
    except (OmrError, OSError) as error:
        problem = error
    try:
        write_findings(folder, known.findings)
    except OSError as error:
        problem = error
        print(f"findings   not written: {error}")
    print(f"\n{text(known.findings)}\n")
    return exported, problem


def _report(folder: Path, exported: Path | None, known: Known) -> str:
    """Write the study's page, or copy the one that the export has made; where it is, or why it is not there."""
    page = folder / PAGE_FILE
    try:
        if exported is not None and (exported / PAGE_FILE).is_file():
            write_atomically(page, (exported / PAGE_FILE).read_bytes())
        else:
            from results.report import write_report  # with what draws figures, which takes a second to import

            write_report(folder, page, exported, known)
    except Exception as error:  # it can be written anew at any time, and the entry in the log matters more
        return f"not written: {type(error).__name__}: {error}"
    return shown(page)


def _show_in_optuna(folder: Path, tables: Tables) -> None:
    try:
        show_in_optuna(folder, tables)
    except Exception as error:  # Optuna's, matplotlib's: nobody needs what is shown there to go on
        print(f"optuna     not told of artifacts: {type(error).__name__}: {error}")


def _enter(config: SearchConfig, reason: str, tables: Tables) -> tuple[str, OmrError | OSError | None]:
    """Enter the study in the log; where, or why not."""
    try:
        entry = enter(config, reason, tables)
    except (OmrError, OSError) as error:
        return f"not entered: {error}", error
    return f"{shown(Path(config.paths.log))}: {entry.title}, {entry.state}", None


@contextmanager
def entered_if_it_breaks_off(config: SearchConfig) -> Iterator[None]:
    """Whatever ends a session that has begun, the log has it, with what there was by then.

    One that never began leaves the entry of the one before it as it is.
    """
    before = _sessions(config.folder())
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        try:
            if _sessions(config.folder()) > before:
                enter(config, "interrupted" if interrupted else f"{type(error).__name__}: {error}")
        except (OmrError, OSError) as problem:  # what ended the search matters more
            print(f"not entered in the log: {problem}")
        raise


def enter(config: SearchConfig, reason: str, tables: Tables | None = None) -> LogStudy:
    """Enter the study in the training log, in the place of its earlier entry; `tables` if the caller has them."""
    entry = study_entry(config.folder(), reason=reason, tables=tables)
    add_entry(Path(config.paths.log), entry)
    return entry


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)


def _sessions(folder: Path) -> int:
    """How many have begun."""
    return sum(isinstance(event, SessionStarted) for event in read(folder / EVENTS_FILE))
