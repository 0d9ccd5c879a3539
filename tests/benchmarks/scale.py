"""What a search costs its driver as it grows: `python -m tests.benchmarks.scale trials=10000 gpus=1000`.

The parts of a search's driver (`tests.driven.Session`), with the gauges beside them, and trials that are a formula:
`space=dropout`, a SER that depends on the setting and on luck, and epochs of simulated seconds, so that trials overtake
each other on so many GPUs as they would. Everything but the trainings is real: the agenda, the rule, Optuna's study on
the disk, the journal, the keeper with its checkpoints (of a few bytes), the console, the reports. Ray is not there:
`tests.benchmarks.scale_tune` is that part.

Counted are the seconds of this process and its threads (`time.process_time`), whoever else uses the machine. A part's
seconds are without those of the parts that it calls.
"""

from __future__ import annotations

import heapq
import math
import os
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
from ray.tune.search import Searcher

from datasets.command_line import check_range, main
from datasets.seeds import seed_from
from results.journal import EndState, EpochReported, SessionStarted, TrialEnded, TrialStarted, to_line
from results.ranking import BASE
from results.study import EVENTS_FILE
from search.chronicle import trial_id
from search.compose import compose
from search.config import SearchConfig
from search.engine import observer
from search.engine.gauges import Gauges
from search.outcome import Outcome
from search.rules import Action, build_rule
from search.study import space_of
from tests.driven import Session
from tests.studies import metrics

SECONDS_AN_EPOCH = 60.0
WAIT = 30.0  # simulated seconds after which a slot that got no trial asks again
FILES = ("model.safetensors", "checkpoint.json", "resume.pt", "samples.parquet")  # of a checkpoint
AT = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """What is simulated.

    Attributes:
        trials: of the search.
        known: of them, that an earlier session has run: drawn at random, written down at once, and halved at the rungs.
            So a large study is seen without the hours that it takes to come there.
        gpus: trials side by side.
        epochs: of a trial that is trained to the end.
        space, sampler, scheduler: as on the command line of a search.
        seed: of the search and of the trials' luck.
        reports: gather the tables every now and then, as a search does.
        resume: take the search up again in the end, and time that.
        words: more of a search's command line, with spaces between.
        folder: where the study goes, or was left by an earlier run; empty is a temporary one.
    """

    trials: int = 1_000
    known: int = 0
    gpus: int = 100
    epochs: int = 50
    space: str = "dropout"
    sampler: str = "tpe"
    scheduler: str = "asha"
    seed: int = 0
    reports: bool = True
    resume: bool = True
    words: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        for name in ("trials", "gpus", "epochs"):
            check_range(name, getattr(self, name), 1)

    def search(self, studies: Path) -> SearchConfig:
        """The search, as its command line would have it."""
        return compose(
            [
                f"space={self.space}",
                f"sampler={self.sampler}",
                f"scheduler={self.scheduler}",
                f"budget.trials={self.trials}",
                f"train.epochs={self.epochs}",
                f"seed={self.seed}",
                f"paths.studies={studies}",
                "model=tiny",
                "study=scale",
                "confirm.top=0",
                *self.words.split(),
            ]
        )


class Landscape:
    """The SER of a setting: a bowl in the numbers, a choice that is worse or better, curves that fall, and luck."""

    def __init__(self, config: SearchConfig) -> None:
        rng = np.random.default_rng(config.seed)
        space = space_of(config)
        self.best = {name: float(rng.uniform(0.2, 0.8)) for name in space.parameters}
        self.ranges = {
            parameter.target: (name, parameter.low, parameter.high)
            for name, parameter in space.parameters.items()
            if parameter.target and parameter.low is not None and parameter.high is not None
        }

    def __call__(self, config: Mapping[str, Any], epoch: int) -> float:
        """As `tests.driven.Curve`."""
        luck = (seed_from(config["number"], f"epoch {epoch}") % 1000) / 1000 - 0.5
        end = self.end(config["settings"])
        return float(end + (0.9 - end) * math.exp(-epoch / 8) + 0.01 * luck)

    def end(self, settings: Mapping[str, Any]) -> float:
        """The SER that a setting comes to, without luck."""
        missed = 0.0
        for target, value in settings.items():
            if target in self.ranges:
                name, low, high = self.ranges[target]
                missed += ((float(value) - low) / (high - low) - self.best[name]) ** 2
            else:
                missed += (seed_from(0, f"{target} {value}") % 100) / 500
        return 0.08 + 0.25 * missed / (0.5 + missed)


