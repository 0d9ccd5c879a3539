"""A study from its first check to its exported best trial; reads top to bottom."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from optuna.samplers import BaseSampler

from datasets.addresses import is_address, joined, place_of, working_folder
from datasets.errors import ConfigError, LogError, StudyError, StudyOverError
from datasets.manifest import FILE_NAME
from datasets.prepare import prepare
from datasets.shards import PreparedCorpus
from omr_model.fits import check_fits, check_installed, check_labels
from omr_model.mix import check_weights
from results.provenance import Provenance, collect
from results.study import ENGINE_FOLDER, EVENTS_FILE, STUDY_FILE, CorpusRecord, StudyRecord, write_changes, write_study
from results.training_log import read_log
from results.working_copy import study_names
from search.closing import close, entered_if_it_breaks_off
from search.config import SearchConfig
from search.console import Console
from search.corpus import fitted, preparation
from search.disk import GIGABYTE, bytes_under, check_room, estimate, free_bytes
from search.lines import line, say
from search.lock import driving
from search.mirror import Mirror
from search.opening import job_description, what_is_searched, where_to_watch
from search.outcome import Outcome
from search.packing import packed
from search.prior import completed, prior_from_log
from search.resume import changes_since, check_state, study_to_resume
from search.rules import rungs
from search.runtime_env import check_paths_last
from search.samplers import build_sampler
from search.space import WEIGHTS, SearchSpace
from search.tracker_names import check_trackers


def run_study(config: SearchConfig, spaces: Sequence[str]) -> None:
    """Run a search: prepare, check, train trials, gather, export the best.

    Raises:
        OmrError: anything a user can mend, before the first trial starts and with nothing left behind; or no
            trial was trained to the end.
        KeyboardInterrupt: the search was interrupted; what was trained is recorded and ranked.
    """
    check_paths_last(config)
    logged = logged_studies(Path(config.paths.log))
    config = named(config, spaces, logged)
    space = space_of(config)
    sampler = sampler_of(config, space)
    _refuse_existing(config.folder(), logged)

    corpus = prepare(preparation(config))
    if (fit := fitted(config, corpus.manifest.sources)) != config:
        left_out = config.space.parameters.keys() - fit.space.parameters.keys()
        line("left out", f"{', '.join(sorted(left_out))}: {corpus.path.name} has no such sources")
        config, space = fit, space_of(fit)
        sampler = sampler_of(config, space)
    check_trainings(config, space, corpus)

    provenance = collect()
    check_room(working_folder(config.paths.studies), 0, config.disk.reserve * GIGABYTE)
    with _claimed(config.folder()) as mirror:
        folder = config.folder()
        write_study(folder, _record(config, spaces, space, corpus, provenance))
        write_changes(folder, provenance.code)
        with entered_if_it_breaks_off(config):
            outcome = _run_trials(config, space, sampler, corpus, provenance, mirror=mirror)
        close(config, outcome)


def resume_study(words: Sequence[str]) -> None:
    """Go on with a search: one that was interrupted, killed or stopped, or one that is to have more.

    Raises:
        OmrError: anything a user can mend, with the study as it was.
        KeyboardInterrupt: the search was interrupted again.
    """
    study = study_to_resume(words)
    check_paths_last(study.config)
    logged_studies(Path(study.config.paths.log))
    with driving(study.config.folder(), study.force) as mirror:
        config, provenance = study.config, collect()
        written = 0 if mirror is None else mirror.catch_up()
        try:
            check_state(study)
        except StudyOverError:
            if mirror is None or not written:
                raise
            line("written", f"{written} files that were missing at {mirror.remote.address}")
            return
        corpus = prepare(preparation(config))
        changes = changes_since(study, corpus, provenance)
        space = space_of(config)
        sampler = sampler_of(config, space)
        check_trainings(config, space, corpus)
        write_changes(config.folder(), provenance.code)
        with entered_if_it_breaks_off(config):
            outcome = _run_trials(config, space, sampler, corpus, provenance, changes, mirror)
        close(config, outcome)


def logged_studies(log: Path) -> set[str]:
    """Names of the studies in the training log; read before a search starts, as it is written when the search ends.

    Raises:
        LogError: it is damaged, or there is no folder for it.
    """
    if log.exists():
        return {study.name for study in read_log(log).studies()}
    if not log.parent.is_dir():
        raise LogError(f"paths.log={log}: there is no folder {log.parent}")
    return set()


def named(config: SearchConfig, spaces: Sequence[str], logged: Collection[str] = ()) -> SearchConfig:
    """The same search with a name: its spaces' (their number if they are many) and the first free number.

    Args:
        logged: names that are in the training log, so that no entry there is ever replaced by another study's.
    """
    if config.study:
        if Path(config.study).name != config.study or config.study.startswith("."):
            raise StudyError(f"study={config.study}: a name is one folder's, without / and without a dot in front")
        return config
    stem = "-".join(spaces) if len(spaces) <= 3 else f"{len(spaces)}-spaces"
    names = (f"{stem}-{number}" for number in itertools.count(1))
    studies, there = working_folder(config.paths.studies), set(study_names(config.paths.studies))
    taken = there | set(logged)
    return replace(config, study=next(one for one in names if one not in taken and not (studies / one).exists()))


def check_trainings(config: SearchConfig, space: SearchSpace, corpus: PreparedCorpus) -> None:
    """Find out now what would fail every trial later.

    Raises:
        ConfigError: a weight for a source that the corpus does not have; Apex or a tracker is asked for and not
            installed.
        VocabularyError: symbols that a model cannot write, all of them named.
        CorpusError: staves of another size than the model's picture, or longer than it can write.
    """
    check_installed(config.optimizer)
    check_trackers(config.trackers)
    check_fits(config.model, corpus)
    searched = [target.removeprefix(WEIGHTS) for target in space.targets if target.startswith(WEIGHTS)]
    check_weights(
        replace(config.train.mix, weights={**config.train.mix.weights, **dict.fromkeys(searched, 1.0)}),
        corpus.manifest.sources,
    )
    words = {config.model.vocabulary}
    for parameter in space.parameters.values():
        if parameter.target == "model.vocabulary":
            words |= set(parameter.choices)
    for split in ("train", "validation"):
        for vocabulary in sorted(words):
            check_labels(replace(config.model, vocabulary=vocabulary), corpus.staves(split))


def space_of(config: SearchConfig) -> SearchSpace:
    """What is searched: a finite grid for the grid sampler, else the space as it is.

    Raises:
        ConfigError: as `SearchSpace`.
    """
    resolution = config.sampler.resolution if config.sampler.name == "grid" else None
    return SearchSpace(config.space, config.training(), resolution)


def sampler_of(config: SearchConfig, space: SearchSpace) -> BaseSampler:
    """Who suggests settings; with `history=prior`, some of the first around what the training log found good.

    Raises:
        ConfigError: no such sampler, or the log says nothing about the space.
        LogError: it is damaged, or not there.
    """
    prior = None
    if config.history == "prior":
        prior = prior_from_log(completed(read_log(Path(config.paths.log)).runs()), space)
        if prior is None:
            raise ConfigError(
                f"history=prior: no run in {config.paths.log} sets anything that the space moves; "
                "history=points needs none"
            )
    return build_sampler(config.sampler, config.seed, space, prior)


def _run_trials(
    config: SearchConfig,
    space: SearchSpace,
    sampler: BaseSampler,
    corpus: PreparedCorpus,
    provenance: Provenance,
    changes: Sequence[str] = (),
    mirror: Mirror | None = None,
) -> Outcome:
    from search.engine.cluster import Witness, cluster_of  # Ray takes seconds: not before every check has passed
    from search.engine.tuning import run_trials

    hardware = provenance.hardware
    config, packing = packed(config, space, corpus.path, hardware.gpus, partial(line, "packing"))
    disk = ThreadPoolExecutor(1).submit(estimate, config)  # it takes as long as Ray does to start
    seen = [Witness(field, path, field == "paths.studies") for field, path in _shared(config, corpus).items()]
    with cluster_of(config.cluster, job_description(config), seen) as cluster:
        line("code", str(provenance.code))
        for change in changes:
            line("changed", change)
        for name, text in what_is_searched(config, space, corpus, cluster):
            say(name, text)
        if (size := disk.result()) is not None:
            there = bytes_under(config.folder() / ENGINE_FOLDER)
            if mirror is None:
                check_room(config.folder(), size.total, config.disk.reserve * GIGABYTE, there)
            free = f"{free_bytes(config.folder()) / GIGABYTE:,.0f} GB are free"
            where = free if mirror is None else f"at {mirror.remote.address}"
            line("disk", f"about {size.total / GIGABYTE:.2g} GB in the end, {where}")
        for name, text in where_to_watch(config, cluster):
            line(name, text)
        print(flush=True)
        stops = rungs(config.scheduler, config.train.epochs)
        again = (config.judged + 1, config.confirm.rounds) if config.judged else (0, 0)
        with Console(config.budget.trials, config.train.epochs, stops, again=again) as console:
            return run_trials(
                config,
                space,
                cluster,
                corpus.path,
                console,
                provenance,
                sampler,
                changes,
                packing=packing,
                mirror=mirror,
                corpus_hash=corpus.manifest.content_hash,
            )


def _shared(config: SearchConfig, corpus: PreparedCorpus) -> dict[str, Path]:
    """By the field that says where they are: files of the folders that trials read and write, on whatever node."""
    files = {
        "paths.corpora": (config.paths.corpora, corpus.path / FILE_NAME),
        "paths.studies": (config.paths.studies, config.folder() / STUDY_FILE),
    }
    return {field: file.resolve() for field, (place, file) in files.items() if not is_address(place)}


def _record(
    config: SearchConfig, spaces: Sequence[str], space: SearchSpace, corpus: PreparedCorpus, provenance: Provenance
) -> StudyRecord:
    return StudyRecord(
        name=config.study,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance=provenance,
        config=dataclasses.asdict(config),
        space=tuple(spaces),
        roles=space.roles,
        corpus=CorpusRecord(corpus.path.name, _place(config, corpus), corpus.manifest.content_hash),
        seed=config.seed,
        max_epochs=config.train.epochs,
    )


def _place(config: SearchConfig, corpus: PreparedCorpus) -> str:
    """Where the corpus is for everybody."""
    corpora = config.paths.corpora
    return joined(corpora, corpus.path.name) if is_address(corpora) else str(corpus.path)


def _taken(folder: Path) -> StudyError:
    """The error of who chose a name when another search did, and came second."""
    return StudyError(
        f"study={folder.name}: another search has just taken this name in {place_of(folder.parent)}; start again, with "
        "another name if you have named this one"
    )


def _refuse_existing(folder: Path, logged: Collection[str]) -> None:
    where = folder.parent if folder.exists() else "the training log" if folder.name in logged else None
    if where is not None:
        raise StudyError(
            f"study={folder.name}: there is a study of this name in {where}; choose another name, or "
            "leave study= out to have one chosen"
        )


@contextmanager
def _claimed(folder: Path) -> Iterator[Mirror | None]:
    """Make the study's folder and drive it; it goes again if the search fails before its first event.

    At an address another machine may have made one of this name in the meantime, which is not touched.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        raise _taken(folder) from None
    try:
        with ExitStack() as stack:
            try:
                mirror = stack.enter_context(driving(folder))
            except StudyError:
                raise _taken(folder) from None
            if mirror is not None and mirror.copy.known:
                mirror.discarded = True
                raise StudyError(f"study={folder.name}: there is a study of this name at {mirror.remote.address}")
            try:
                yield mirror
            finally:
                if mirror is not None and sys.exc_info()[0] is not None and not (folder / EVENTS_FILE).exists():
                    mirror.discard()
    finally:
        if sys.exc_info()[0] is not None and not (folder / EVENTS_FILE).exists():
            shutil.rmtree(folder)
