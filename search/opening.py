"""The start of a search, as lines of a name and a text: what is searched, trained on what, and where to watch it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from datasets.addresses import is_address, joined
from datasets.shards import PreparedCorpus
from search.closing import shown
from search.config import SearchConfig
from search.lines import counted, limits, share_text
from search.resources import concurrent_trials, trial_resources
from search.rules import describe
from search.samplers import grid_size
from search.space import SearchSpace

if TYPE_CHECKING:
    from search.engine.cluster import Cluster  # it imports Ray, which takes seconds


def what_is_searched(
    config: SearchConfig, space: SearchSpace, corpus: PreparedCorpus, cluster: Cluster
) -> Iterator[tuple[str, str]]:
    """The study, its model, its corpus and its trials."""
    share = trial_resources(config, cluster)
    studies, manifest = config.paths.studies, corpus.manifest
    kept = f", kept at {joined(studies, config.study)}" if is_address(studies) else ""
    counts = ", ".join(f"{counts.staves:,} {split}" for split, counts in manifest.splits.items())
    yield "study", f"{config.study}   in {shown(config.folder())}{kept}"
    yield "model", _model(config)
    yield "corpus", f"{corpus.path.name}: {counts} staves   {manifest.content_hash[:12]}"
    search = (
        f"{counted(len(space.parameters), 'parameter')} in {trials_text(config)}; {_order(config, space)}; "
        f"{describe(config.scheduler, config.train.epochs)}; {concurrent_trials(cluster, *share)} at a time, "
        f"{share_text(*share)} each"
    )
    yield "search", search
    trials, parameters = config.budget.trials, len(space.parameters)
    if trials is not None and trials < parameters:
        many = f"{counted(trials, 'trial')} for {parameters} parameters"
        yield "note", f"{many} are a demonstration: expect undecided or reject"


def where_to_watch(config: SearchConfig, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The dashboard, the metrics and the trackers, and what is to be said of the cluster."""
    if cluster.dashboard is not None:
        token = f"   token {cluster.token}   (asked for once)" if cluster.token else ""
        yield "dashboard", f"{cluster.dashboard}{token}"
    if cluster.metrics is not None:
        yield "metrics", cluster.metrics
    for remark in cluster.remarks:
        yield "cluster", remark
    if config.trackers:
        yield "trackers", f"{', '.join(config.trackers)}   in {shown(config.folder())}/trackers"


def trials_text(config: SearchConfig) -> str:
    """How many trials there will be, or what else ends the search: `8 trials of 9 epochs`."""
    ends, epochs = limits(config.budget), config.train.epochs
    if config.budget.trials is not None and len(ends) == 1:
        return f"{ends[0]} of {epochs} epochs"
    return f"trials of {epochs} epochs, up to {' or '.join(ends)}"


def job_description(config: SearchConfig) -> dict[str, str]:
    """What Ray's dashboard says of the search, which is a job to it; `job_name` is in its list of jobs."""
    return {
        "job_name": f"{config.study}: {trials_text(config)}, {config.sampler.name} and {config.scheduler.name}",
        "study": config.study,
        "searched": ", ".join(config.space.parameters),
        "folder": str(config.folder().resolve()),
    }


def _model(config: SearchConfig) -> str:
    model = config.model
    layers = "/".join(map(str, model.backbone.layers))
    return (
        f"{model.height} x {model.width} staves, backbone {layers}, width {model.embedding}, "
        f"depth {model.encoder.depth} and {model.decoder.depth}, vocabulary {model.vocabulary}"
    )


def _order(config: SearchConfig, space: SearchSpace) -> str:
    """What is trained before the sampler's first trial, and who suggests the others."""
    others = min(space.queued, config.budget.trials or space.queued) - 1
    first = "the base first" if others < 1 else f"the base and {others} more that are given first"
    sampler = config.sampler.name if space.resolution is None else f"a grid of {grid_size(space)} settings"
    return f"{first}, then {sampler}"
