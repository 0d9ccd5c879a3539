"""Trials that only pretend to train; a module of its own, so that their processes need not wait for torch.

A trial has an error that shrinks every epoch, the quicker the nearer its learning rate is to 1e-3, and that goes
along with its checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from results.journal import TrialEnded, read
from search.engine.trial import TrialJob

RATE, DEPTH, DROPOUT = "optimizer.learning_rate", "model.decoder.depth", "model.decoder.dropout"
RAISES, DIES_ONCE = 0.21, 0.31
"""Dropouts that end a trial in its third epoch, and that kill its process once, in its fourth."""
COMPLETE, DIVERGES, MELTS, DIES = 0.0, 0.1, 0.2, 0.3
"""Dropouts that end a trial in its second epoch, if not in its last (`end_by_dropout`)."""
HUNGRY, GREEDY = 0.2, 0.4
"""Dropouts of the trial that needs more memory than its share, and than there is (`run_out_of_memory`)."""


def shrinks(rate: float) -> float:
    """What an epoch leaves of the error."""
    return 1 - 0.3 / (1 + abs(math.log10(rate) + 3))


def pretend(config: Mapping[str, Any], job: TrialJob) -> None:
    """Report what the setting makes of the error, from the checkpoint on."""
    from ray import tune

    settings = {DROPOUT: 0.0, **config["settings"]}
    state = {"epoch": 0, "error": 1.0, "depth": settings[DEPTH]}
    last = tune.get_checkpoint()
    for folder in config["checkpoints"][:1] if last is None else [last.path]:
        state = json.loads((Path(folder) / "resume.pt").read_text())
    if state["depth"] != settings[DEPTH]:
        raise RuntimeError(f"weights of depth {state['depth']} for a model of depth {settings[DEPTH]}")
    for epoch in range(int(state["epoch"]) + 1, job.base.train.epochs + 1):
        if settings[DROPOUT] == RAISES and epoch == 3:
            raise RuntimeError("the graphics card has melted")
        if settings[DROPOUT] == DIES_ONCE and epoch == 4 and state["epoch"] != 3:
            os._exit(1)
        error = float(state["error"]) * shrinks(settings[RATE])
        state = {"epoch": epoch, "error": error, "depth": settings[DEPTH]}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "resume.pt").write_text(json.dumps(state))
            metrics = {"epoch": float(epoch), "ser": error, "samples_per_second": 50.0, "seconds": 1.0}
            tune.report(
                {"epoch": epoch, "ser": error, "metrics": metrics}, checkpoint=tune.Checkpoint.from_directory(folder)
            )
        state["epoch"] = 0  # only what a checkpoint says counts as taken up


def pretend_with_slow_base(config: Mapping[str, Any], job: TrialJob) -> None:
    """The base waits until three others have ended."""
    if config["origin"] == "base":
        given_up = time.monotonic() + 120
        while sum(isinstance(event, TrialEnded) for event in read(job.corpus / "events.jsonl")) < 3:
            if time.monotonic() > given_up:
                raise RuntimeError("no three others have ended")
            time.sleep(0.02)
    pretend(config, job)


def pretend_and_interrupt(config: Mapping[str, Any], job: TrialJob) -> None:
    """Trial 3 sends the search a SIGTERM, when others wait for an exchange and others have not begun."""
    if config["number"] == 3:
        os.kill(int((job.corpus / "driver").read_text()), signal.SIGTERM)
        time.sleep(1)
    pretend(config, job)


def train_and_pretend_ser(config: Mapping[str, Any], job: TrialJob) -> None:
    """The real trainer, with a SER that the learning rate decides: after so few steps the real one is chance."""
    from ray import tune

    from search.engine import trial

    def report(result: dict[str, Any], checkpoint: tune.Checkpoint) -> None:
        tune.report({**result, "ser": shrinks(config["settings"][RATE])}, checkpoint=checkpoint)

    trial.tune = SimpleNamespace(report=report, get_checkpoint=tune.get_checkpoint, Checkpoint=tune.Checkpoint)
    try:
        trial.train_trial(config, job)
    finally:
        trial.tune = tune


def pretend_to_train(config: Mapping[str, Any], job: TrialJob) -> None:
    """Within what a real trial does: an error of the training is the trial's end, and is not tried again."""
    from search.engine import trial

    trained, trial._train = trial._train, pretend
    try:
        trial.train_trial(config, job)
    finally:
        trial._train = trained


def end_by_dropout(config: Mapping[str, Any], job: TrialJob) -> None:
    """Report a curve that the dropout decides, and end in the second epoch as it says."""
    from ray import tune

    rate = config["settings"][DROPOUT]
    last = tune.get_checkpoint()
    first = 1 if last is None else int((Path(last.path) / "epoch").read_text()) + 1
    for epoch in range(first, job.base.train.epochs + 1):
        if rate == DIVERGES and epoch == 2:
            tune.report({"epoch": epoch, "ser": 1e6, "diverged": "the loss is no longer finite"})
            return
        if rate == MELTS and epoch == 2:
            raise RuntimeError("the graphics card has melted")
        if rate == DIES and epoch == 2 and last is None:
            os._exit(1)
        _report(epoch, 0.2 + rate + 0.5 / epoch)


def run_out_of_memory(config: Mapping[str, Any], job: TrialJob) -> None:
    """Train as the shared trainer would, but that a setting runs out of memory beside others, and one even alone."""
    from search.engine import trial

    def train(config: Mapping[str, Any], job: TrialJob) -> None:
        rate, alone = config["settings"][DROPOUT], config.get("alone", False)
        reached = max((int(Path(one).name.rpartition("_")[2]) for one in config["checkpoints"]), default=-1) + 1
        for epoch in range(reached + 1, job.base.train.epochs + 1):
            began = time.time()
            _meet(Path(job.scratch).parent, config["number"], seconds=60 if epoch == 1 and not alone else 0)
            if epoch == 3 and (rate == GREEDY or (rate == HUNGRY and not alone)):
                import torch

                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            said = {"number": config["number"], "alone": alone, "pid": os.getpid(), "from": began, "to": time.time()}
            with (Path(job.scratch).parent / "spans.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(said) + "\n")
            _report(epoch, 0.2 + rate / epoch)

    trial._train = train
    trial.train_trial(config, job)


def _meet(folder: Path, number: int, seconds: float) -> None:
    """The first two trials wait for each other, so that they do run side by side."""
    (folder / f"begun-{number}").touch()
    until = time.time() + seconds
    while number < 2 and time.time() < until and len(list(folder.glob("begun-*"))) < 2:
        time.sleep(0.02)
    time.sleep(0.05)


def _report(epoch: int, ser: float) -> None:
    from ray import tune

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "epoch").write_text(str(epoch))
        (Path(folder) / "resume.pt").write_text("state")
        metrics = {"epoch": float(epoch), "ser": ser, "samples_per_second": 50.0, "seconds": 1.0}
        result = {"epoch": epoch, "ser": ser, "metrics": metrics}
        tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))
