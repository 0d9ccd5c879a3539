"""A study from its first check to its exported best trial; reads top to bottom."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import StudyError
from datasets.prepare import PrepareConfig, prepare
from datasets.shards import PreparedCorpus
from datasets.vocabulary import vocabulary
from results.export import ExportConfig, export
from results.provenance import collect
from results.study import CorpusRecord, StudyRecord, write_study
from search.config import SearchConfig
from search.console import Console
from search.space import SearchSpace

if TYPE_CHECKING:  # it imports Ray
    from search.engine.stop import Outcome


def run_study(config: SearchConfig, spaces: Sequence[str]) -> None:
    """Run a search: prepare, check, train trials, gather, export the best.

    Raises:
        OmrError: anything a user can mend, before the first trial starts and with nothing left behind; or no
            trial was trained to the end.
        KeyboardInterrupt: the search was interrupted; what was trained is recorded and ranked.
    """
    config = named(config, spaces)
    space = SearchSpace(config.space, config.training())
    _refuse_existing(config.folder())

    corpus = _prepared(config)
    check_corpus(config, corpus)

    with _claimed(config.folder()) as folder:
        record = _record(config, spaces, space, corpus)
        write_study(folder, record)
        outcome = _run_trials(config, space, corpus, record)
    _report(config, outcome)


def named(config: SearchConfig, spaces: Sequence[str]) -> SearchConfig:
    """The same search with a name: the space's and the first free number if it has none."""
    if config.study:
        if Path(config.study).name != config.study or config.study.startswith("."):
            raise StudyError(f"study={config.study}: a name is one folder's, without / and without a dot in front")
        return config
    stem = "-".join(spaces)
    free = (f"{stem}-{number}" for number in itertools.count(1))
    return replace(config, study=next(name for name in free if not (Path(config.paths.studies) / name).exists()))


def check_corpus(config: SearchConfig, corpus: PreparedCorpus) -> None:
    """Find out now what would fail every trial later.

    Raises:
        VocabularyError: symbols that the model cannot write, all of them named.
        CorpusError: staves of another size than the model's picture, or longer than it can write.
    """
    from omr_model.data import StaffDataset, check_fits, check_lengths  # torch takes seconds: not before it must

    words = vocabulary(config.model.vocabulary)
    check_fits(config.model, corpus)
    for split in ("train", "validation"):
        staves = corpus.staves(split)
        words.check((staves.semantic(index) for index in range(len(staves))), where=f"{corpus.path} ({split})")
        check_lengths(StaffDataset(staves, words), config.model.max_length)


def _prepared(config: SearchConfig) -> PreparedCorpus:
    data = config.data
    return prepare(
        PrepareConfig(
            data=data.name,
            staff=config.staff().name,
            limit=data.limit,
            seed=data.seed,
            corpora=config.paths.corpora,
        )
    )


def _run_trials(config: SearchConfig, space: SearchSpace, corpus: PreparedCorpus, record: StudyRecord) -> Outcome:
    from search.engine.cluster import local_cluster  # Ray takes seconds: not before every check has passed
    from search.engine.schedulers import rungs
    from search.engine.tuning import concurrent_trials, run_trials, trial_resources

    with local_cluster(config.cluster) as cluster:
        cpus, gpus = trial_resources(config, cluster)
        abreast = concurrent_trials(cluster, cpus, gpus)
        stops = rungs(config.scheduler, config.train.epochs)
        print(f"{'code':<10} {record.provenance.code}")
        print(_heading(config, corpus, f"{abreast} at a time, {_share(cpus, gpus)} each", stops))
        if cluster.dashboard is not None:
            token = f"   token {cluster.token}   (asked for once)" if cluster.token else ""
            print(f"dashboard  {cluster.dashboard}{token}")
        print(flush=True)
        with Console(config.budget.trials, config.train.epochs, stops) as console:
            return run_trials(config, space, cluster, corpus.path, console)


def _heading(config: SearchConfig, corpus: PreparedCorpus, abreast: str, stops: list[int]) -> str:
    model, splits = config.model, corpus.manifest.splits
    size = f"{model.height} x {model.width}"
    counts = ", ".join(f"{counts.staves:,} {split}" for split, counts in splits.items())
    compared = f", compared after epoch {', '.join(map(str, stops))}" if stops else ""
    lines = {
        "study": f"{config.study}   in {_shown(config.folder())}",
        "model": f"{size} staves, {_depths(config)}, vocabulary {model.vocabulary}",
        "corpus": f"{corpus.path.name}: {counts} staves   {corpus.manifest.content_hash[:12]}",
        "search": (
            f"{config.budget.trials} trials of {config.train.epochs} epochs, {config.sampler.name} and "
            f"{config.scheduler.name}{compared}; {abreast}"
        ),
    }
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


def _depths(config: SearchConfig) -> str:
    model = config.model
    return (
        f"backbone {'/'.join(map(str, model.backbone.layers))}, width {model.embedding}, "
        f"depth {model.encoder.depth} and {model.decoder.depth}"
    )


def _share(cpus: int, gpus: float) -> str:
    cores = f"{cpus} core{'s' if cpus > 1 else ''}"
    return f"{gpus:g} GPU and {cores}" if gpus else cores


def _report(config: SearchConfig, outcome: Outcome) -> None:
    """Say what came out, and leave as the outcome wants it: quietly, with an error, or as interrupted."""
    folder = config.folder()
    print(f"\ntables     {_shown(folder)}/reports/  trials.parquet  epochs.parquet  samples.parquet")
    try:
        best = export(ExportConfig(study=config.study, studies=config.paths.studies, to=str(folder / "best")))
    except StudyError as error:
        if outcome != "interrupted":
            raise
        print(f"best trial none: {error}")
    else:
        print(f"best trial {_shown(best.folder)}/report.md\n\n{textwrap.fill(best.verdict, 100)}")
    if outcome != "finished":
        print(f"The search ended early: {outcome}.")
    if outcome == "interrupted":
        raise KeyboardInterrupt


def _record(config: SearchConfig, spaces: Sequence[str], space: SearchSpace, corpus: PreparedCorpus) -> StudyRecord:
    return StudyRecord(
        name=config.study,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance=collect(),
        config=dataclasses.asdict(config),
        space=tuple(spaces),
        parameters=tuple(space.targets),
        corpus=CorpusRecord(corpus.path.name, str(corpus.path), corpus.manifest.content_hash),
        seed=config.seed,
        max_epochs=config.train.epochs,
    )


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise StudyError(
            f"study={folder.name}: there is a study of this name in {folder.parent}; choose another name, or "
            "leave study= out to have one chosen"
        )


@contextmanager
def _claimed(folder: Path) -> Iterator[Path]:
    """Make the study's folder, ours alone; it goes again if the search fails before its first event."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        _refuse_existing(folder)
    try:
        yield folder
    finally:
        if sys.exc_info()[0] is not None and not (folder / "events.jsonl").exists():
            shutil.rmtree(folder)


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)
