"""What Ray and Tune add to a search's driver: `python -m tests.benchmarks.scale_tune gpus=1,4,16`.

Where `tests.benchmarks.scale` has no Ray, this has little else: a real cluster of pretended GPUs on this machine, each
with a process of a trial that sleeps in place of training, and reports. Told is what the driver's process takes of CPU
for an epoch, with so many trials alive; the processes of the trials and Ray's own are not in it. The machine bears some
dozens of them and no thousand: what counts is whether an epoch costs more where more trials are alive.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.command_line import main
from results.gather import gather
from results.provenance import collect
from results.study import write_study
from search.compose import compose
from search.config import ClusterConfig
from search.console import Console
from search.engine.cluster import local_cluster
from search.engine.trial import TrialJob
from search.engine.tuning import run_trials
from search.study import space_of
from tests.studies import metrics, study_record


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What is run.

    Attributes:
        gpus: pretended ones, and so trials alive; one search each, commas between.
        trials: of each search.
        epochs: of a trial.
        seconds: that an epoch sleeps for each GPU there is, so that all searches report as often.
    """

    gpus: str = "1,4,16"
    trials: int = 32
    epochs: int = 10
    seconds: float = 0.05


def sleep(_: Mapping[str, Any], job: TrialJob) -> None:
    """A trial of nothing: its length is in `train.epochs`, an epoch's in `train.seed`, in milliseconds."""
    from ray import tune

    for epoch in range(1, job.base.train.epochs + 1):
        time.sleep(job.base.train.seed / 1000)
        ser = 0.2 + 0.5 / epoch
        tune.report({"epoch": epoch, "ser": ser, "metrics": metrics(epoch, ser)})


def measure(config: TuneConfig) -> None:
    """Run a search for each number of GPUs.

    python -m tests.benchmarks.scale_tune gpus=1,4,16
    """
    first = 0.0
    for count in map(int, config.gpus.split(",")):
        cost = _cost(config, count)
        first = first or cost
        print(
            f"{count:>4} trials alive: {1000 * cost:.3g} ms of the driver's CPU an epoch, {cost / first:.3g} times",
            flush=True,
        )


def _cost(config: TuneConfig, gpus: int) -> float:
    """Seconds of the driver's CPU for an epoch, the search's start and end included."""
    with tempfile.TemporaryDirectory() as folder:
        search = compose(
            [
                *("space=dropout", "model=tiny", "study=tune", "sampler=random", "scheduler=none", "confirm.top=0"),
                *(f"budget.trials={config.trials}", f"train.epochs={config.epochs}", "trial.gpus=1"),
                *(f"train.seed={round(1000 * config.seconds * gpus)}", f"paths.studies={folder}", "disk.reserve=0"),
            ]
        )
        search.folder().mkdir()
        write_study(search.folder(), study_record("tune", tuple(space_of(search).roles)))
        with (
            local_cluster(ClusterConfig(cpus=gpus, gpus=gpus, dashboard=False)) as cluster,
            Console(None, config.epochs, (), stream=io.StringIO()) as console,
        ):
            began = time.process_time()
            run_trials(search, space_of(search), cluster, Path(folder), console, collect(), trainable=sleep)
            spent = time.process_time() - began
        return spent / gather(search.folder()).epochs.num_rows


if __name__ == "__main__":
    main(measure, TuneConfig())
