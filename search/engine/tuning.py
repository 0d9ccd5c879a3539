"""One Tuner, built and run to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
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
from search.engine import keys
from search.engine.cluster import Cluster
from search.engine.elastic import Elastic, nodes_may_die
from search.engine.gauges import Gauges
from search.engine.interruption import Interruption
from search.engine.keeper import Keeper
from search.engine.observer import Observer
from search.engine.placement import request_of
from search.engine.places import Places
from search.engine.schedulers import build_scheduler
from search.engine.searcher import AgendaSearcher
from search.engine.stop import EndOfEpoch, Stop
from search.engine.trackers import trackers_of
from search.engine.trial import TrialJob, train_trial
from search.engine.watchdog import Watchdog
from search.labels import trial_label
from search.mirror import Mirror
from search.optuna_study import optuna_study
from search.outcome import Outcome
from search.packing import Packing
from search.recovery import Recovery, recover
from search.resources import (
    Machine,
    Machines,
    concurrent_trials,
    on_its_device,
    processes_of,
    shares_a_gpu,
    trial_resources,
)
from search.rules import Rule, build_rule
from search.samplers import build_sampler
from search.space import SearchSpace

Trainable: TypeAlias = Callable[[Mapping[str, Any], TrialJob], None]


@dataclass(frozen=True)
class Session:
    """What there is before a session of a search begins; nothing of it has written into the journal.

    Attributes:
        cpus, gpus: of one trial.
        recovery: what earlier sessions have left to be gone on with.
        job: what all trials share.
        places: where they find and leave what is not in the journal.
    """

    config: SearchConfig
    cluster: Cluster
    console: Console
    cpus: int
    gpus: float
    chronicle: Chronicle
    stop: Stop
    rule: Rule | None
    scheduler: TrialScheduler
    recovery: Recovery
    observer: Observer
    job: TrialJob
    places: Places

    @classmethod
    def of(
        cls,
        config: SearchConfig,
        space: SearchSpace,
        cluster: Cluster,
        corpus: Path,
        console: Console,
        corpus_hash: str | None,
        memory_bytes: int | None,
        mirror: Mirror | None,
    ) -> Session:
        """Read what was written, and see that the search can go on.

        Args:
            memory_bytes: as in `TrialJob`.

        Raises:
            ConfigError, StudyError: as `run_trials`.
        """
        folder, epochs = config.folder().resolve(), config.train.epochs
        cpus, gpus = trial_resources(config, cluster)
        chronicle = Chronicle(folder)
        stop = Stop(config.budget, chronicle)
        rule = build_rule(config.scheduler, epochs)
        scheduler = build_scheduler(config, space, stop, rule)
        recovery = recover(rule, chronicle.earlier(), chronicle.replay, epochs)
        keeper = Keeper.of(config, folder, chronicle.replay, mirror)
        reserve = config.disk.reserve * GIGABYTE
        observer = Observer(folder, chronicle, console, stop, rule, keeper, epochs, reserve, mirror)
        places = Places.of(folder, corpus, config, mirror, chronicle.session + 1)
        job = TrialJob(
            base=on_its_device(config.training(), cpus, gpus),
            corpus=places.corpus,
            threads=cpus if gpus == 0 else None,
            scratch=places.scratch,
            shared=rule is not None and shares_a_gpu(config),  # a population is begun once, and takes nobody in again
            memory_bytes=memory_bytes,
            processes=processes_of(gpus),
            study=places.study,
            corpus_hash=corpus_hash,
        )
        return cls(
            config, cluster, console, cpus, gpus, chronicle, stop, rule, scheduler, recovery, observer, job, places
        )


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
    corpus_hash: str | None = None,
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
        corpus_hash: of the corpus; a trial that finds another one there ends the search.

    Raises:
        ConfigError: a trial asks for more than the cluster has; it would wait for ever. Or the space has nothing
            that the scheduler could work with. Or a node has joined that would train otherwise.
        StudyError: the journal is damaged, the disk is full, or Ray has died.
        KeyboardInterrupt: a second Ctrl-C; what was recorded until then is kept.
    """
    memory_bytes = packing.memory_bytes if packing is not None else None
    session = Session.of(config, space, cluster, corpus, console, corpus_hash, memory_bytes, mirror)
    sampler = sampler or build_sampler(config.sampler, config.seed, space)
    if mirror is not None:
        mirror.say = console.say
    _begin(session, provenance, changes, packing)
    agenda = _agenda(session, space, sampler, None if mirror is None else mirror.settle)
    watchdog = Watchdog(config.study, config.trial.hang_minutes, console.say)
    word = session.observer.study / STOP_FILE
    interruption = Interruption(session.stop, config.trial.grace_seconds, console.say, word)
    tuner = _tuner(session, agenda, trainable, watchdog, interruption)
    with interruption.handled():
        try:
            with watchdog.aside(), nodes_may_die() if cluster.check is not None else nullcontext():
                _quietly(tuner)
        except KeyboardInterrupt:
            session.stop.interrupted = True
            raise
        except Exception as error:
            session.stop.error = session.stop.error or error
        finally:
            interruption.closing()
            _finish(session.observer, agenda)
    return _outcome(session.stop, console)


