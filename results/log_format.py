"""LOG.md read and written without loss.

    # Training log           the introduction, then one section an entry, the newest first

    ## Run 63                LogRun: a run of the training log that this project grew from
    ## Study dropout-1       LogStudy: a search
    ## Anything else         LogNote: kept word for word

A run or a study begins with a list of facts (`- Date: 2024-04-11`); prose follows after an empty line, and an
unknown fact is left out. Choices:

- What is written reads back as the same record: numbers keep every digit, and a percentage is its fraction with
  the point moved by two places.
- A hand may reorder facts and break long ones (the next line is indented by two spaces); the next entry that is
  added puts them back in form. A fact that is not known here is an error, and never dropped.
- Settings are named by their place in the configuration, `model.encoder.depth=6`. Values are numbers, true,
  false, null or text; a text that could be taken for one of them, or that has a blank, is quoted as in JSON.
"""

from __future__ import annotations

import datetime
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from datasets.errors import LogError
from results.journal import Parameter
from results.log_records import FACT, HEADING, RUN, STUDY, Entry, LogNote, LogRun, LogStudy, TrainingLog
from results.provenance import code_words

TITLE = "# Training log"
CONTINUED = "  "
LINE_WIDTH = 120

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_PLAIN = re.compile(r"[^\W\d][^\s`\"]*|\[[^\s`\"]*")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_SETTING = re.compile(r"`([^\s=`]+)=([^\s`]+)`")
_LOG_SER = re.compile(r"(\S+) %(?: \(mean over photographed staves\))?")
_STUDY_SER = re.compile(r"(\S+) %(?: \(95 % interval (\S+) to (\S+) %\))?")


def parse_log(text: str) -> TrainingLog:
    """Read a log.

    Raises:
        LogError: a damaged section; the message names the line and what is expected there.
    """
    title, *lines = text.split("\n")
    if title != TITLE:
        raise LogError(f"line 1: expected `{TITLE}`, but got {title!r}")
    starts = [number for number, line in enumerate(lines) if line.startswith(HEADING)]
    sections = [
        _Section(start + 2, lines[start].removeprefix(HEADING), lines[start + 1 : end])
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=False)  # no section: only an end
    ]
    introduction = "\n".join(lines[: starts[0]] if starts else lines).strip()
    return TrainingLog(introduction, tuple(section.entry() for section in sections))


def format_log(log: TrainingLog) -> str:
    """Write a log: `parse_log(format_log(log)) == log`."""
    parts = [TITLE, log.introduction, *map(format_entry, log.entries)]
    return "\n\n".join(part for part in parts if part) + "\n"


def format_entry(entry: Entry) -> str:
    """One section, without a newline at its end."""
    if isinstance(entry, LogNote):
        parts = ["", entry.body]
    elif isinstance(entry, LogRun):
        parts = [_facts_text(RUN_FACTS, entry), entry.changed]
    else:
        parts = [_facts_text(STUDY_FACTS, entry), entry.verdict]
    return "\n\n".join([f"{HEADING}{entry.title}", *(part for part in parts if part)])


def percent_text(fraction: float) -> str:
    """A fraction as a percentage with all its digits: 0.2644 is `26.44 %`."""
    return f"{_point_moved(fraction)} %"


