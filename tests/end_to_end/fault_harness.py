"""Starts pretended searches, hurts them, and says what was lost of them against one that nobody hurt."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from results.gather import gather
from results.journal import TrialEnded, read
from results.replay import Replay
from search.config import SchedulerConfig
from search.optuna_study import NUMBER
from search.recovery import _replayed
from search.rules import Action, build_rule
from tests.end_to_end.pretended_search import Pretence, drive, link_of
from tests.processes import family, name_of

PRELOADED = ["tests.end_to_end.pretended_search", "results.figures", "ray.tune", "search.engine.tuning"]
PATIENCE = 400.0  # seconds, after which a search that should have done something is taken for hung
TRIALS, EPOCHS, GRACE = 8, 6, 2
VARY = ("study", "time", "started", "ended", "checkpoint")  # columns that say when and where
FINAL = ("completed", "pruned", "failed", "diverged")


@dataclass
class Bench:
    """Where searches are hurt: a folder, everything random out of one seed, and what studies are if they are let be."""

    root: Path
    corpora: Path
    random: random.Random
    unhurt: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.context = multiprocessing.get_context("forkserver")  # a session need not import everything again
        self.context.set_forkserver_preload(PRELOADED)
        self._cases = 0

    def case(self, *words: str, name: str = "mine", studies: Path | None = None, **pretence: Any) -> Case:
        """A study that has not begun, in a folder of its own."""
        self._cases += 1
        scratch = self.root / f"case-{self._cases:03d}"
        scratch.mkdir()
        return Case(self, name, words, scratch, studies or scratch / "studies", pretence)


class BusyError(Exception):
    """The machine has too much to do for Ray to start."""


@dataclass
class Session:
    """A process that drives a study."""

    process: Any
    said: Path

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def alive(self) -> bool:
        return bool(self.process.is_alive())

    def wait(self) -> int:
        """Its exit status; of a search that hangs, none ever."""
        self.process.join(PATIENCE)
        if self.alive:
            self.kill(signal.SIGABRT)  # it says where it stood
            self.process.join(10)
            raise TimeoutError(f"hung: {self.said.read_text()[-3000:]}")
        return int(self.process.exitcode)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal; it must be there."""
        if not self.alive:
            raise self.ended_early()
        os.kill(self.pid, number)

    def kill_group(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it has started in its group, as a terminal does."""
        if not self.alive:
            raise self.ended_early()
        os.killpg(self.pid, number)

    def ended_early(self) -> Exception:
        """Why it is no more: Ray did not start in time, which happens on a busy machine, or a reason of its own."""
        words = f"exit status {self.process.exitcode}: {self.words()[-2500:]}"
        return BusyError(words) if "Ray did not start" in words else AssertionError(words)

    def words(self) -> str:
        """What it said."""
        return self.said.read_text() if self.said.exists() else ""


@dataclass
class Case:
    """A study: what is added to its words, where it lies, how it pretends, and the sessions that it had."""

    bench: Bench
    name: str
    more: tuple[str, ...]
    scratch: Path
    studies: Path
    pretence: dict[str, Any]
    sessions: list[Session] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.studies / self.name

    @property
    def trained_file(self) -> Path:
        return self.scratch / "trained"

    def begin(self, **pretence: Any) -> Session:
        """Start it: `python -m search.run space=dropout study=...`."""
        settings = [
            *("space=dropout", "model=tiny", f"study={self.name}", "data.limit=80", f"budget.trials={TRIALS}"),
            *(f"train.epochs={EPOCHS}", f"scheduler.grace_epochs={GRACE}", "confirm.top=1", "confirm.rounds=1"),
            *(
                "sampler.startup_trials=3",
                "trial.retries=9",
                "cluster.cpus=1",
                "cluster.gpus=0",
                "cluster.dashboard=false",
            ),
        ]
        return self._session([*settings, f"paths.corpora={self.bench.corpora}", *self.more], pretence)

    def resume(self, *words: str, **pretence: Any) -> Session:
        """`python -m search.run resume=...`."""
        return self._session([f"resume={self.name}", *words], pretence)

    def _session(self, words: list[str], pretence: dict[str, Any]) -> Session:
        said = self.scratch / f"said-{len(self.sessions)}.txt"
        words += [f"paths.studies={self.studies}", f"paths.log={self.scratch / 'LOG.md'}"]
        told = Pretence(str(self.trained_file), **{**self.pretence, **pretence})
        process = self.bench.context.Process(target=drive, args=(words, told, str(said)))
        process.start()
        self.sessions.append(Session(process, said))
        return self.sessions[-1]

    def trained(self) -> list[tuple[int, int, int]]:
        """Every epoch whose training began: number, epoch, process."""
        if not self.trained_file.exists():
            return []
        lines = self.trained_file.read_text().splitlines()
        return [(int(number), int(epoch), int(pid)) for number, epoch, pid in map(str.split, lines)]

    def copied(self) -> Case:
        """The same study once more, so that it can be hurt in different ways."""
        copy = self.bench.case(*self.more, name=self.name, **self.pretence)
        shutil.copytree(self.studies, copy.studies)
        shutil.copyfile(self.trained_file, copy.trained_file)
        copy.sessions = list(self.sessions)
        return copy

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that must happen."""
        if not self.happens(happened):
            raise self.sessions[-1].ended_early()

    def happens(self, happened: Callable[[], bool]) -> bool:
        """Wait for something, or for the end of the session; whether it happened."""
        session, patience = self.sessions[-1], time.monotonic() + PATIENCE
        while not happened():
            if not session.alive:
                return happened()
            if time.monotonic() > patience:
                session.kill(signal.SIGABRT)
                raise TimeoutError(f"{self.name} waited in vain: {session.words()[-3000:]}")
            time.sleep(0.02)
        return True

    def trains(self, more: int) -> Callable[[], bool]:
        """Whether so many more epochs than now have begun."""
        wanted = len(self.trained()) + more
        return lambda: len(self.trained()) >= wanted

    def finish(self, *words: str) -> Session:
        """Resume it, and see that it is finished then."""
        session = self.resume(*words)
        if session.wait() != 0:
            raise session.ended_early()
        return session


def victim(session: Session, kind: str, case: Case) -> int | None:
    """The process of a kind: driver, trial, raylet, gcs_server; None if there is none now."""
    if kind == "driver":
        return session.pid
    alive = {process.pid: name_of(process) for process in family(session.pid)}
    if kind == "trial":
        return next((pid for _, _, pid in case.trained()[-1:] if pid in alive), None)
    return next((pid for pid, name in alive.items() if name == kind), None)


@dataclass(frozen=True)
class Snapshot:
    """Everything of a study that a fault must not change."""

    tables: dict[str, list[dict[str, Any]]]
    optuna: list[tuple[Any, ...]]
    decided: dict[int, str]
    verdict: str
    waiting: frozenset[int]


def snapshot(case: Case) -> Snapshot:
    """A finished study as it stands."""
    tables = gather(case.folder)
    parts = {"trials": tables.trials, "epochs": tables.epochs, "samples": tables.samples.table()}
    gathered = {name: _rows(table) for name, table in parts.items()}
    written = {
        f"{name}.parquet": _rows(pq.read_table(case.folder / "reports" / f"{name}.parquet"))
        for name in ("trials", "epochs", "samples", "importance", "rungs")
    }
    decided, waiting = decisions(case)
    report = (case.folder / "best" / "report.md").read_text()
    verdict = re.sub(
        rf"\| code \|.*|/\S+|{case.name}|\d+:\d+|[\d.]+ (seconds|minutes|hours)|\d{{4}}-\d\d-\d\d.*", "", report
    )
    return Snapshot(gathered | written, told_to_optuna(case), decided, verdict, waiting)


def told_to_optuna(case: Case) -> list[tuple[Any, ...]]:
    """Number, state, value, parameters and intermediate values of each trial that began."""
    storage = JournalStorage(JournalFileBackend(str(case.folder / "optuna.journal")))
    trials = optuna.load_study(study_name=case.folder.name, storage=storage).trials
    return sorted(
        (one.user_attrs[NUMBER], one.state.name, one.value, one.params, one.intermediate_values)
        for one in trials
        if NUMBER in one.user_attrs
    )


def decisions(case: Case) -> tuple[dict[int, str], frozenset[int]]:
    """What the scheduler's rule says of each trial, with the journal told again; and who waits."""
    default = SchedulerConfig(grace_epochs=GRACE)
    name = next((word.partition("=")[2] for word in case.more if word.startswith("scheduler=")), default.name)
    rule = build_rule(replace(default, name=name), EPOCHS)
    assert rule is not None
    decided = _replayed(rule, read(case.folder / "events.jsonl"))
    return {number: str(action) for number, action in sorted(decided.items())}, rule.waiting


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows = table.drop_columns([name for name in VARY if name in table.column_names]).to_pylist()
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in rows
    ]