def _begin(session: Session, provenance: Provenance, changes: Sequence[str], packing: Packing | None) -> None:
    """Write down that it begins, and what has become of the trials before it."""
    config, chronicle = session.config, session.chronicle
    chronicle.begin(
        str(provenance.code),
        provenance.command_line,
        asdict(config.budget),
        list(changes),
        asdict(config.confirm),
        asdict(packing) if packing is not None else None,
    )
    if config.budget.hours is not None:
        session.console.deadline = time.monotonic() + 3600 * config.budget.hours - chronicle.used.seconds
    session.observer.recovered(session.recovery)


def _agenda(session: Session, space: SearchSpace, sampler: BaseSampler, settle: Callable[[], None] | None) -> Agenda:
    """What is trained next, once what had ended has ended in the journal: it is to have in Optuna's study, too."""
    config, chronicle, rule = session.config, session.chronicle, session.rule
    waiting = rule.waiting if rule is not None else ()
    study = optuna_study(session.observer.study, sampler, space, chronicle.replay.trials(), waiting)
    return Agenda(config, space, chronicle, rule, session.recovery, study, settle)


def _tuner(
    session: Session, agenda: Agenda, trainable: Trainable, watchdog: Watchdog, interruption: Interruption
) -> tune.Tuner:
    config, console, places = session.config, session.console, session.places
    cpus, gpus = session.cpus, session.gpus
    train = tune.with_parameters(trainable, job=session.job)
    train.__name__ = f"trials of {config.study}"  # what the dashboard calls the processes
    searcher = ConcurrencyLimiter(
        AgendaSearcher(agenda, config.train.epochs, session.stop),
        _trials_alive(config, concurrent_trials(session.cluster, cpus, gpus)),
    )
    gauges, trackers = Gauges(config.study, session.chronicle), trackers_of(config, session.chronicle, console.say)
    elastic = _elastic(session, searcher)
    return tune.Tuner(
        tune.with_resources(train, request_of(cpus, gpus)),
        tune_config=_how(searcher, session.scheduler),
        run_config=tune.RunConfig(
            name=str(session.chronicle.session),
            storage_path=places.path,
            storage_filesystem=places.filesystem,
            verbose=0,
            callbacks=[session.observer, watchdog, *elastic, interruption, gauges, *trackers],
            stop=EndOfEpoch(session.stop),
            failure_config=tune.FailureConfig(max_failures=config.trial.retries),
        ),
    )


def _how(searcher: Searcher, scheduler: TrialScheduler) -> tune.TuneConfig:
    return tune.TuneConfig(
        num_samples=-1,  # the agenda says when there is no more
        search_alg=searcher,
        scheduler=scheduler,
        reuse_actors=True,  # a new process would import torch anew, which takes longer than a short epoch
        trial_name_creator=lambda trial: trial_label(trial.config[keys.NUMBER], trial.config[keys.SETTINGS]),
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


def _elastic(session: Session, searcher: ConcurrencyLimiter) -> list[Elastic]:
    """Who lets more trials run where nodes have joined a cluster, and fewer where they have left it."""
    config, cluster, stop, say = session.config, session.cluster, session.stop, session.console.say

    def abreast(shares: Sequence[Machine]) -> int:
        machines = Machines.of(config.cluster, shares)
        return _trials_alive(config, concurrent_trials(machines, session.cpus, session.gpus))

    if cluster.check is None:
        return []
    return [Elastic(searcher, abreast, cluster.check, cluster.checked, config.study, stop, say)]


def _trials_alive(config: SearchConfig, abreast: int) -> int:
    """As many as run side by side; but a population is alive as a whole, and its trials take turns.

    One more, or Tune would not ask for another one, and never be told that there is none.
    """
    return max(abreast, config.budget.trials or 0) + 1 if config.scheduler.name == "pbt" else abreast


def _folder_name(trial: Any) -> str:
    return f"trial-{trial.config[keys.NUMBER]:04d}-{trial.trial_id}"
