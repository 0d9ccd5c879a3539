"""LOG.md on the command line and for a search that has ended.

    python -m results.training_log list                              every entry, a line each
    python -m results.training_log show run=63                       one entry as it stands
    python -m results.training_log show study=dropout-1
    python -m results.training_log add study=dropout-1               log a study, or renew what is logged of it
    python -m results.training_log add study=dropout-1 manual=13.7   a person's rating of its best trial
    python -m results.training_log add study=dropout-1 trial=3 manual=15.2
    python -m results.training_log add run=56 manual=13.8            a person's rating of a run
    python -m results.training_log check                             is everything in form?

`VERB --help` names the fields of a verb.
"""

from __future__ import annotations

import difflib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from datasets.addresses import is_address, split
from datasets.command_line import HELP, check_choice, guarded, main
from datasets.errors import ConfigError, LogError
from datasets.files import locked, write_atomically
from results.evidence import decisions_of
from results.gather import gather, write_reports
from results.log_check import findings
from results.log_format import format_entry, format_log, parse_log
from results.log_records import Entry, LogRun, LogStudy, TrainingLog
from results.log_study import ROOT, study_entry
from results.log_table import log_table
from results.manual import check_rating, write_manual
from results.ranking import chosen, rank
from results.study import DEFAULT_LOG, DEFAULT_STUDIES, read_study
from results.winner import winner, winner_if_any
from results.working_copy import opened_study, study_names

VERBS = ("list", "show", "add", "check")
INTRODUCTION = """\
What was tried, on which commit, and what it gave: also what gave nothing. New entries are put at the top. A run's
number is the number of commits up to its own (`git rev-list --count HEAD`), so that a number leads to its code.

SER is the corpus-level symbol error rate, decoded greedily, on validation staves whose pieces are in no other split: a
percentage of the symbols that are there, which may exceed 100. Manual validation is a person's rating of whole pages,
in differences from the true score: lower is better.

Sections called Run or Study are read and written by `python -m results.training_log list|show|add|check`."""
"""What a log begins with that was not there before."""


def read_log(path: Path) -> TrainingLog:
    """The log in `path`.

    Raises:
        LogError: there is none, or it is damaged; the message names file and line.
    """
    return parse_file(path, read_text(path))


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        LogError: there is none, or it is no text.
    """
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise LogError(f"{path}: there is no training log here; the first study that ends makes one") from None
    except UnicodeDecodeError as error:
        raise LogError(f"{path} is damaged: byte {error.start} is not UTF-8") from None


def parse_file(path: Path, text: str) -> TrainingLog:
    """`parse_log`, whose errors name the file too."""
    try:
        return parse_log(text)
    except LogError as error:
        raise LogError(f"{path}, {error}") from None


def change_log(path: Path, change: Callable[[TrainingLog], TrainingLog]) -> None:
    """Read, change and write the log while nobody else does; it is made if it is not there.

    Raises:
        LogError: it is damaged; it then stays as it is.
    """
    if not path.parent.is_dir():
        raise LogError(f"{path}: there is no folder {path.parent}")
    with locked(path.with_name(f".{path.name}.lock"), on_wait=lambda: None):
        log = read_log(path) if path.exists() else TrainingLog(INTRODUCTION)
        write_atomically(path, format_log(change(log)).encode())


def add_entry(path: Path, entry: Entry) -> None:
    """Put an entry at the top of the log; a run or a study that is there already is replaced in its place.

    The manual validation of what is replaced is kept, unless the new entry has one, or another best setting.

    Raises:
        LogError: the log is damaged; the message names the line, and how to log a study once it is mended.
    """
    try:
        change_log(path, lambda log: with_entry(log, entry))
    except LogError as error:
        if not isinstance(entry, LogStudy):
            raise
        raise LogError(f"{error}\nOnce that is mended, log the study with: {_command(path, entry)}") from None


def with_entry(log: TrainingLog, entry: Entry) -> TrainingLog:
    """The log with an entry more, or with a newer one in its place."""
    places = [place for place, other in enumerate(log.entries) if _same(other, entry)]
    if not places:
        return replace(log, entries=(entry, *log.entries))
    [place, *_] = places
    kept = _with_manual_of(log.entries[place], entry)
    return replace(log, entries=(*log.entries[:place], kept, *log.entries[place + 1 :]))


def _same(one: Entry, other: Entry) -> bool:
    """Runs and studies go by their titles; notes are never replaced."""
    return type(one) is type(other) and isinstance(one, LogRun | LogStudy) and one.title == other.title


def _with_manual_of(old: Entry, new: Entry) -> Entry:
    if isinstance(new, LogRun) and isinstance(old, LogRun):
        return replace(new, manual=old.manual if new.manual is None else new.manual)
    if isinstance(new, LogStudy) and isinstance(old, LogStudy) and new.best == old.best:
        return replace(new, manual=old.manual if new.manual is None else new.manual)
    return new


def _command(path: Path, entry: LogStudy) -> str:
    words = ["python", "-m", "results.training_log", "add", f"study={entry.name}"]
    studies = split(entry.folder)[0] if is_address(entry.folder) else str((ROOT / entry.folder).parent)
    if studies != DEFAULT_STUDIES:
        words.append(f"studies={studies}")
    if path.resolve() != DEFAULT_LOG:
        words.append(f"log={path}")
    return shlex.join(words)


@dataclass(frozen=True)
class ListConfig:
    """Attributes.

    log: the file.
    studies: folder of the studies.
    """

    log: str = str(DEFAULT_LOG)
    studies: str = DEFAULT_STUDIES


@dataclass(frozen=True)
class ShowConfig(ListConfig):
    """Attributes.

    run, study: number of a run, or name of a study: one of them.
    """

    run: int | None = None
    study: str = ""

    def name_one(self) -> None:
        """Raise ConfigError unless exactly one entry is named."""
        if (self.run is None) == (not self.study):
            raise ConfigError("name one entry: run=63, or study=NAME")


@dataclass(frozen=True)
class AddConfig(ShowConfig):
    """Attributes.

    manual: a person's rating of whole pages, in differences from the true score.
    trial: id or number of the study's trial that was rated; empty for the best.
    """

    manual: float | None = None
    trial: str = ""

    def __post_init__(self) -> None:
        if self.manual is not None:
            check_rating(self.manual)
        if self.trial and (self.manual is None or not self.study):
            raise ConfigError(f"trial={self.trial}: say what it was rated: study=NAME trial={self.trial} manual=13.7")


@dataclass(frozen=True)
class CheckConfig(ListConfig):
    """The fields of `check`."""


def list_entries(config: ListConfig) -> None:
    """Print every entry of the log on a line."""
    width = shutil.get_terminal_size(fallback=(160, 24)).columns  # the fallback: where the output is no terminal
    print(log_table(read_log(Path(config.log)), width))


def show_entry(config: ShowConfig) -> None:
    """Print one entry of the log as it stands there."""
    config.name_one()
    log = read_log(Path(config.log))
    print(format_entry(find_run(log, config.run) if config.run is not None else _study(log, config.study)))


def add_to_log(config: AddConfig) -> None:
    """Log a study, or add a person's manual validation to a study or a run."""
    config.name_one()
    path = Path(config.log)
    if config.run is not None:
        _rate_run(path, config.run, config.manual)
        return
    with opened_study(config.studies, config.study) as folder:
        if config.manual is not None:
            _rate_study(path, folder, config.trial, config.manual)
            return
        entry = study_entry(folder)
    add_entry(path, entry)
    print(f"{path}: {entry.title}, {entry.state}")