class Parts:
    """Seconds of this process by the part that they went to, and how often each was called."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._open: list[str] = ["driver"]
        self._since = time.process_time()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def begin(self) -> None:
        """What was before is nobody's."""
        self._since = time.process_time()

    def timed(self, owner: Any, method: str, part: str) -> Any:
        """A patch that counts what a method takes as a part's."""
        original = getattr(owner, method)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.of(part):
                return original(*args, **kwargs)

        return mock.patch.object(owner, method, wrapper)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """What happens inside is this part's."""
        self._book()
        self.calls[part] += 1
        self._open.append(part)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def _book(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


class NoGauge:
    """In place of Ray's."""

    def __init__(self, name: str, description: str, keys: tuple[str, ...]) -> None:
        pass

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        """Nobody reads it."""


@dataclass
class Simulation(Session):
    """A session on simulated GPUs.

    Attributes:
        parts: what takes how long.
        now: simulated seconds.
        suggested: CPU seconds of each suggestion, in turn.
        epochs: reports so far.
    """

    parts: Parts = field(default_factory=Parts)
    now: float = 0.0
    suggested: list[float] = field(default_factory=list)
    epochs: int = 0

    @cached_property
    def gauges(self) -> Gauges:
        return Gauges(self.config.study, self.chronicle, NoGauge)

    def run(self, slots: int = 1) -> Outcome:
        """Everything that is on the agenda, on so many GPUs."""
        events: list[tuple[float, int, Any]] = []
        order = iter(range(10**12))
        finished, free = False, slots
        while True:
            while free and not finished:
                before = time.process_time()
                trial = self.begin()
                self.suggested.append(time.process_time() - before)
                finished = trial == Searcher.FINISHED
                if trial is None or finished:
                    break
                self.gauges.on_trial_start(0, [], trial)
                free -= 1
                heapq.heappush(events, (self.now + self._seconds(trial), next(order), trial))
            if not events:
                assert finished, "nothing runs, nothing is begun, and nobody says that it is over"
                break
            self.now, _, trial = heapq.heappop(events)
            self.epochs += 1
            if self.epoch(trial):
                heapq.heappush(events, (self.now + self._seconds(trial), next(order), trial))
            else:
                free += 1
            self.gauges.on_step_end(0, [])
        self.observer.finish()
        self.agenda.close()
        return self.stop.reason

    def _told(self, trial: Any, result: dict[str, Any], last: bool) -> bool:
        goes_on = super()._told(trial, result, last)
        self.gauges.on_trial_result(0, [], trial, result)
        if not goes_on:
            self.gauges.on_trial_complete(0, [], trial)
        return goes_on

    def save(self, trial: Any, name: str, ser: float) -> None:  # noqa: ARG002
        """Files of a few bytes: what is counted is what becomes of them."""
        with self.parts.of("(checkpoints)"):
            folder = trial.path / name
            folder.mkdir(parents=True)
            for file in FILES:
                (folder / file).write_bytes(b"0" * 64)

    def _seconds(self, trial: Any) -> float:
        """Of the trial's next epoch."""
        number = trial.config["number"]
        pace = 0.7 + 0.6 * (seed_from(number, "pace") % 1000) / 1000
        return SECONDS_AN_EPOCH * pace * (0.95 + 0.1 * (seed_from(number, str(trial.epoch)) % 1000) / 1000)


def patches(session: Simulation) -> Iterator[Any]:
    """Every part of a session's driver, where it is entered."""
    timed = session.parts.timed
    sampler = session.study.sampler
    for method in ("before_trial", "infer_relative_search_space", "sample_relative", "sample_independent"):
        yield timed(sampler, method, "sampler")
    backend = session.study._storage._backend  # type: ignore[attr-defined]
    for method in ("append_logs", "read_logs"):
        yield timed(backend, method, "Optuna's file")
    yield timed(session.agenda, "next", "agenda: next")
    yield timed(session.agenda, "reported", "agenda: reported")
    yield timed(session.agenda, "ended", "agenda: ended")
    for method in ("report", "next_promoted", "promote"):
        yield timed(session.rule, method, "rule")
    yield timed(session.chronicle, "append", "journal")
    yield timed(session.observer.keeper, "tidy", "keeper")
    yield timed(observer, "write_reports", "reports")
    for method in ("started", "epoch", "ended", "say"):
        yield timed(session.observer.console, method, "console")
    for method in ("on_trial_start", "on_trial_result", "on_trial_complete", "on_step_end"):
        yield timed(session.gauges, method, "gauges")
    yield timed(session.stop, "with_epoch", "stop")


def simulate(config: ScaleConfig) -> None:
    """Run a search on simulated GPUs and say what its driver took."""
    with ExitStack() as stack:
        studies = Path(config.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        search = config.search(studies)
        if not config.reports:
            stack.enter_context(mock.patch.object(observer, "SECONDS_BETWEEN_REPORTS", math.inf))
        if config.known and not search.folder().exists():
            write_earlier(search, config.known)
        before = time.process_time()
        session = Simulation(search, curve=Landscape(search))
        print(f"taken up with {config.known:,} trials in {time.process_time() - before:.1f} s of CPU")
        with ExitStack() as inside:
            for patch in patches(session):
                inside.enter_context(patch)
            began = time.perf_counter()
            session.parts.begin()
            session.run(config.gpus)
            wall = time.perf_counter() - began
        print(table(config, session, wall), flush=True)
        if config.resume:
            print(resumed(search), flush=True)


def write_earlier(search: SearchConfig, count: int) -> None:
    """The journal of a session that ran so many trials, one after the other, and was killed."""
    search.folder().mkdir(parents=True)
    space, landscape, rule = space_of(search), Landscape(search), build_rule(search.scheduler, search.train.epochs)
    assert rule is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=search.seed))
    clock = 1_700_000_000.0
    with (search.folder() / EVENTS_FILE).open("w", encoding="utf-8") as journal:
        journal.write(to_line(SessionStarted(1, "a code", "a command", {}, [], clock)))
        for number in range(count):
            settings = space.suggest(study.ask()) if number else space.base_settings
            origin, name = "" if number else BASE, trial_id(number)
            journal.write(to_line(TrialStarted(name, number, 0, settings, clock, origin)))
            state: EndState = "completed"
            for epoch in range(1, search.train.epochs + 1):
                clock += 1.0
                ser = landscape({"settings": settings, "number": number}, epoch)
                journal.write(to_line(EpochReported(name, metrics(epoch, ser), None, clock)))
                if rule.report(number, epoch, ser) is not Action.CONTINUE and number:
                    state = "pruned" if rule.config.name != "promotion" else "paused"
                    break
            journal.write(to_line(TrialEnded(name, state, "an earlier session", clock)))


