"""Room on the disk: how much there is, how much a search will take, and a refusal where that is more.

The size of a checkpoint is known before anything is trained: the model is built on torch's "meta" device, which has
shapes and no numbers. That needs torch, which takes seconds to import, so it is done in a process of its own.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna

from datasets.errors import OmrError, StudyError
from omr_model.config import ModelConfig
from search.config import SearchConfig
from search.resources import capacity, concurrent_trials, this_machine, trial_resources
from search.rungs import halving_rungs
from search.space import SearchSpace

GIGABYTE = 1e9
DRAWN, BUILT = 64, 12  # settings drawn from the space, and different models among them that are looked at
MOMENTS = 2  # AdamW keeps two numbers for each weight
NAME_BYTES, STATE_BYTES = 120, 650  # a tensor takes beside its numbers, in model.safetensors and in resume.pt
STAFF_BYTES, UNKNOWN_STAVES = 150, 1000  # a row of samples.parquet; staves where the configuration leaves them open
DESCRIPTION_BYTES = 6000
WHOLE_KEPT = 2  # as search.engine.keeper has it: the last two of a trial that runs


@dataclass(frozen=True)
class Estimate:
    """Bytes that a search takes on the disk.

    Attributes:
        weights, resume: of the parts of a checkpoint, for the largest of the models looked at.
        live: of a trial that runs, or that waits to go on.
        kept: of one that was trained to the end.
        total: of all trials, as far as the budget says how many; no more than `disk.cap` where that can be held.
    """

    weights: int
    resume: int
    live: int
    kept: int
    total: int


@dataclass(frozen=True)
class Parts:
    """Bytes of weights and of resume state, and how many trials run side by side."""

    weights: int
    resume: int
    abreast: int


def free_bytes(path: Path) -> int:
    """What may still be written where a folder is, or will be."""
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def bytes_under(folder: Path) -> int:
    """What the files of a folder take, also while another process deletes some; 0 if there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(where) / name).lstat().st_size
    return total


def check_room(path: Path, needed: float, reserve: float, there: int = 0) -> None:
    """Refuse what does not fit; all in bytes.

    Args:
        path: where it is to be.
        needed: by all of the search.
        reserve: that is to stay free.
        there: that the search, which is taken up again, has already of what it needs.

    Raises:
        StudyError: it does not.
    """
    free, more = free_bytes(path), max(0, needed - there)
    if more + reserve <= free:
        return
    left = free + there - reserve
    cap = f"set a cap (disk.cap={math.floor(left / 1e8) / 10:g})" if left >= 1e8 else ""
    ways = [cap, "take fewer trials (budget.trials) or another folder (paths.studies)"]
    if there:  # its trials and its folder stay what they are
        ways = [cap, "make room"]
    raise StudyError(
        f"paths.studies={path}: the search needs about {more / GIGABYTE:.3g} GB{' more' if there else ''} and "
        f"{reserve / GIGABYTE:g} GB are to stay free (disk.reserve), but there are {free / GIGABYTE:.3g} GB; "
        f"{', '.join(filter(None, ways))}"
    )


def estimate(config: SearchConfig) -> Estimate | None:
    """What a search will take, in the ten seconds that a process needs to import torch; it may be called in a thread.

    None where it cannot be told; whatever is wrong then, the search itself says it better.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            return total(config, pool.submit(measured, config, _models(config)).result())
    except (OmrError, RuntimeError):  # a setting that no trial could train either, or the process died
        return None
    except OSError:  # a broken pipe: multiprocessing's own helper, which looks after semaphores, died beside it
        return None


def measured(config: SearchConfig, models: Sequence[ModelConfig]) -> Parts:
    """The largest of some models, in a process that may import torch."""
    import torch

    from omr_model.model import TrOMR

    weights = resume = 0
    for model in models:
        with torch.device("meta"):
            built = TrOMR(model)
        weights = max(weights, sum(NAME_BYTES + one.nbytes for one in built.state_dict().values()))
        resume = max(resume, sum(STATE_BYTES + MOMENTS * one.nbytes for one in built.parameters()))
    allowed = capacity(config.cluster, this_machine())
    return Parts(weights, resume, concurrent_trials(allowed, *trial_resources(config, allowed)))


def total(config: SearchConfig, parts: Parts) -> Estimate:
    """From the parts of a checkpoint to all of a search. Arithmetic alone."""
    staves = config.train.validation_staves or UNKNOWN_STAVES
    samples = staves * STAFF_BYTES + DESCRIPTION_BYTES
    kept = 2 * (parts.weights + samples)
    live = WHOLE_KEPT * (parts.weights + parts.resume + samples) + parts.weights + samples
    trials = _trials(config)
    completed = _completed(config, trials)
    repeats = config.confirm.rounds * (config.judged + 1) if config.judged else 0
    waits = config.scheduler.name in ("promotion", "pbt")  # nobody is stopped for good before the end
    alive = trials if waits else min(parts.abreast, trials)
    must_stay = alive * live + (config.confirm.top + 3) * parts.weights  # the best few, the base, and the export
    everything = alive * live + (completed + repeats) * kept + trials * samples + parts.weights
    if config.disk.cap is not None:
        everything = min(everything, max(must_stay, round(config.disk.cap * GIGABYTE)))
    return Estimate(parts.weights, parts.resume, live, kept, everything)


def _trials(config: SearchConfig) -> int:
    """How many the budget allows, as far as it says so."""
    budget = config.budget
    by_epochs = None if budget.epochs is None else math.ceil(budget.epochs / config.train.epochs)
    return min((limit for limit in (budget.trials, by_epochs) if limit is not None), default=1)


def _completed(config: SearchConfig, trials: int) -> int:
    """How many are likely to be trained to the end: the base, and of the others one in so many at each rung."""
    if config.scheduler.name not in ("asha", "promotion", "hyperband"):
        return trials
    rungs = halving_rungs(config.scheduler, config.train.epochs)
    return 1 + math.ceil((trials - 1) / float(config.scheduler.reduction_factor) ** len(rungs))


def _models(config: SearchConfig) -> list[ModelConfig]:
    """The base's, and different ones out of the space."""
    space = SearchSpace(config.space, config.training())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(config.seed))
    models = [config.model]
    for _ in range(DRAWN):
        model = space.training(space.settings(space.draw(study.ask()))).model
        if len(models) < BUILT and model not in models:
            models.append(model)
    return models
