"""`plan=true`: what a search will cost, by a moment of its own training; nothing is run and nothing left behind."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import optuna

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig
from results.provenance import collect
from results.ranking import BASE
from search.config import SearchConfig
from search.corpus import PlannedCorpus, fitted, planned_corpus, preparation
from search.cost import Measurement, Schedule, cost, trials_within
from search.lines import limits, say
from search.measure import Job, gpu_of, measure, visible_gpus
from search.packing import packed
from search.plan_text import (
    between,
    corpus_text,
    disk_text,
    measured_text,
    memory_text,
    origin_text,
    plan_text,
    search_text,
    trial_text,
)
from search.resources import Slots, on_its_device, slots_of, this_machine
from search.rules import describe
from search.rungs import average_epochs
from search.samplers import grid_size
from search.space import SearchSpace
from search.study import check_trainings, sampler_of, space_of

FEWEST_SETTINGS = 3
SECONDS_FOR_ROUNDS = 60.0  # no round of measurements begins later


@dataclass(frozen=True)
class Setting:
    """A training out of the space, and what it is called: `base`, `drawn`, or where it comes from."""

    label: str
    training: TrainingConfig


def plan(config: SearchConfig, spaces: Sequence[str]) -> None:
    """Measure for a moment, and print what the search would cost.

    Raises:
        OmrError: what the search itself would refuse, or a measurement that failed.
    """
    began, load = time.monotonic(), os.getloadavg()[0]
    space = space_of(config)
    sampler_of(config, space)
    slots = slots_of(config, this_machine())
    say("plan", plan_text(config, spaces, _trials(config)))

    with planned_corpus(preparation(config)) as corpus:
        if corpus.whole is None:
            config = fitted(config, corpus.corpus.manifest.sources)
            space = space_of(config)
            check_trainings(config, space, corpus.corpus)
        hardware = collect().hardware
        config, _ = packed(config, space, corpus.corpus.path, hardware.gpus, partial(say, "packing"))
        slots = slots_of(config, slots.machine)
        say("corpus", corpus_text(preparation(config).folder.name, corpus))
        settings = settings_to_measure(space, slots.beside, config.seed)
        measured = _measure_in_rounds(settings, corpus, slots)

    fitting = None
    if _trials(config) is None:
        fitting = trials_within(_seconds(config, slots), measured, partial(_unlimited, config, space, slots))
    schedule = schedule_of(config, space, slots, round(fitting.likely) if fitting else None)
    estimate = cost(measured, schedule)
    say("measured", measured_text(measured, slots, hardware))
    say("memory", memory_text(measured, slots))
    say("a trial", trial_text(estimate, schedule))
    if fitting is not None:
        say("trials", f"in {' or '.join(limits(config.budget))}: about {between(fitting.low, fitting.high)}")
    say("search", search_text(estimate, schedule, describe(config.scheduler, config.train.epochs)))
    say("disk", disk_text(estimate, corpus))
    say("from", origin_text(config, slots, time.monotonic() - began, load))


def settings_to_measure(space: SearchSpace, beside: int, seed: int) -> list[Setting]:
    """The base, settings drawn at random, and if there is room the space's first points; none of them twice.

    As many as fill rounds of `beside` measurements, three at the least, or fewer where the space has not so many.
    """
    wanted = beside * math.ceil(FEWEST_SETTINGS / beside)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    draws = [space.settings(space.draw(study.ask())) for _ in range(4 * wanted)]
    points = [(origin, space.settings(values)) for values, origin in space.points]
    drawn = [Setting("drawn", space.training(settings)) for settings in draws]
    given = [Setting(origin, space.training(settings)) for origin, settings in points]
    candidates = [Setting(BASE, space.base), *drawn[: FEWEST_SETTINGS - 1], *given, *drawn[FEWEST_SETTINGS - 1 :]]
    different: list[Setting] = []
    for setting in candidates:
        if all(setting.training != other.training for other in different):
            different.append(setting)
    return different[:wanted]


def _measure_in_rounds(settings: Sequence[Setting], corpus: PlannedCorpus, slots: Slots) -> list[Measurement]:
    """Measure as many at a time as trials will run; a last round that is not full is filled up with the base."""
    began = time.monotonic()
    measured: list[Measurement] = []
    everything = [*settings, *[settings[0]] * (-len(settings) % slots.beside)]
    for first in range(0, len(everything), slots.beside):
        if measured and time.monotonic() - began > SECONDS_FOR_ROUNDS:
            break
        chosen = everything[first : first + slots.beside]
        measured += measure([_job(setting, slot, corpus, slots) for slot, setting in enumerate(chosen)])
    return measured


def _job(setting: Setting, slot: int, corpus: PlannedCorpus, slots: Slots) -> Job:
    training = on_its_device(setting.training, slots.cpus, slots.gpus)
    if corpus.whole is not None:  # a sample may lack a source that has a weight; which staves are drawn costs nothing
        mix = replace(training.train.mix, weights={})
        training = replace(training, train=replace(training.train, mix=mix))
    return Job(
        label=setting.label,
        training=training,
        corpus=corpus.corpus.path,
        scale=corpus.scale,
        threads=slots.cpus if slots.gpus == 0 else None,
        device=gpu_of(slot, slots.gpus, visible_gpus(slots.machine.gpus)),
    )


def _trials(config: SearchConfig) -> int | None:
    """How many trials there will be, or about how many a budget of epochs allows; None if only time limits them."""
    budget, epochs = config.budget.epochs, config.train.epochs
    if config.budget.trials is not None or budget is None:
        return config.budget.trials
    many = average_epochs(config.scheduler, epochs, budget)  # what a trial takes where there are many
    return max(1, round(budget / ((many.low + many.high) / 2)))


def _seconds(config: SearchConfig, slots: Slots) -> float:
    """The longest that a search without another limit takes.

    Raises:
        ConfigError: GPU hours are its only limit, and it uses no GPU.
    """
    hours, gpu_hours = config.budget.hours, config.budget.gpu_hours
    gpus = slots.gpus * slots.abreast
    each = [limit for limit in (hours, gpu_hours / gpus if gpu_hours and gpus else None) if limit is not None]
    if not each:
        raise ConfigError(
            "budget.gpu_hours: trials use no GPU here, so it ends nothing; name budget.trials or budget.hours"
        )
    return 3600 * min(each)


def _unlimited(config: SearchConfig, space: SearchSpace, slots: Slots, trials: int) -> Schedule:
    return replace(schedule_of(config, space, slots, trials), hours=None)


def schedule_of(config: SearchConfig, space: SearchSpace, slots: Slots, fitting: int | None = None) -> Schedule:
    """What is to be run.

    Args:
        fitting: how many trials, where only time limits them.
    """
    epochs = config.train.epochs
    trials = fitting or _trials(config) or 1
    if space.resolution is not None:
        trials = min(trials, 1 + grid_size(space))  # the base, which may lie outside of the grid
    top = min(config.judged, trials - 1)
    takes_turns = config.scheduler.name == "pbt" and trials > slots.abreast
    return Schedule(
        trials=trials,
        epochs=average_epochs(config.scheduler, epochs, trials),
        starts=math.ceil(epochs / config.scheduler.grace_epochs) if takes_turns else 1,
        abreast=slots.abreast,
        gpus=slots.gpus,
        hours=config.budget.hours,
        rounds=config.confirm.rounds,
        again=top + 1 if top else 0,
    )
