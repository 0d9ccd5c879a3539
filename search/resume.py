"""What a search may be resumed with, and what it must not have lost or changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.command_line import parse, typed
from datasets.errors import ConfigError, StudyError
from datasets.files import write_atomically
from datasets.shards import PreparedCorpus
from results.journal import SessionEnded, read
from results.log_records import FINISHED
from results.log_study import study_entry
from results.provenance import Provenance
from results.replay import Replay
from results.schema import STUDY_KEY
from results.study import (
    DEFAULT_STUDIES,
    EVENTS_FILE,
    REPORTS_FOLDER,
    STUDY_FILE,
    StudyRecord,
    find_study,
    read_study,
)
from results.training_log import read_log
from search.config import BudgetConfig, SearchConfig
from search.outcome import SPENT, Outcome

RESUME, EXTEND, FORCE = "resume", "extend", "force"
MAY_CHANGE = ("cluster.", "trial.", "disk.", "confirm.", "paths.")
"""Fields that say where and how trials are run, and nothing of what they are."""
AMOUNT = re.compile(r"\+?(\d+(?:\.\d+)?)\s*(trials|epochs|hours|gpu_hours|)")


@dataclass(frozen=True)
class Resumed:
    """A study that is to go on.

    Attributes:
        record: as it was begun.
        config: as it goes on, with the budget that it has now.
        extended: it is to have more than before.
        force: go on although code or corpus have changed.
    """

    record: StudyRecord
    config: SearchConfig
    extended: bool
    force: bool


def study_to_resume(words: Sequence[str]) -> Resumed:
    """The study that `resume=NAME extend=+20 force=true` and further words name.

    Raises:
        ConfigError: a word that a study cannot be resumed with.
        StudyError: no such study.
    """
    named = dict(word.split("=", 1) for word in words)
    name, extend, force = named.pop(RESUME), named.pop(EXTEND, ""), named.pop(FORCE, "false").lower()
    if force not in ("true", "false"):
        raise ConfigError(f"force={force}: it is true or false")
    for field in named:
        if not field.startswith(MAY_CHANGE):
            raise ConfigError(
                f"{field}: a study goes on as it was begun; resume takes extend, force, and fields of "
                f"{', '.join(prefix.rstrip('.') for prefix in MAY_CHANGE)}"
            )
    studies = Path(named.get("paths.studies", DEFAULT_STUDIES))
    restore_record(studies / name)
    folder = find_study(studies, name)
    record = read_study(folder)
    config = typed(SearchConfig(), record.config)
    config = replace(config, study=name, paths=replace(config.paths, studies=str(studies)))
    config = parse(config, [f"{field}={value}" for field, value in named.items()])
    budget = _latest_budget(folder, config.budget)
    return Resumed(record, replace(config, budget=extended(budget, extend)), bool(extend), force == "true")


def extended(budget: BudgetConfig, extend: str) -> BudgetConfig:
    """A budget with more of something: `+20` (trials), `+100epochs`, `+2hours`, `+8gpu_hours`; several with commas.

    Raises:
        ConfigError: not of that form, or of a kind that the study has no limit of.
    """
    for part in filter(None, extend.split(",")):
        match = AMOUNT.fullmatch(part.strip())
        if match is None:
            kinds = ", ".join(field.name for field in fields(BudgetConfig))
            raise ConfigError(f"extend={extend}: it is a number of trials such as +20, or a number and one of {kinds}")
        kind = match.group(2) or "trials"
        limit = getattr(budget, kind)
        if limit is None:
            raise ConfigError(f"extend={extend}: the study has no limit of {kind}")
        amount = float(match.group(1)) if "hours" in kind else int(float(match.group(1)))
        budget = replace(budget, **{kind: limit + amount})
    return budget


def check_state(study: Resumed) -> None:
    """See that there is something to go on with.

    Raises:
        StudyError: its journal is gone or damaged, or it is finished.
    """
    folder = study.config.folder()
    if not (folder / EVENTS_FILE).exists():
        raise StudyError(f"{folder / EVENTS_FILE} is gone, and with it what has been run; the study cannot be resumed")
    events = list(read(folder / EVENTS_FILE))
    ends = [event.outcome for event in events if isinstance(event, SessionEnded)]
    died = [trial for trial in Replay(events).trials() if trial.state == "running"]
    finished = bool(ends) and ends[-1] == Outcome.FINISHED and isinstance(events[-1], SessionEnded)
    if ends and ends[-1] in SPENT and not study.extended:
        raise StudyError(
            f"study={folder.name} has used up its budget ({ends[-1]}); extend=+2hours, +100epochs or +8gpu_hours adds "
            "to it"
        )
    if finished and not died and not study.extended and _entered(study):
        raise StudyError(f"study={folder.name} is finished; extend=+20 gives it 20 more trials")


def changes_since(study: Resumed, corpus: PreparedCorpus, provenance: Provenance) -> list[str]:
    """What is not as it was when the study was begun; it is written into the journal.

    Raises:
        StudyError: something has changed, and that was not accepted with `force=true`.
    """
    before, now = study.record.provenance, provenance
    changes = []
    if before.code.digest != now.code.digest:
        changes.append(f"the code: {before.code} then, {now.code} now")
    if study.record.corpus.hash != corpus.manifest.content_hash:
        then = study.record.corpus.hash[:12]
        changes.append(f"the corpus {corpus.path.name}: {then} then, {corpus.manifest.content_hash[:12]} now")
    changes += [
        f"{package}: {before.packages.get(package, 'missing')} then, {version} now"
        for package, version in now.packages.items()
        if before.packages.get(package) != version
    ]
    if changes and not study.force:
        raise StudyError(
            f"study={study.config.study}: since it was begun, " + "; ".join(changes) + ". Trials of before and after "
            "would not compare. Go back to what it was begun with, or accept that with force=true"
        )
    return changes


def restore_record(folder: Path) -> None:
    """Write a lost `study.json` again: every report carries its content."""
    report = folder / REPORTS_FOLDER / "trials.parquet"
    if (folder / STUDY_FILE).exists() or not report.exists():
        return
    try:
        metadata = pq.read_schema(report).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return
    if text := metadata.get(STUDY_KEY.encode()):
        write_atomically(folder / STUDY_FILE, text + b"\n")


def _entered(study: Resumed) -> bool:
    """Its end is in the log, which is the last that a search does: a process may be killed before its reports."""
    log, entry = Path(study.config.paths.log), study_entry(study.config.folder(), reason=FINISHED)
    return log.exists() and any(
        (one.name, one.state, one.trials) == (entry.name, entry.state, entry.trials) for one in read_log(log).studies()
    )


def _latest_budget(folder: Path, budget: BudgetConfig) -> BudgetConfig:
    """The budget of the latest session: an extension lasts."""
    sessions = Replay(read(folder / EVENTS_FILE)).sessions
    return typed(budget, sessions[-1].budget) if sessions else budget
