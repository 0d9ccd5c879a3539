"""Is a training log in form? One line for each thing that is not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from results.log_format import format_log
from results.log_records import LogRun, LogStudy, TrainingLog


def findings(log: TrainingLog, text: str) -> list[str]:
    """What is wrong with a log, in words.

    Args:
        log: as it was read.
        text: that it was read from.
    """
    return [*_form(log, text), *_double_names(log), *_settings(log), *_commits(log)]


def _form(log: TrainingLog, text: str) -> Iterator[str]:
    """The first line that would be written otherwise."""
    written, found = format_log(log).split("\n"), text.split("\n")
    length = max(len(written), len(found))
    for number in range(length):
        line, canonical = ((lines[number] if number < len(lines) else None) for lines in (found, written))
        if line != canonical:
            was = "nothing" if line is None else repr(line)
            wanted = "the end of the file" if canonical is None else repr(canonical)
            yield f"line {number + 1}: would be written as {wanted}, but is {was}"
            return


def _double_names(log: TrainingLog) -> Iterator[str]:
    counts = Counter(entry.title for entry in log.entries if isinstance(entry, LogRun | LogStudy))
    for title, count in counts.items():
        if count > 1:
            yield f"{title}: it is there {count} times"


def _settings(log: TrainingLog) -> Iterator[str]:
    """Of runs, which a search may begin with; a study's setting had its fields at its own commit."""
    for run in log.runs():
        try:
            replace_fields(TrainingConfig(), run.settings)
        except ConfigError as error:
            yield f"{run.title}: {error}"


def _commits(log: TrainingLog) -> Iterator[str]:
    for run in log.runs():
        if run.commit and not re.fullmatch(r"[0-9a-f]{40}", run.commit):
            yield f"{run.title}: `Commit` must be a full hash, 40 digits from 0 to f, but is {run.commit}"