@dataclass(frozen=True)
class _Section:
    """A section of the file; `line` is that of its title, counted from 1."""

    line: int
    title: str
    lines: list[str]

    def entry(self) -> Entry:
        try:
            if self.title.startswith(RUN):
                number = self.title.removeprefix(RUN)
                if not re.fullmatch(r"\d{1,9}", number, re.ASCII):
                    raise LogError(f"expected `{HEADING}{RUN}NUMBER`, but got `{HEADING}{self.title}`")
                facts, prose = self._facts(RUN_FACTS)
                return LogRun(number=int(number), changed=prose, **facts)
            if self.title.startswith(STUDY):
                facts, prose = self._facts(STUDY_FACTS)
                return LogStudy(name=self.title.removeprefix(STUDY), verdict=prose, **facts)
            return LogNote(title=self.title, body="\n".join(self.lines).strip())
        except _LineError as error:
            raise LogError(f"line {error.line}, {self.title}: {error}") from None
        except LogError as error:
            raise LogError(f"line {self.line}: {error}") from None

    def _facts(self, known: Sequence[_Fact]) -> tuple[dict[str, Any], str]:
        """The fields that the facts say, and the prose after them."""
        by_label = {fact.label: fact for fact in known}
        fields: dict[str, Any] = {}
        found, end = self._fact_lines()
        for line, label, text in found:
            if label not in by_label:
                raise _LineError(line, f"there is no fact {label!r}; expected one of {', '.join(by_label)}")
            fact = by_label[label]
            if fact.fields[0] in fields:
                raise _LineError(line, f"{label} stands here twice")
            try:
                fields |= zip(fact.fields, fact.read(text), strict=True)
            except (ValueError, InvalidOperation):
                raise _LineError(line, f"{label}: expected {fact.expected}, but got {text!r}") from None
        missing = [fact.label for fact in known if fact.required and fact.fields[0] not in fields]
        if missing:
            raise _LineError(self.line, f"expected the facts {' and '.join(missing)}, such as `- Date: 2024-04-11`")
        return fields, "\n".join(self.lines[end:]).strip()

    def _fact_lines(self) -> tuple[list[tuple[int, str, str]], int]:
        """Line number, label and text of each fact, and where in `lines` the list of them ends."""
        place = next((place for place, line in enumerate(self.lines) if line.strip()), len(self.lines))
        found: list[tuple[int, str, str]] = []
        while place < len(self.lines) and self.lines[place].strip():
            line, number = self.lines[place], self.line + 1 + place
            if found and line.startswith(CONTINUED):
                first, label, text = found.pop()
                found.append((first, label, f"{text} {line.strip()}"))
            elif line.startswith(FACT):
                label, colon, text = line.removeprefix(FACT).partition(": ")
                if not colon or not text.strip():
                    raise _LineError(number, f"expected `- Name: value`, but got {line!r}")
                found.append((number, label, text))
            elif found:
                raise _LineError(number, f"expected `- Name: value` or an empty line, but got {line!r}")
            else:
                return [], place
            place += 1
        return found, place


