"""TensorBoard, MLflow, Weights & Biases: `trackers=tensorboard` has Ray's own callbacks log a search there, too.

    tensorboard   STUDY/trackers/tensorboard; a run a trial
    mlflow        STUDY/trackers/mlflow/mlflow.db, or where MLFLOW_TRACKING_URI says; an experiment a study
    wandb         STUDY/trackers/wandb, to be synchronised later; at once where the user is logged in (WANDB_API_KEY or
                  ~/.netrc) or WANDB_MODE says so; a group a study, in the project WANDB_PROJECT_NAME or `omr-search`

Each gets what our tables have: the metrics of an epoch under the names of `epochs`, with the epoch as the step, and a
trial's settings under their targets. A trial that is taken up again, in this session or in a later one, goes on in the
run that it has. The journal is the truth, and no tracker is any reason to end a search: one that fails is left out.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import netrc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.constants import TRAINING_ITERATION
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from datasets.files import write_atomically
from search.chronicle import Chronicle, trial_id
from search.config import SearchConfig
from search.engine import keys
from search.labels import trial_label

TRACKERS_FOLDER = "trackers"
PROJECT = "omr-search"
RAYS_PREFIX = "ray/tune/"
WANDB_HOST = "api.wandb.ai"


@dataclass(eq=False)
class Tracked:
    """A trial as Ray's loggers are shown it: they ask for these of Tune's.

    Attributes:
        number: in the study.
        name: with its settings, as it was begun.
        trial_id: unique among all studies.
        experiment_dir_name: the study.
        config: the settings by target.
        folder: where a logger may write.
        reached: the epoch that it went on from, each time that it did.
    """

    number: int
    name: str
    trial_id: str
    experiment_dir_name: str
    config: dict[str, Any]
    folder: Path
    reached: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """Tune's name of what was searched."""
        return self.config

    def init_local_path(self) -> None:
        """Make that folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def local_path(self) -> str:
        """It, which is there once somebody wants it."""
        self.init_local_path()
        return str(self.folder)


class Tracker(tune.Callback):
    """Shows one of Ray's loggers what it is to log; Tune's callback, after the one that records (`Observer`).

    Args:
        name: of the tracker.
        logger: Ray's.
        study: the study's name.
        folder: the tracker's own, in the study's.
        chronicle: what has happened.
        say: tells the person.
    """

    def __init__(
        self,
        name: str,
        logger: LoggerCallback,
        study: str,
        folder: Path,
        chronicle: Chronicle,
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.logger = logger
        self.study = study
        self.folder = folder
        self.chronicle = chronicle
        self.say = say
        self.tracked: dict[int, Tracked] = {}
        self.failed = False

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    def setup(self, *_: Any, **info: Any) -> None:
        self._let(self.logger.setup)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins, or goes on."""
        number = trial.config[keys.NUMBER]
        tracked = self.tracked.setdefault(number, self._tracked(number))
        epochs = self.chronicle.trial(number).epochs
        tracked.reached = epochs[-1] if epochs else 0
        self._let(self.logger.log_trial_start, tracked)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        tracked = self.tracked.get(trial.config[keys.NUMBER])
        if tracked is not None and keys.is_epoch(result):
            numbers = {name: value for name, value in result[keys.METRICS].items() if math.isfinite(value)}
            numbers[TRAINING_ITERATION] = int(result[keys.STEP])
            self._let(self.logger.log_trial_result, iteration, tracked, numbers)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Tune is over: what a logger has not sent yet it sends now."""
        self._let(partial(self.logger.on_experiment_end, trials, **info))

    def _end(self, trial: Trial) -> None:
        number = trial.config[keys.NUMBER]
        if (tracked := self.tracked.pop(number, None)) is not None:
            failed = self.chronicle.trial(number).state in ("failed", "diverged")
            self._let(self.logger.log_trial_end, tracked, failed)

    def _tracked(self, number: int) -> Tracked:
        settings = self.chronicle.trial(number).first.params
        name = trial_label(number, settings)
        return Tracked(
            number=number,
            name=name,
            trial_id=f"{self.study}-{trial_id(number)}",
            experiment_dir_name=self.study,
            config=dict(settings),
            folder=self.folder / name,
        )

    def _let(self, act: Callable[..., object], *args: Any) -> None:
        if self.failed:
            return
        try:
            act(*args)
        except Exception as error:
            self.failed = True
            self.say(f"trackers={self.name}: {type(error).__name__}: {error}; it gets no more of this search")


def trackers_of(config: SearchConfig, chronicle: Chronicle, say: Callable[[str], None]) -> list[Tracker]:
    """The trackers of a search; their packages are there (`search.tracker_names.check_trackers`)."""
    trackers = []
    for name in config.trackers:
        folder = config.folder().resolve() / TRACKERS_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        logger = LOGGERS[name](config.study, folder)
        trackers.append(Tracker(name, logger, config.study, folder, chronicle, say))
    return trackers


class TensorBoard(TBXLoggerCallback):
    """Ray's, with the names of our tables in place of `ray/tune/...`; what a trial that is taken up again trains anew
    replaces what it had logged of that."""

    def log_trial_start(self, trial: Any) -> None:
        """One more file in the trial's folder."""
        from tensorboardX import SummaryWriter

        class Writer(SummaryWriter):  # type: ignore[misc]
            """Writes scalars under our names."""

            def add_scalar(self, tag: str, *args: Any, **more: Any) -> None:
                super().add_scalar(tag.removeprefix(RAYS_PREFIX), *args, **more)

        suffix = f".{time.time_ns()}"  # else another file of the same second would be lost
        self._summary_writer_cls = partial(Writer, purge_step=trial.reached + 1, filename_suffix=suffix)
        super().log_trial_start(trial)

    def _try_log_hparams(self, trial: Any, result: Mapping[str, Any]) -> None:
        named = {name.removeprefix(RAYS_PREFIX): value for name, value in result.items()}
        super()._try_log_hparams(trial, named)