@dataclass
class Loss:
    """What a fault has cost a study.

    Attributes:
        lost, twice: trials.
        again: epochs that were trained again.
        unequal: what differs from the study that nobody hurt.
    """

    lost: int = 0
    twice: int = 0
    again: int = 0
    unequal: list[str] = field(default_factory=list)


def loss(case: Case, reference: Snapshot | None, allowed: int) -> Loss:
    """Compare a finished study with one that nobody hurt, or without one with what must hold of every study.

    Args:
        allowed: epochs that may have been trained again.
    """
    replay = Replay(read(case.folder / "events.jsonl"))
    counts = Counter((number, epoch) for number, epoch, _ in case.trained())
    again = Counter[int]()
    for (number, _), count in counts.items():
        again[number] += count - 1
    ended = Counter(
        int(event.trial_id)
        for event in read(case.folder / "events.jsonl")
        if isinstance(event, TrialEnded) and event.state in FINAL
    )
    twice = sum(ended[number] > 1 or again[number] > allowed for number in again)
    unequal = [*_wrong_chains(replay), *_wrong_decisions(case, replay)]
    open_ones = [
        trial for trial in replay.trials() if trial.state not in FINAL and not _waits(case, trial.start.number)
    ]
    lost = len(open_ones) + TRIALS - sum(trial.start.repeats is None for trial in replay.trials())
    if reference is not None:
        now, numbers = snapshot(case), {row["number"] for row in reference.tables["trials"]}
        lost = len(open_ones) + len(numbers - {row["number"] for row in now.tables["trials"]})
        unequal += [name for name, rows in reference.tables.items() if now.tables[name] != rows]
        unequal += [
            one.name
            for one in dataclasses.fields(Snapshot)
            if one.name != "tables" and getattr(now, one.name) != getattr(reference, one.name)
        ]
    return Loss(lost, twice, sum(again.values()), unequal)


def _waits(case: Case, number: int) -> bool:
    return number in decisions(case)[1]


def _wrong_chains(replay: Replay) -> list[str]:
    """Trials with an epoch that did not follow from those before: from their setting and seed, every link is known."""
    links = replay.number("link")
    return [
        f"chain of trial {trial.start.number}"
        for trial in replay.trials()
        if trial.epochs != list(range(1, len(trial.epochs) + 1))
        or [links[row] for row in trial.rows]
        != [link_of(trial.start.params, trial.start.seed, epoch) for epoch in trial.epochs]
    ]


def _wrong_decisions(case: Case, replay: Replay) -> list[str]:
    """Trials that did not end as the rule says of the journal told again."""
    decided, waiting = decisions(case)
    searched = [trial for trial in replay.trials() if trial.start.repeats is None and trial.state in FINAL]
    return [
        f"decision on trial {trial.start.number}"
        for trial in searched
        if trial.state in ("pruned", "completed")
        and (decided[trial.start.number] == Action.STOP) != (trial.state == "pruned")
        and trial.start.number not in waiting
    ]