class _LineError(LogError):
    """With the line's number, which the section's title is put to."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class _Fact:
    """One line of an entry's list.

    Attributes:
        label: before the colon.
        fields: of the record; the first one is None or empty where the fact is unknown.
        write, read: their values to text and back; `read` raises ValueError.
        expected: what `read` accepts, in words.
        required: whether an entry without it is damaged.
        wraps: whether a long line is broken between its words.
    """

    label: str
    fields: tuple[str, ...]
    write: Callable[..., str]
    read: Callable[[str], Sequence[Any]]
    expected: str
    required: bool = False
    wraps: bool = False


def _facts_text(facts: Sequence[_Fact], entry: Entry) -> str:
    lines = []
    for fact in facts:
        first, *others = (getattr(entry, name) for name in fact.fields)
        if first is None or first in ("", (), {}):
            continue
        label, text = f"{FACT}{fact.label}: ", fact.write(first, *others)
        lines.append(_filled(label, text) if fact.wraps else label + text)
    return "\n".join(lines)


def _filled(label: str, text: str) -> str:
    """A fact over several lines; its first word stands beside the label, however long it is."""
    return textwrap.fill(
        text,
        LINE_WIDTH,
        initial_indent=label,
        subsequent_indent=CONTINUED,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _number_text(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _point_moved(fraction: float) -> str:
    return format(Decimal(_number_text(fraction)).scaleb(2), "f")


def _fraction(percent: str) -> float:
    return float(Decimal(percent).scaleb(-2))


def _read_hours(text: str) -> list[float]:
    number, unit, rest = text.partition(" h")
    if not unit or rest:
        raise ValueError(text)
    return [float(number)]


def _matched(pattern: re.Pattern[str], text: str) -> list[float | None]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return [None if group is None else _fraction(group) for group in match.groups()]


def _write_study_ser(ser: float, low: float | None, high: float | None) -> str:
    interval = "" if low is None or high is None else f" (95 % interval {_point_moved(low)} to {percent_text(high)})"
    return f"{percent_text(ser)}{interval}"


def _read_code_span(text: str) -> list[str]:
    if len(text) < 3 or not text.startswith("`") or not text.endswith("`"):
        raise ValueError(text)
    return [text[1:-1]]


def _write_settings(settings: Mapping[str, Parameter]) -> str:
    return " ".join(f"`{path}={_value_text(value)}`" for path, value in settings.items())


def _read_settings(text: str) -> list[dict[str, Parameter]]:
    settings: dict[str, Parameter] = {}
    for word in text.split():
        match = _SETTING.fullmatch(word)
        if match is None or match[1] in settings:
            raise ValueError(text)
        settings[match[1]] = _value(match[2])
    return [settings]


def _value_text(value: Parameter) -> str:
    if not isinstance(value, str) or value in _CONSTANTS or not _PLAIN.fullmatch(value):
        quoted = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return re.sub(r"[\s`]", lambda character: f"\\u{ord(character[0]):04x}", quoted)
    return value


def _value(text: str) -> Parameter:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text.startswith('"') or _NUMBER.fullmatch(text):
        value: Parameter = json.loads(text)
        return value
    if not _PLAIN.fullmatch(text):
        raise ValueError(text)
    return text


_DATE = _Fact("Date", ("date",), str, lambda text: [datetime.date.fromisoformat(text)], "a date such as 2024-04-11")
_MANUAL = _Fact("Manual validation", ("manual",), _number_text, lambda text: [float(text)], "a number")
_HOURS: dict[str, Any] = {
    "write": lambda hours: f"{_number_text(hours)} h",
    "read": _read_hours,
    "expected": "hours such as `26 h`",
}
_SETTINGS: dict[str, Any] = {
    "write": _write_settings,
    "read": _read_settings,
    "expected": "settings such as `model.encoder.depth=4`, each in backticks, a blank between",
    "wraps": True,
}


def _text_fact(label: str, name: str, *, required: bool = False) -> _Fact:
    return _Fact(label, (name,), str, lambda text: [text], "text", required=required)


RUN_FACTS = (
    _DATE,
    _Fact("Training time", ("hours",), **_HOURS),
    _text_fact("Commit", "commit"),
    _Fact(
        "SER",
        ("ser",),
        lambda ser: f"{percent_text(ser)} (mean over photographed staves)",
        lambda text: _matched(_LOG_SER, text),
        "`74 % (mean over photographed staves)`",
    ),
    _MANUAL,
    _Fact("Settings", ("settings",), **_SETTINGS),
)
"""What a run may say, in the order of writing."""

STUDY_FACTS = (
    _Fact("Date", ("date",), _DATE.write, _DATE.read, _DATE.expected, required=True),
    _text_fact("State", "state", required=True),
    _Fact("Wall time", ("hours",), **_HOURS),
    _Fact("Command", ("command",), lambda text: f"`{text}`", _read_code_span, "a command in backticks"),
    _Fact("Code", ("code",), str, lambda text: [code_words(text)], "a commit"),
    _Fact("Space", ("space",), ", ".join, lambda text: [tuple(text.split(", "))], "names with a comma between"),
    _text_fact("Corpus", "corpus"),
    _text_fact("Trials", "trials"),
    _Fact("Best setting", ("best",), **_SETTINGS),
    _Fact(
        "SER",
        ("ser", "ser_low", "ser_high"),
        _write_study_ser,
        lambda text: _matched(_STUDY_SER, text),
        "`26.4 %` or `26.4 % (95 % interval 23.6 to 29.3 %)`",
    ),
    _MANUAL,
    _text_fact("Folder", "folder"),
)
"""What a study may say, in the order of writing."""
