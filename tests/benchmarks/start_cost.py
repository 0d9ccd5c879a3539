"""What the start of a trial takes, and of what that consists: `python -m tests.benchmarks.start_cost`.

A real search under Ray, one trial after the other, so that all but the first run in a process that has trained before.
Of each trial the seconds are told

    between     from the end of the trial before, in the same process, to the beginning of this one: Tune, Ray, Optuna
    import      of torch, timm and the trainer
    corpus      opening it
    labels      reading and tokenising them
    model       of the trainer what is left: model, loss and optimiser
    first step  to the end of the first step, less what a later one takes

and as ratios how a later trial's start compares with the first one's, and what share of it each part has.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.command_line import check_range, main

PARTS = ("between", "import", "corpus", "labels", "model", "first step")
ENDED = "OMR_START_COST_ENDED"  # when the trial before ended in this process, by the machine's clock


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """What is measured.

    Attributes:
        trials: one after the other; the first is the one that has to start everything.
        staves: of the corpus, which is engraved anew.
        model: a preset.
        epochs: of a trial, of four steps and a few staves of validation.
        built: the preset whose model is built a few times on the CPU, too, for it alone: that of a paper's size.
    """

    trials: int = 5
    staves: int = 400
    model: str = "tiny"
    epochs: int = 1
    built: str = "paper"

    def __post_init__(self) -> None:
        check_range("trials", self.trials, 3)
        check_range("staves", self.staves, 40)
        check_range("epochs", self.epochs, 1)


def timed_trial(config: Mapping[str, Any], job: Any) -> None:
    """A trial of the search, with a clock on its parts; its seconds go into a file beside the study's checkpoints."""
    began = time.time()
    seconds: dict[str, float] = {"between": began - float(os.environ.get(ENDED, "nan"))}
    with _clock(seconds, "import"):
        from omr_model.trainer import Trainer
        from search.engine.trial import train_trial
    from datasets.shards import PreparedCorpus
    from omr_model import data

    steps: list[float] = []
    with (
        _timed(PreparedCorpus, "open", lambda took: _add(seconds, "corpus", took)),
        _timed(data.StaffDataset, "__init__", lambda took: _add(seconds, "labels", took)),
        _timed(Trainer, "__init__", lambda took: _add(seconds, "trainer", took)),
        _timed(Trainer, "_learn", steps.append),
    ):
        try:
            train_trial(config, job)
        finally:
            seconds["model"] = seconds.pop("trainer", 0.0) - seconds.get("labels", 0.0)
            seconds["first step"] = max(0.0, steps[0] - statistics.median(steps[1:])) if len(steps) > 1 else 0.0
            seconds["number"], seconds["pid"] = config["number"], os.getpid()
            path = Path(job.scratch).parent / f"start-{config['number']}.json"
            path.write_text(json.dumps(seconds), encoding="utf-8")
            os.environ[ENDED] = str(time.time())


def _add(seconds: dict[str, float], part: str, took: float) -> None:
    seconds[part] = seconds.get(part, 0.0) + took


@contextmanager
def _clock(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    _add(seconds, part, time.perf_counter() - began)


@contextmanager
def _timed(owner: type, name: str, told: Callable[[float], None]) -> Iterator[None]:
    """Tell how long each call of a method takes."""
    plain = owner.__dict__[name]
    function = plain.__func__ if isinstance(plain, classmethod) else plain

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            told(time.perf_counter() - began)

    setattr(owner, name, classmethod(timed) if isinstance(plain, classmethod) else timed)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def start_cost(config: StartConfig) -> None:
    """Run the search, and print the table and the ratios."""
    from datasets.prepare import prepare
    from results.provenance import collect
    from results.study import write_study
    from search.compose import compose
    from search.console import Console
    from search.corpus import preparation
    from search.engine.cluster import local_cluster
    from search.engine.tuning import run_trials
    from search.space import SearchSpace
    from tests.studies import study_record

    with tempfile.TemporaryDirectory(prefix="omr-start-") as name:
        folder = Path(name)
        words = [
            *(f"model={config.model}", "space=dropout", f"data.limit={config.staves}", "train.staves_per_epoch=16"),
            *(f"train.epochs={config.epochs}", "train.batch_size=4", "train.validation_staves=4", "train.workers=0"),
            *(f"budget.trials={config.trials}", "confirm.top=0", "scheduler=none", "cluster.cpus=1", "cluster.gpus=0"),
            *("cluster.dashboard=false", "study=starts", "disk.reserve=0"),
            *(f"paths.corpora={folder / 'corpora'}", f"paths.studies={folder}", f"paths.log={folder / 'LOG.md'}"),
        ]
        search = compose(words)
        corpus = prepare(preparation(search), quiet=True)
        space = SearchSpace(search.space, search.training())
        write_study(search.folder(), study_record(search.study, tuple(space.roles)))
        began = time.time()
        with (
            local_cluster(search.cluster) as cluster,
            Console(config.trials, config.epochs, [], stream=io.StringIO()) as console,
        ):
            started = time.time()
            os.environ.pop(ENDED, None)
            run_trials(search, space, cluster, corpus.path, console, collect(), trainable=timed_trial)
        files = sorted(search.folder().rglob("start-*.json"))
        rows = sorted((json.loads(file.read_text()) for file in files), key=lambda row: row["number"])
    _tell(config, rows, started - began)
    _build(config.built)


def _build(preset: str) -> None:
    """Model and optimiser of a preset, built in a process that has built them before."""
    from omr_model.model import TrOMR
    from omr_model.optimizer import adamw
    from omr_model.presets import PRESETS

    training, seconds, used = PRESETS[preset], list[float](), list[float]()
    for _ in range(4):
        began, busy = time.perf_counter(), time.process_time()
        model = TrOMR(training.model)
        adamw(model, training.optimizer)
        seconds.append(time.perf_counter() - began)
        used.append(time.process_time() - busy)
    weights = sum(one.numel() for one in model.parameters()) / 1e6
    print(
        f"model and optimiser of preset {preset} ({weights:.1f} M weights): {statistics.median(seconds[1:]):.2g} s, "
        f"of them {statistics.median(used[1:]):.2g} s of this process"
    )


def _tell(config: StartConfig, rows: list[dict[str, float]], ray_seconds: float) -> None:
    print(f"{config.model}, {config.staves} staves; Ray took {ray_seconds:.1f} s to start; seconds:")
    print("  ".join(f"{part:>10}" for part in ("trial", *PARTS, "all")))
    totals = []
    for row in rows:
        known = [row.get(part, 0.0) for part in PARTS]
        totals.append(sum(value for value in known if value == value))
        print("  ".join([f"{row['number']:>10.0f}", *(f"{value:>10.3f}" for value in (*known, totals[-1]))]))
    reused = [place for place, row in enumerate(rows) if place and row["pid"] == rows[place - 1]["pid"]]
    if not reused:
        print("no process was used again")
        return
    later = statistics.median(totals[place] for place in reused)
    print(f"start of the first trial / of a later one: {totals[0] / later:.3g} (of {len(reused)} in the same process)")
    shares = {part: statistics.median(rows[place].get(part, 0.0) for place in reused) / later for part in PARTS}
    print("shares of a later start: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))


if __name__ == "__main__":
    main(start_cost, StartConfig())
