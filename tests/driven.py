"""A search's driver without Ray: its own parts, in the order in which Tune calls them, on trials that are a formula.

The slots take turns, an epoch at a time, so that everything that happens follows from the configuration.
"""

from __future__ import annotations

import dataclasses
import io
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from omr_model.config import OptimizerConfig, TrainConfig
from results.journal import EpochReported, Event, TrialEnded, TrialStarted, read, to_line
from search.agenda import Agenda
from search.chronicle import Chronicle
from search.config import (
    BudgetConfig,
    ConfirmConfig,
    DiskConfig,
    ParameterConfig,
    PathsConfig,
    PointConfig,
    SamplerConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
)
from search.console import Console
from search.engine.keeper import Keeper
from search.engine.observer import Observer
from search.engine.schedulers import RuleScheduler
from search.engine.searcher import AgendaSearcher
from search.engine.stop import EndOfEpoch, Stop
from search.optuna_study import optuna_study
from search.outcome import Outcome
from search.recovery import recover
from search.rules import build_rule
from search.samplers import build_sampler
from search.space import SearchSpace, Settings
from tests.models import SMALL
from tests.studies import make_checkpoint, metrics, study_record

RATE, DROPOUT = "optimizer.learning_rate", "model.decoder.dropout"
EPOCHS = 6
Curve = Callable[[Mapping[str, Any], int], float]


def curve(config: Mapping[str, Any], epoch: int) -> float:
    """The SER of a setting after an epoch: it falls the quicker, the nearer the learning rate is to 1e-3."""
    settings = config["settings"]
    missed = abs(math.log10(settings[RATE]) + 3) + settings[DROPOUT]
    return float((1 - 0.3 / (1 + missed)) ** epoch + 0.001 * (config["seed"] % 7))


def search_config(studies: Path, **fields: Any) -> SearchConfig:
    """A search for a learning rate and a dropout: the base, one point of the log, then the sampler's."""
    plain: dict[str, Any] = {
        "study": "driven",
        "model": SMALL,
        "optimizer": OptimizerConfig(learning_rate=0.05),
        "train": TrainConfig(epochs=EPOCHS),
        "space": SpaceConfig(
            parameters={
                "rate": ParameterConfig(target=RATE, low=1e-5, high=1e-1, log=True),
                "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
            },
            points={"log": PointConfig(origin="run 51", values={"rate": 1e-2, "dropout": 0.1})},
        ),
        "budget": BudgetConfig(trials=8),
        "confirm": ConfirmConfig(top=0),
        "disk": DiskConfig(reserve=0.0),
        "sampler": SamplerConfig(name="random", startup_trials=3),
        "scheduler": SchedulerConfig(name="asha", grace_epochs=2),
        "paths": PathsConfig(studies=str(studies)),
    }
    return SearchConfig(**(plain | fields))