def table(config: ScaleConfig, session: Simulation, wall: float) -> str:
    """What a run took."""
    seconds, calls = session.parts.seconds, session.parts.calls
    whole = sum(spent for part, spent in seconds.items() if not part.startswith("("))
    lines = [
        f"{config.trials:,} trials on {config.gpus:,} GPUs, {config.sampler} and {config.scheduler}: "
        f"{session.epochs:,} epochs, {session.now / 3600:.1f} simulated hours",
        f"driver {whole:.1f} s of CPU ({wall:.1f} s on the clock): {1000 * whole / session.epochs:.2f} ms an epoch, "
        f"{whole / session.now:.2%} of the simulated time",
        f"peak memory {peak_memory() / 1e6:,.0f} MB",
        "",
        "| part | s | ms an epoch | calls | ms a call |",
        "|---|---|---|---|---|",
    ]
    for part, spent in sorted(seconds.items(), key=lambda one: -one[1]):
        each = f"{calls[part]:,} | {1000 * spent / calls[part]:.2f}" if calls[part] else " | "
        lines.append(f"| {part} | {spent:.1f} | {1000 * spent / session.epochs:.2f} | {each} |")
    lines += ["", "next assignment, after so many trials: " + "; ".join(growth(session.suggested, config.known))]
    return "\n".join([*lines, on_disk(session.folder)])


def growth(suggested: list[float], known: int) -> list[str]:
    """Milliseconds of an assignment as trials grow: the mean of the 50 before each mark, and of the last 50."""
    ends = [at - known for at in AT if 50 <= at - known < len(suggested)] + [len(suggested)]
    return [f"{known + end:,}: {1000 * float(np.mean(suggested[max(0, end - 50) : end])):.1f} ms" for end in ends]


def on_disk(folder: Path) -> str:
    """Files, folders and the size of the journals."""
    found = [(len(folders), len(files)) for _, folders, files in os.walk(folder)]
    sizes = {file.name: file.stat().st_size / 1e6 for file in folder.iterdir() if file.is_file()}
    return (
        f"on the disk {sum(files for _, files in found):,} files and {sum(folders for folders, _ in found):,} folders; "
        + ", ".join(f"{name} {size:,.1f} MB" for name, size in sorted(sizes.items()))
    )


def resumed(search: SearchConfig) -> str:
    """How long the same study takes until it can go on."""
    before, began = time.process_time(), time.perf_counter()
    Simulation(search)
    took = time.process_time() - before
    return (
        f"taken up again in {took:.1f} s of CPU ({time.perf_counter() - began:.1f} s on the clock), "
        f"peak memory {peak_memory() / 1e6:,.0f} MB"
    )


def peak_memory() -> int:
    """Of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(simulate, ScaleConfig())
