"""What the training log holds, as typed records: runs, studies and notes.

A record refuses what could not be written to LOG.md so that it reads back the same (`results.log_format`).
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from datasets.errors import LogError
from results.journal import Parameter

HEADING, RUN, STUDY, FACT = "## ", "Run ", "Study ", "- "
"""What a line begins with: a section, the titles of two kinds of them, a fact."""
FINISHED, ABORTED = "finished", "aborted: "


@dataclass(frozen=True, kw_only=True)
class LogRun:
    """A run of the training log.

    Attributes:
        number: commits up to its own (before run 50: counted by hand).
        date: when it was logged.
        hours: of training.
        commit: the full hash of its code; empty where it is unknown.
        ser: mean over photographed staves, a fraction.
        manual: a person's rating of whole pages, in differences from the true score.
        settings: by place in the configuration; what is not there is unknown.
        changed: what changed, as prose.

    Raises:
        LogError: a value that cannot be written so that it reads back.
    """

    number: int
    date: datetime.date | None = None
    hours: float | None = None
    commit: str = ""
    ser: float | None = None
    manual: float | None = None
    settings: dict[str, Parameter] = field(default_factory=dict)
    changed: str = ""

    def __post_init__(self) -> None:
        if self.number < 0:
            raise LogError(f"a run's number must be at least 0, but got {self.number}")
        _check_numbers(self, "hours", "ser", "manual")
        _check_lines(self, "commit")
        _check_settings(self.title, self.settings)
        _check_prose(self.title, self.changed)

    @property
    def title(self) -> str:
        """The section's."""
        return f"{RUN}{self.number}"


@dataclass(frozen=True, kw_only=True)
class LogStudy:
    """A search.

    Attributes:
        name: of the study.
        date: when it was started.
        state: `finished`, or `aborted: ` and why.
        hours: from its start to its last trial's end.
        command: the command line.
        code: run number and commit, in words.
        space: names of the spaces that were searched.
        corpus: its name and the beginning of its content hash.
        trials: how many there were, and how they ended, in words.
        best: the best trial's setting, by place in the configuration; empty if no trial was trained to the end.
        ser, ser_low, ser_high: its corpus-level SER and the 95 % interval of that, fractions.
        manual: a person's rating of whole pages read by it, in differences from the true score.
        folder: the study's, relative to the repository where it lies there.
        verdict: against the base, as prose.

    Raises:
        LogError: a value that cannot be written so that it reads back.
    """

    name: str
    date: datetime.date
    state: str
    hours: float | None = None
    command: str = ""
    code: str = ""
    space: tuple[str, ...] = ()
    corpus: str = ""
    trials: str = ""
    best: dict[str, Parameter] = field(default_factory=dict)
    ser: float | None = None
    ser_low: float | None = None
    ser_high: float | None = None
    manual: float | None = None
    folder: str = ""
    verdict: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise LogError("a study needs a name")
        _check_numbers(self, "hours", "ser", "ser_low", "ser_high", "manual")
        _check_lines(self, "name", "state", "command", "code", "corpus", "trials", "folder")
        if self.state != FINISHED and not self.state.startswith(ABORTED):
            raise LogError(f"{self.title}: `state` must be `finished` or `aborted: REASON`, but got {self.state!r}")
        if len({self.ser_low is None, self.ser_high is None}) == 2 or (self.ser is None and self.ser_low is not None):
            raise LogError(f"{self.title}: an interval has two ends, and belongs to a SER")
        for space in self.space:
            _check_line(self.title, "space", space)
            if not space or "," in space:
                raise LogError(f"{self.title}: `space` must be names without a comma, but got {space!r}")
        _check_settings(self.title, self.best)
        _check_prose(self.title, self.verdict)

    @property
    def title(self) -> str:
        """The section's."""
        return f"{STUDY}{self.name}"


@dataclass(frozen=True, kw_only=True)
class LogNote:
    """Any other section, word for word.

    Raises:
        LogError: it would read back as something else.
    """

    title: str
    body: str = ""

    def __post_init__(self) -> None:
        _check_line(f"a note called {self.title!r}", "title", self.title)
        if not self.title or self.title.startswith((RUN, STUDY)):
            raise LogError(f"a note needs a title that does not begin with Run or Study, but got {self.title!r}")
        _check_section_text(self.title, self.body)


Entry: TypeAlias = LogRun | LogStudy | LogNote


@dataclass(frozen=True)
class TrainingLog:
    """A whole log; the newest entry is the first."""

    introduction: str
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        _check_section_text("the introduction", self.introduction)

    def runs(self) -> list[LogRun]:
        """The runs, in the log's order."""
        return [entry for entry in self.entries if isinstance(entry, LogRun)]

    def studies(self) -> list[LogStudy]:
        """The studies, in the log's order."""
        return [entry for entry in self.entries if isinstance(entry, LogStudy)]


def _check_numbers(entry: LogRun | LogStudy, *names: str) -> None:
    for name in names:
        value = getattr(entry, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise LogError(f"{entry.title}: `{name}` must be a number from 0 on, but got {value}")


def _check_lines(entry: LogRun | LogStudy, *names: str) -> None:
    for name in names:
        _check_line(entry.title, name, getattr(entry, name))


def _check_line(where: str, name: str, text: str) -> None:
    if "\n" in text or text != text.strip():
        raise LogError(f"{where}: `{name}` must be one line without blanks around it, but got {text!r}")


def _check_settings(where: str, settings: Mapping[str, Parameter]) -> None:
    for path, value in settings.items():
        if not re.fullmatch(r"[^\s=`]+", path):
            raise LogError(f"{where}: a setting's name must be without blanks, = and `, but got {path!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise LogError(f"{where}: `{path}` must be finite, but got {value}")


def _check_prose(where: str, text: str) -> None:
    _check_section_text(where, text)
    if text.startswith(FACT):
        raise LogError(f"{where}: prose that begins with a list would read as facts; put a sentence before {text!r}")


def _check_section_text(where: str, text: str) -> None:
    if text != text.strip():
        raise LogError(f"{where}: text must begin and end with a word, but got {text!r}")
    for line in text.split("\n"):
        if line.startswith(HEADING):
            raise LogError(f"{where}: a line that begins with `{HEADING}` would be a section of its own: {line!r}")