def check_log(config: CheckConfig) -> None:
    """Say what is wrong with the log, and which studies it does not have."""
    path = Path(config.log)
    text = read_text(path)
    log = parse_file(path, text)
    logged = {study.name for study in log.studies()}
    for name in study_names(config.studies):
        if name not in logged:
            print(f"note: study {name} has no entry; python -m results.training_log add study={shlex.quote(name)}")
    found = findings(log, text)
    if found:
        raise LogError("\n".join([f"{path} is not in form:", *found]))
    notes = len(log.entries) - len(log.runs()) - len(log.studies())
    print(f"{path}: {len(log.runs())} runs, {len(log.studies())} studies and {notes} notes, all in form")


def _rate_run(path: Path, number: int, manual: float | None) -> None:
    if manual is None:
        raise ConfigError(f"run={number}: say what to add to it: manual=13.7")

    def rated(log: TrainingLog) -> TrainingLog:
        return with_entry(log, replace(find_run(log, number), manual=manual))

    change_log(path, rated)
    print(f"{path}: Run {number}, manual validation {manual:g}")


def _rate_study(path: Path, folder: Path, name: str, manual: float) -> None:
    """The rating into the study's folder, its tables, and the log where the trial is the best one."""
    tables = gather(folder)
    ranking, decisions = rank(tables.trials), decisions_of(read_study(folder), tables)
    trial = chosen(ranking, name) if name else winner(ranking, decisions)
    write_manual(folder, trial.trial_id, manual)
    write_reports(folder)
    entry = study_entry(folder)

    def rated(log: TrainingLog) -> TrainingLog:
        """What is logged of the study stays, its verdict above all, as long as it is of the same best trial."""
        for old in log.studies():
            if old.name == entry.name and old.best == entry.best:
                return with_entry(log, replace(old, manual=entry.manual))
        return with_entry(log, entry)

    try:
        change_log(path, rated)
    except LogError as error:
        raise LogError(f"{error}\nThe rating is in {folder}; once that is mended: {_command(path, entry)}") from None
    print(f"{folder}: trial {trial.number}, manual validation {manual:g}")
    if trial != winner_if_any(ranking, decisions):
        print(f"{path} names the best trial, which is another one: the rating is in the study's tables alone")


def find_run(log: TrainingLog, number: int) -> LogRun:
    """The run of a number.

    Raises:
        LogError: there is none; the message names those there are.
    """
    for run in log.runs():
        if run.number == number:
            return run
    there = ", ".join(str(run.number) for run in log.runs()) or "none"
    raise LogError(f"run={number}: no such run in the training log; there are {there}")


def _study(log: TrainingLog, name: str) -> LogStudy:
    names = [study.name for study in log.studies()]
    if name in names:
        return log.studies()[names.index(name)]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    there = ", ".join(names) or "none"
    raise LogError(f"study={name}: no such study in the training log; there are {there}{hint}")


def command(words: Sequence[str]) -> NoReturn:
    """Do what the first word says with the `field=value` words after it, then exit."""
    verb, rest = (words[0], list(words[1:])) if words else ("", [])
    if verb in HELP:
        guarded(lambda: print((__doc__ or "").strip()))
    if verb == "list":
        main(list_entries, ListConfig(), rest)
    if verb == "show":
        main(show_entry, ShowConfig(), rest)
    if verb == "add":
        main(add_to_log, AddConfig(), rest)
    if verb == "check":
        main(check_log, CheckConfig(), rest)
    guarded(lambda: _refuse(verb))


def _refuse(verb: str) -> None:
    if not verb:
        raise ConfigError(f"name a verb first; there are {', '.join(VERBS)}")
    check_choice("verb", verb, VERBS)


if __name__ == "__main__":
    command(sys.argv[1:])
