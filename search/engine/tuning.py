"""One Tuner, built and run to its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray import tune

from search.config import SearchConfig
from search.console import Console
from search.engine.cluster import Cluster
from search.engine.observer import Observer
from search.engine.schedulers import build_scheduler
from search.engine.searcher import OptunaSearcher
from search.engine.stop import EndOfEpoch, Outcome, Stop
from search.engine.trial import TrialJob, train_trial
from search.resources import concurrent_trials, on_its_device, trial_resources
from search.samplers import build_sampler
from search.space import SearchSpace

OPTUNA_JOURNAL = "optuna.journal"
Trainable: TypeAlias = Callable[[Mapping[str, Any], TrialJob], None]


def run_trials(
    config: SearchConfig,
    space: SearchSpace,
    cluster: Cluster,
    corpus: Path,
    console: Console,
    sampler: BaseSampler | None = None,
    trainable: Trainable = train_trial,
) -> Outcome:
    """Run a new study's trials, and say whether all of them were run.

    Everything is in the study's folder afterwards: events, Optuna's storage, checkpoints, reports.

    Args:
        sampler: who suggests settings; None is the one that the configuration names.
        trainable: what a trial does; another one than the shared trainer drives the same engine without training.

    Raises:
        ConfigError: a trial asks for more than the cluster has; it would wait for ever. Or the space has nothing
            that the scheduler could work with.
        KeyboardInterrupt: a second Ctrl-C; what was recorded until then is kept.
    """
    folder = config.folder().resolve()
    cpus, gpus = trial_resources(config, cluster)
    stop = Stop(config.budget.hours)
    observer = Observer(folder, console, stop, config.train.seed, config.train.epochs)
    scheduler = build_scheduler(config, space, stop)
    study = _optuna_study(config, space, sampler or build_sampler(config.sampler, config.seed, space))
    searcher = OptunaSearcher(study, space, config.train.epochs, stop)
    job = TrialJob(on_its_device(config.training(), cpus, gpus), corpus.resolve(), cpus if gpus == 0 else None)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, job=job), {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            num_samples=config.budget.trials,
            search_alg=searcher,
            scheduler=scheduler,
            max_concurrent_trials=_trials_alive(config, concurrent_trials(cluster, cpus, gpus)),
            reuse_actors=True,  # a new process would import torch anew, which takes longer than a short epoch
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[observer],
            stop=EndOfEpoch(stop),
            failure_config=tune.FailureConfig(max_failures=config.trial.retries),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # trials that fail are told by the console
    try:
        with _graceful_stop(stop, console):
            tuner.fit()
    finally:
        observer.finish()
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.PRUNED)  # cut off: else it would count as running for ever
    wanted = len(observer.started) if searcher.exhausted else config.budget.trials
    return Outcome.FINISHED if observer.finished == wanted else stop.reason


def _trials_alive(config: SearchConfig, abreast: int) -> int:
    """As many as run side by side; but a population is alive as a whole, and its trials take turns."""
    return max(abreast, config.budget.trials) if config.scheduler.name == "pbt" else abreast


def _optuna_study(config: SearchConfig, space: SearchSpace, sampler: BaseSampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=config.study,
        storage=JournalStorage(JournalFileBackend(str(config.folder() / OPTUNA_JOURNAL))),
        sampler=sampler,
        direction="minimize",
    )
    space.queue(study)
    return study


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.config['number']:04d}-{trial.trial_id}"


@contextmanager
def _graceful_stop(stop: Stop, console: Console) -> Iterator[None]:
    """The first Ctrl-C, or SIGTERM, ends each trial with its epoch; the second one ends the search at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        stop.interrupted = True
        console.say("stopping: each trial ends with its epoch; Ctrl-C again stops at once")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
