"""One Tuner, built and run to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from optuna.samplers import BaseSampler
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from datasets.errors import StudyError
from results.provenance import Provenance
from results.working_copy import STOP_FILE
from search.agenda import Agenda
from search.chronicle import Chronicle
from search.config import SearchConfig
from search.console import Console
from search.disk import GIGABYTE
from search.engine.cluster import Cluster
from search.engine.elastic import Elastic, nodes_may_die
from search.engine.gauges import Gauges
from search.engine.interruption import Interruption
from search.engine.keeper import Keeper
from search.engine.observer import Observer
from search.engine.placement import request_of
from search.engine.schedulers import build_scheduler
from search.engine.searcher import NUMBER, SETTINGS, AgendaSearcher
from search.engine.stop import EndOfEpoch, Stop
from search.engine.store import Store
from search.engine.trackers import trackers_of
from search.engine.trial import TrialJob, train_trial
from search.engine.watchdog import Watchdog
from search.labels import trial_label
from search.mirror import Mirror
from search.optuna_study import optuna_study
from search.outcome import Outcome
from search.packing import Packing
from search.recovery import recover
from search.resources import (
    Machine,
    Machines,
    concurrent_trials,
    on_its_device,
    processes_of,
    shares_a_gpu,
    trial_resources,
)
from search.rules import build_rule
from search.samplers import build_sampler
from search.space import SearchSpace

Trainable: TypeAlias = Callable[[Mapping[str, Any], TrialJob], None]


def run_trials(
    config: SearchConfig,
    space: SearchSpace,
    cluster: Cluster,
    corpus: Path,
    console: Console,
    provenance: Provenance,
    sampler: BaseSampler | None = None,
    changes: Sequence[str] = (),
    trainable: Trainable = train_trial,
    packing: Packing | None = None,
    mirror: Mirror | None = None,
) -> Outcome:
    """Run a study's trials, or those that are left of them, and say why that came to an end.

    Everything is in the study's folder afterwards: events, Optuna's storage, checkpoints, reports.

    Args:
        provenance: of this process.
        sampler: who suggests settings; None is the one that the configuration names.
        changes: what is not as it was when the study began.
        trainable: what a trial does; another one than the shared trainer drives the same engine without training.
        packing: what `trial.gpus` comes from, where that was measured.
        mirror: to the address that the study is kept at; None for one of this machine, or of a folder that all share.

    Raises:
        ConfigError: a trial asks for more than the cluster has; it would wait for ever. Or the space has nothing
            that the scheduler could work with.
        StudyError: the journal is damaged, the disk is full, or Ray has died.
        KeyboardInterrupt: a second Ctrl-C; what was recorded until then is kept.
    """
    folder, epochs = config.folder().resolve(), config.train.epochs
    cpus, gpus = trial_resources(config, cluster)
    chronicle = Chronicle(folder)
    stop = Stop(config.budget, chronicle)
    rule = build_rule(config.scheduler, epochs)
    scheduler = build_scheduler(config, space, stop, rule)
    recovery = recover(rule, chronicle.earlier(), chronicle.replay, epochs)
    sampler = sampler or build_sampler(config.sampler, config.seed, space)
    keeper = Keeper.of(config, folder, chronicle.replay, mirror)
    observer = Observer(folder, chronicle, console, stop, rule, keeper, epochs, config.disk.reserve * GIGABYTE, mirror)
    training = on_its_device(config.training(), cpus, gpus)
    needed = packing.memory_bytes if packing is not None else None
    shared = rule is not None and shares_a_gpu(config)  # a population is begun once, and takes nobody in again
    threads, processes = cpus if gpus == 0 else None, processes_of(gpus)
    store = Store.of(folder, corpus, config, mirror)
    if mirror is not None:
        mirror.say = console.say
    job = TrialJob(training, store.corpus, threads, store.scratch, shared, needed, processes, store.study)

    chronicle.begin(
        str(provenance.code),
        provenance.command_line,
        asdict(config.budget),
        list(changes),
        asdict(config.confirm),
        asdict(packing) if packing is not None else None,
    )
    if config.budget.hours is not None:
        console.deadline = time.monotonic() + 3600 * config.budget.hours - chronicle.used.seconds
    observer.recovered(recovery)  # before Optuna's study is made: what had ended is to have ended there, too
    waiting = rule.waiting if rule is not None else ()
    study = optuna_study(folder, sampler, space, chronicle.replay.trials(), waiting)
    agenda = Agenda(config, space, chronicle, rule, recovery, study)
    watchdog = Watchdog(config.study, config.trial.hang_minutes, console.say)
    interruption = Interruption(stop, config.trial.grace_seconds, console.say, folder / STOP_FILE)
    train = tune.with_parameters(trainable, job=job)
    train.__name__ = f"trials of {config.study}"  # what the dashboard calls the processes
    gauges, trackers = Gauges(config.study, chronicle), trackers_of(config, chronicle, console.say)
    searcher = ConcurrencyLimiter(
        AgendaSearcher(agenda, epochs, stop), _trials_alive(config, concurrent_trials(cluster, cpus, gpus))
    )
    elastic = _elastic(config, cluster, searcher, cpus, gpus, console.say)
    tuner = tune.Tuner(
        tune.with_resources(train, request_of(cpus, gpus)),
        tune_config=_how(searcher, scheduler),
        run_config=tune.RunConfig(
            name=str(chronicle.session),
            storage_path=store.path,
            storage_filesystem=store.filesystem,
            verbose=0,
            callbacks=[observer, watchdog, *elastic, interruption, gauges, *trackers],
            stop=EndOfEpoch(stop),
            failure_config=tune.FailureConfig(max_failures=config.trial.retries),
        ),
    )
    with interruption.handled():
        try:
            with watchdog.aside(), nodes_may_die() if elastic else nullcontext():
                _quietly(tuner)
        except KeyboardInterrupt:
            stop.interrupted = True
            raise
        except Exception as error:
            stop.error = stop.error or error
        finally:
            interruption.closing()
            _finish(observer, agenda)
    return _outcome(stop, console)


def _how(searcher: Searcher, scheduler: TrialScheduler) -> tune.TuneConfig:
    return tune.TuneConfig(
        num_samples=-1,  # the agenda says when there is no more
        search_alg=searcher,
        scheduler=scheduler,
        reuse_actors=True,  # a new process would import torch anew, which takes longer than a short epoch
        trial_name_creator=lambda trial: trial_label(trial.config[NUMBER], trial.config[SETTINGS]),
        trial_dirname_creator=_folder_name,
    )


def _quietly(tuner: tune.Tuner) -> None:
    """Trials that fail are told by the console."""
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tuner.fit()


def _outcome(stop: Stop, console: Console) -> Outcome:
    """How the search ended; or the error that ended it, unless somebody was ending it anyway."""
    if stop.error is not None and stop.reason == Outcome.INTERRUPTED:
        console.say(f"while the search was ending: {type(stop.error).__name__}: {stop.error}")
    elif stop.error is not None and stop.reason != Outcome.DISK_FULL:
        raise stop.error
    return stop.reason


def _finish(observer: Observer, agenda: Agenda) -> None:
    try:
        observer.finish()
        agenda.close()
    except OSError as error:
        raise StudyError(
            f"{error.strerror or error} ({observer.study}): what was written down before is safe; make room, then "
            f"`python -m search.run resume={observer.study.name}`"
        ) from None


def _elastic(
    config: SearchConfig,
    cluster: Cluster,
    searcher: ConcurrencyLimiter,
    cpus: int,
    gpus: float,
    say: Callable[[str], None],
) -> list[Elastic]:
    """Who lets more trials run where nodes have joined a cluster, and fewer where they have left it."""

    def abreast(shares: Sequence[Machine]) -> int:
        return _trials_alive(config, concurrent_trials(Machines.of(config.cluster, shares), cpus, gpus))

    return [Elastic(searcher, abreast, cluster.check, say)] if cluster.check is not None else []


def _trials_alive(config: SearchConfig, abreast: int) -> int:
    """As many as run side by side; but a population is alive as a whole, and its trials take turns.

    One more, or Tune would not ask for another one, and never be told that there is none.
    """
    return max(abreast, config.budget.trials or 0) + 1 if config.scheduler.name == "pbt" else abreast


def _folder_name(trial: Any) -> str:
    return f"trial-{trial.config[NUMBER]:04d}-{trial.trial_id}"
