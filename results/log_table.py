"""The training log as a table for a terminal: a line an entry."""

from __future__ import annotations

import re

from omr_model.metrics import percent
from results.log_format import percent_text
from results.log_records import Entry, LogNote, LogRun, TrainingLog

HEADER = ("date", "name", "state", "SER", "manual", "what changed, or the verdict")
LEAST_WIDTH = 20  # of the last column, however narrow the terminal is
CUT = "..."


def log_table(log: TrainingLog, width: int) -> str:
    """The entries in their order, aligned, with the last column cut so that a line has at most `width` letters."""
    rows = [HEADER, *map(_row, log.entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    left = max(LEAST_WIDTH, width - sum(widths) - 2 * len(widths))
    lines = []
    for *cells, last in rows:
        aligned = [cell.ljust(size) for cell, size in zip(cells, widths, strict=True)]
        lines.append("  ".join([*aligned, _cut(last, left)]).rstrip())
    return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    if isinstance(entry, LogNote):
        return ("", "note", "", "", "", entry.title)
    date = "" if entry.date is None else str(entry.date)
    manual = "" if entry.manual is None else f"{entry.manual:g}"
    if isinstance(entry, LogRun):
        ser = "" if entry.ser is None else percent_text(entry.ser)
        return (date, f"run {entry.number}", "", ser, manual, entry.changed)
    ser = "" if entry.ser is None else percent(entry.ser)
    if entry.ser_low is not None and entry.ser_high is not None:
        ser += f" ({100 * entry.ser_low:.1f} to {100 * entry.ser_high:.1f})"
    return (date, f"study {entry.name}", entry.state.partition(":")[0], ser, manual, _gist(entry.verdict))


def _gist(verdict: str) -> str:
    """The sentence about the base where there is one: place and SER have columns of their own."""
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", verdict)
    return next((sentence for sentence in sentences if "the base" in sentence), verdict)


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - len(CUT)].rstrip() + CUT