@dataclass
class Session:
    """One process that drives the study, from its beginning on.

    Attributes:
        config: the search.
        curve: what trials report.
        samples: whether a trial's last epoch has samples to be read, as verdicts need them.
    """

    config: SearchConfig
    curve: Curve = curve
    samples: bool = False
    stream: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        config = self.config
        self.folder = config.folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        resolution = config.sampler.resolution if config.sampler.name == "grid" else None
        self.space = SearchSpace(config.space, config.training(), resolution)
        if not (self.folder / "study.json").exists():
            from results.study import write_study

            record = study_record(config.study, tuple(self.space.roles))
            write_study(self.folder, dataclasses.replace(record, max_epochs=config.train.epochs))
        self.chronicle = Chronicle(self.folder)
        self.stop = Stop(config.budget, self.chronicle)
        self.rule = build_rule(config.scheduler, config.train.epochs)
        assert self.rule is not None
        replay = self.chronicle.replay
        self.recovery = recover(self.rule, self.chronicle.earlier(), replay, config.train.epochs)
        console = Console(config.budget.trials, config.train.epochs, self.rule.rungs, stream=self.stream)
        keeper = Keeper.of(config, self.folder, replay)
        self.observer = Observer(
            self.folder, self.chronicle, console, self.stop, self.rule, keeper, config.train.epochs, 0.0
        )
        confirm = dataclasses.asdict(config.confirm)
        self.chronicle.begin("a code", "a command", dataclasses.asdict(config.budget), [], confirm)
        self.observer.recovered(self.recovery)
        sampler = build_sampler(config.sampler, config.seed, self.space)
        self.study = optuna_study(self.folder, sampler, self.space, replay.trials(), self.rule.waiting)
        self.agenda = Agenda(config, self.space, self.chronicle, self.rule, self.recovery, self.study)
        self.searcher = AgendaSearcher(self.agenda, config.train.epochs, self.stop)
        self.scheduler = RuleScheduler(self.rule)
        self.stopper = EndOfEpoch(self.stop)
        self._named = 0

    def run(self, slots: int = 1) -> Outcome:
        """Everything that is on the agenda; why it ended."""
        running: list[Any] = []
        finished = False
        while True:
            while not finished and len(running) < slots:
                trial = self.begin()
                finished = trial == Searcher.FINISHED
                if trial is None or finished:
                    break
                running.append(trial)
            if not running:
                assert finished, "nothing runs, nothing is begun, and nobody says that it is over"
                break
            running = [trial for trial in running if self.epoch(trial)]
        self.observer.finish()
        self.agenda.close()
        return self.stop.reason

    def begin(self) -> Any:
        """One more trial begins; what the searcher says where there is none."""
        self._named += 1
        config = self.searcher.suggest(f"tune-{self._named}")
        if not isinstance(config, dict):
            return config
        path = self.folder / "tune" / str(self.chronicle.session) / f"trial-{config['number']:04d}"
        reached = max((self._epoch_of(Path(one)) for one in config["checkpoints"]), default=0)
        trial = SimpleNamespace(
            config=config, trial_id=f"tune-{self._named}", path=path, epoch=reached, last_result={}, error_file=None
        )
        self.observer.on_trial_start(0, [], trial)  # type: ignore[arg-type]
        return trial

    def epoch(self, trial: Any) -> bool:
        """A trial is trained for an epoch; whether it goes on."""
        trial.epoch += 1
        ser = self.curve(trial.config, trial.epoch)
        if math.isnan(ser):
            return self._told(trial, {"epoch": 0, "ser": 10.0, "diverged": "no longer finite"}, last=True)
        if ser < 0:
            return self._told(trial, {"epoch": 0, "ser": 10.0, "failed": "RuntimeError: melted"}, last=True)
        name = f"checkpoint_{trial.epoch:06d}"
        self.save(trial, name, ser)
        result = {
            "epoch": trial.epoch,
            "ser": ser,
            "metrics": metrics(trial.epoch, ser),
            "checkpoint_dir_name": name,
        }
        return self._told(trial, result, last=trial.epoch == self.config.train.epochs)

    def save(self, trial: Any, name: str, ser: float) -> None:
        """The checkpoint of a trial's epoch."""
        make_checkpoint(trial.path / name, trial.epoch, ser, trial.config["seed"] % 1000, self.samples)

    def _told(self, trial: Any, result: dict[str, Any], last: bool) -> bool:
        """As Tune tells it: stopper, scheduler, searcher, callbacks."""
        stopped = self.stopper(trial.trial_id, result)
        if not stopped:
            stopped = self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
        if not stopped:
            self.searcher.on_trial_result(trial.trial_id, result)
        self.observer.on_trial_result(0, [], trial, result)
        trial.last_result = result
        if stopped or last:
            self.searcher.on_trial_complete(trial.trial_id, result)
            self.observer.on_trial_complete(0, [], trial)
        return not (stopped or last)

    @staticmethod
    def _epoch_of(folder: Path) -> int:
        """Of a checkpoint that is there."""
        return int(folder.name.rpartition("_")[2]) if folder.exists() else 0


@dataclass(frozen=True)
class Story:
    """What the journal says of a trial in the end."""

    settings: Settings
    seed: int
    repeats: int | None
    state: str
    sers: tuple[float, ...]


def stories(folder: Path) -> dict[int, Story]:
    """Of each trial by its number."""
    return {
        trial.start.number: Story(
            trial.first.params, trial.start.seed, trial.start.repeats, trial.state, tuple(trial.sers)
        )
        for trial in Chronicle(folder).replay.trials()
    }


def told(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What Optuna knows of each trial that has begun: all of it but the times."""
    return [
        (
            trial.state,
            trial.params,
            trial.distributions,
            trial.intermediate_values,
            trial.value if trial.state == TrialState.COMPLETE else None,
            trial.user_attrs["number"],
            trial.user_attrs.get("waits", False),
        )
        for trial in study.trials
        if "number" in trial.user_attrs
    ]


def events(folder: Path) -> list[Event]:
    """The journal."""
    return list(read(folder / "events.jsonl"))


def cut(whole: Path, config: SearchConfig, count: int, samples: bool = False) -> None:
    """The study of `config` as `whole` was when it died after so many events: checkpoints come before their event.

    Optuna's storage is that of the end, which is ahead of the journal by more than a crash can make it.
    """
    shutil.copytree(whole, config.folder(), ignore=shutil.ignore_patterns("tune"))
    kept = events(whole)[:count]
    (config.folder() / "events.jsonl").write_text("".join(map(to_line, kept)), encoding="utf-8")
    seeds = {event.trial_id: event.seed for event in kept if isinstance(event, TrialStarted)}
    for event in kept:
        if isinstance(event, EpochReported) and event.checkpoint is not None:
            epoch, ser = int(event.metrics["epoch"]), event.metrics["ser"]
            make_checkpoint(config.folder() / event.checkpoint, epoch, ser, seeds[event.trial_id] % 1000, samples)


def trained(folder: Path) -> list[tuple[str, int]]:
    """Every epoch that was ever trained: trial and epoch, in order."""
    return [
        (event.trial_id, int(event.metrics["epoch"])) for event in events(folder) if isinstance(event, EpochReported)
    ]


def steps(sequence: Sequence[Event]) -> list[tuple[str, ...]]:
    """What happened to trials, in order, without times."""
    names: list[tuple[str, ...]] = []
    for event in sequence:
        if isinstance(event, TrialStarted):
            names.append(("start", event.trial_id))
        elif isinstance(event, EpochReported):
            names.append(("epoch", event.trial_id, str(int(event.metrics["epoch"]))))
        elif isinstance(event, TrialEnded):
            names.append(("end", event.trial_id, event.state))
    return names
