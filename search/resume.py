"""What a search may be resumed with, and what it must not have lost or changed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.addresses import is_address
from datasets.command_line import parse, typed
from datasets.errors import ConfigError, StudyError, StudyOverError
from datasets.files import write_atomically
from datasets.shards import PreparedCorpus
from results.journal import SessionEnded, SessionStarted, read
from results.log_records import FINISHED
from results.log_study import study_entry
from results.provenance import Provenance
from results.replay import Replay, latest_confirm
from results.schema import STUDY_KEY
from results.study import (
    ENGINE_FOLDER,
    EVENTS_FILE,
    REPORTS_FOLDER,
    STUDY_FILE,
    StudyRecord,
    check_is_study,
    read_study,
)
from results.training_log import read_log
from results.working_copy import bring_study
from search.config import BudgetConfig, ClusterConfig, PathsConfig, SearchConfig
from search.outcome import SPENT, Outcome

PRECISION = "train.precision"
RESUME, EXTEND, FORCE, CLUSTER = "resume", "extend", "force", "cluster"
MAY_CHANGE = ("cluster.", "trial.", "disk.", "confirm.", "paths.", "trackers")
"""Fields that say where and how trials are run, and nothing of what they are."""
ROUNDS = "rounds"
KINDS = (*(field.name for field in fields(BudgetConfig)), ROUNDS)
AMOUNT = re.compile(rf"\+?(\d+(?:\.\d+)?)\s*({'|'.join(KINDS)}|)")
MORE: Mapping[str, str] = {
    Outcome.FINISHED: "extend=+20 gives it 20 more trials, +4rounds up to 4 more seeds for the verdict",
    Outcome.OUT_OF_TIME: "extend=+2hours adds to it",
    Outcome.OUT_OF_EPOCHS: "extend=+100epochs adds to it",
    Outcome.OUT_OF_GPU_TIME: "extend=+8gpu_hours adds to it",
}
"""How one that is over may go on all the same."""


@dataclass(frozen=True)
class Resumed:
    """A study that is to go on.

    Attributes:
        record: as it was begun.
        config: as it goes on, with the budget and the rounds of repeats that it has now.
        extended: it is to have more than before, or its best are trained again in another way.
        force: go on although code, corpus or packages have changed; and, where the study is at an address, take it
            from a process that drives it elsewhere, alive or dead (`search.claim`). There is no word for one alone.
    """

    record: StudyRecord
    config: SearchConfig
    extended: bool
    force: bool


def study_to_resume(words: Sequence[str]) -> Resumed:
    """The study that `resume=NAME extend=+20 force=true` and further words name.

    `force=true` says two things (`Resumed.force`): what has changed since is accepted, and a study at an address is
    taken from whoever drives it.

    Raises:
        ConfigError: a word that a study cannot be resumed with.
        StudyError: no such study.
    """
    for word in words:
        if "=" not in word:
            raise ConfigError(f"'{word}' is not of the form field=value; `resume=NAME extend=+20 force=true` is")
    named = dict(word.split("=", 1) for word in words)
    name, extend, force = named.pop(RESUME), named.pop(EXTEND, ""), named.pop(FORCE, "false").lower()
    if force not in ("true", "false"):
        raise ConfigError(f"force={force}: it is true or false")
    named = _on_cluster(named)
    for field in named:
        if not field.startswith(MAY_CHANGE):
            raise ConfigError(
                f"{field}: a study goes on as it was begun; resume takes extend, force, and fields of "
                f"{', '.join(prefix.rstrip('.') for prefix in MAY_CHANGE)}"
            )
    studies = named.get("paths.studies", PathsConfig.studies)
    folder = bring_study(studies, name)
    restore_record(folder)
    check_is_study(folder, studies, name)
    record = read_study(folder)
    config = typed(SearchConfig(), record.config)
    config = replace(config, study=name, paths=_paths(config.paths, studies))
    sessions = [event for event in read(folder / EVENTS_FILE) if isinstance(event, SessionStarted)]
    before = typed(config.confirm, latest_confirm(sessions, record.config))
    config = replace(config, budget=_latest_budget(sessions, config.budget), confirm=before)
    config = extended(parse(config, [f"{field}={value}" for field, value in named.items()]), extend)
    return Resumed(record, config, bool(extend) or config.confirm != before, force == "true")


def _paths(before: PathsConfig, studies: str) -> PathsConfig:
    """Where all is that the study reads and writes, unless the words say otherwise.

    One at an address may have been begun on another machine: of that one's folders this one knows nothing, and takes
    its own.
    """
    if not is_address(studies):
        return replace(before, studies=studies)
    return PathsConfig(studies=studies, corpora=before.corpora if is_address(before.corpora) else PathsConfig.corpora)


def _on_cluster(named: Mapping[str, str]) -> dict[str, str]:
    """The fields with `cluster=attach` as the one that it sets; on this machine again, the address is forgotten."""
    words = dict(named)
    if CLUSTER not in words:
        return words
    name = words.pop(CLUSTER)
    before = {} if name == "attach" else {f"{CLUSTER}.address": ClusterConfig.address}
    return {**before, f"{CLUSTER}.name": name, **words}


def extended(config: SearchConfig, extend: str) -> SearchConfig:
    """A search with more of something: `+20` (trials), `+100epochs`, `+2hours`, `+8gpu_hours`, `+4rounds`; or several.

    Raises:
        ConfigError: not of that form, or of a kind that the study has no limit of.
    """
    budget, confirm = config.budget, config.confirm
    for part in filter(None, extend.split(",")):
        match = AMOUNT.fullmatch(part.strip())
        if match is None:
            raise ConfigError(
                f"extend={extend}: it is a number of trials such as +20, or a number and one of {', '.join(KINDS)}"
            )
        kind, number = match.group(2) or "trials", float(match.group(1))
        if "hours" not in kind and not number.is_integer():
            raise ConfigError(f"extend={extend}: {kind} are whole")
        if kind == ROUNDS:
            if not config.judged:
                raise ConfigError(f"extend={extend}: no trial of this study is trained again (confirm.top, scheduler)")
            confirm = replace(confirm, rounds=confirm.rounds + int(number))
            continue
        limit = getattr(budget, kind)
        if limit is None:
            raise ConfigError(f"extend={extend}: the study has no limit of {kind}")
        budget = replace(budget, **{kind: limit + (number if "hours" in kind else int(number))})
    return replace(config, budget=budget, confirm=confirm)


def check_state(study: Resumed) -> None:
    """See that there is something to go on with.

    A session that was killed has written no end, whatever became of those before it; and one that was killed after
    its end has written no reports, so it is not over either (`_entered`).

    Raises:
        StudyOverError: it is finished, or its budget is spent.
        StudyError: its journal is gone or damaged.
    """
    folder = study.config.folder()
    if not (folder / EVENTS_FILE).exists():
        if not any((folder / trace).exists() for trace in (ENGINE_FOLDER, REPORTS_FOLDER)):
            return  # it was killed while Ray started, before anything was run
        raise StudyError(f"{folder / EVENTS_FILE} is gone, and with it what has been run; the study cannot be resumed")
    events = list(read(folder / EVENTS_FILE))
    outcome = events[-1].outcome if events and isinstance(events[-1], SessionEnded) else None
    replay = Replay(events)
    if outcome in SPENT:
        more = _latest_budget(replay.sessions, study.config.budget) != study.config.budget
        if not more and (study.extended or _entered(study)):
            raise StudyOverError(f"study={folder.name} has used up its budget ({outcome}); {MORE[outcome]}")
    died = any(trial.state == "running" for trial in replay.trials())
    if outcome == Outcome.FINISHED and not died and not study.extended and _entered(study):
        raise StudyOverError(f"study={folder.name} is finished; {MORE[Outcome.FINISHED]}")


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
    return [*changes, *_other_precision(study, provenance)]


def _other_precision(study: Resumed, now: Provenance) -> Iterator[str]:
    """Whether `mixed` may be something else than when the study was begun: bf16, fp16 or fp32, as the machine has it.

    It is told and not refused: another machine often has the same. On a cluster this process's says nothing of it.
    """
    config, before = study.config, study.record.provenance.hardware
    searched = (parameter.choices for parameter in config.space.parameters.values() if parameter.target == PRECISION)
    asked = {config.train.precision, *itertools.chain.from_iterable(searched)}
    then, here = (set(hardware.gpus) or {hardware.cpu} for hardware in (before, now.hardware))
    if "mixed" in asked and config.cluster.name == "local" and then != here:
        yield (
            f"the machine: {', '.join(sorted(then))} then, {', '.join(sorted(here))} now; {PRECISION}=mixed may be "
            "another precision on it, and its SERs a little different"
        )


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


def _latest_budget(sessions: Sequence[SessionStarted], budget: BudgetConfig) -> BudgetConfig:
    """The budget of the latest session: an extension lasts."""
    return typed(budget, sessions[-1].budget) if sessions else budget