class MLflow(MLflowLoggerCallback):
    """Ray's, which begins a run anew each time; here a trial keeps the run that it has.

    Args:
        study: the experiment's name.
        folder: where `runs.json` says which run is which trial's.
    """

    def __init__(self, study: str, folder: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        super().__init__(tracking_uri=uri, experiment_name=study, tags={"study": study})
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)  # each table that it makes is a line of its own
        self.file = folder / "runs.json"
        known = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        self.runs: dict[str, str] = known.get(uri, {})

    def log_trial_start(self, trial: Any) -> None:
        """The trial's run, as it was or a new one."""
        number = str(trial.number)
        if number in self.runs:
            self._trial_runs[trial] = self.runs[number]
        super().log_trial_start(trial)
        if number not in self.runs:
            self.runs[number] = self._trial_runs[trial]
            write_atomically(self.file, json.dumps({self.tracking_uri: self.runs}, indent=2).encode())


def _wandb(study: str, folder: Path) -> LoggerCallback:
    if not _logged_in():
        os.environ.setdefault("WANDB_MODE", "offline")  # Ray's callback asks for a key otherwise
    integration = importlib.import_module("ray.air.integrations.wandb")
    more = {"mode": os.environ["WANDB_MODE"]} if "WANDB_MODE" in os.environ else {}
    project = os.environ.get("WANDB_PROJECT_NAME", PROJECT)
    logger: LoggerCallback = integration.WandbLoggerCallback(
        project=project, group=study, dir=str(folder), resume="allow", **more
    )
    return logger


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


LOGGERS: dict[str, Callable[[str, Path], LoggerCallback]] = {
    "tensorboard": lambda *_: TensorBoard(),  # type: ignore[no-untyped-call]
    "mlflow": MLflow,
    "wandb": _wandb,
}
