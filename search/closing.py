"""The end of a search: its best trial exported, what it has shown, its entry in the training log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import OmrError, StudyError
from results.export import ExportConfig, export
from results.findings import findings, text, write_findings
from results.journal import SessionStarted, read
from results.log_records import FINISHED, LogStudy
from results.log_study import study_entry
from results.study import EVENTS_FILE
from results.training_log import add_entry
from search.config import SearchConfig
from search.outcome import Outcome

TABLES = ("trials", "epochs", "samples", "importance", "rungs")


def close(config: SearchConfig, outcome: Outcome) -> None:
    """Say what came out, enter it in the log, and leave as the outcome wants it: quietly or as interrupted.

    What cannot be written is told, and keeps nothing else from being written.

    Raises:
        StudyError: no trial was trained to the end, or something could not be written.
        LogError: the log is damaged.
        KeyboardInterrupt: the search was interrupted.
    """
    folder = config.folder()
    print(f"\ntables     {shown(folder)}/reports/  {'  '.join(f'{name}.parquet' for name in TABLES)}")
    problem = _export(config)
    aborted = outcome in (Outcome.INTERRUPTED, Outcome.DISK_FULL)  # a budget that is spent is no accident
    reason = str(outcome) if aborted else str(problem) if isinstance(problem, OSError) else FINISHED
    try:
        entry = enter(config, reason)
        print(f"log        {shown(Path(config.paths.log))}: {entry.title}, {entry.state}")
    except (OmrError, OSError) as error:
        print(f"log        not entered: {error}")
        problem = problem or error
    if outcome != Outcome.FINISHED:
        print(f"The search ended early: {outcome}. Go on with: python -m search.run resume={config.study}")
    if outcome == Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if outcome == Outcome.DISK_FULL:
        raise StudyError("the disk is full; make room, then resume")
    if isinstance(problem, OSError):
        raise StudyError(f"{problem}; what was trained is safe: mend that, then resume={config.study}")
    if problem is not None:
        raise problem


def _export(config: SearchConfig) -> OmrError | OSError | None:
    """Write the best trial and the findings, and print them; what kept that from being done."""
    folder, problem = config.folder(), None
    try:
        best = export(
            ExportConfig(study=config.study, studies=config.paths.studies, to=str(folder / "best"), overwrite=True)
        )
        found = best.findings
        print(f"best trial {shown(best.folder)}/report.md")
    except (StudyError, OSError) as error:
        found, problem = findings(folder), error
        print(f"best trial none: {error}")
    try:
        write_findings(folder, found)
    except OSError as error:
        problem = error
        print(f"findings   not written: {error}")
    print(f"\n{text(found)}\n")
    return problem


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


def enter(config: SearchConfig, reason: str) -> LogStudy:
    """Enter the study in the training log, in the place of its earlier entry."""
    entry = study_entry(config.folder(), reason=reason)
    add_entry(Path(config.paths.log), entry)
    return entry


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)


def _sessions(folder: Path) -> int:
    """How many have begun."""
    return sum(isinstance(event, SessionStarted) for event in read(folder / EVENTS_FILE))
