"""What a plan says, in lines of a name and a text like those at the head of a search."""

from __future__ import annotations

from collections.abc import Sequence

from results.provenance import Hardware
from results.ranking import BASE
from search.config import SearchConfig
from search.corpus import PlannedCorpus
from search.cost import Cost, Measurement, Schedule
from search.lines import limits, share_text
from search.resources import Slots, trials_on_a_gpu

BUSY = 0.5  # load of each core from which on a measurement is one of a busy machine


def plan_text(config: SearchConfig, spaces: Sequence[str], trials: int | None) -> str:
    """What is planned.

    Args:
        trials: how many; None if only time limits them.
    """
    many = f"{trials} trials" if trials is not None else f"trials for {' or '.join(limits(config.budget))}, each"
    space = f"[{','.join(spaces)}]" if len(spaces) > 1 else spaces[0]
    return (
        f"space={space}: {many} of {config.train.epochs} epochs, "
        f"{config.sampler.name} and {config.scheduler.name}; nothing is run"
    )


def corpus_text(name: str, corpus: PlannedCorpus) -> str:
    """What is prepared, or what is to be."""
    manifest, whole = corpus.corpus.manifest, corpus.whole
    if whole is None:
        counts = ", ".join(f"{counts.staves:,} {split}" for split, counts in manifest.splits.items())
        return f"{name}: {counts} staves, {size(manifest.bytes)}, prepared"
    return (
        f"{name}: not prepared; about {whole.staves:,} staves, {size(whole.bytes)} and {duration(whole.seconds)} of "
        f"preparing, judged by {whole.sampled} of them in a temporary folder"
    )


def measured_text(measured: Sequence[Measurement], slots: Slots, hardware: Hardware) -> str:
    """How fast the base and the others trained, and on what."""
    base, others = [[one for one in measured if (one.label == BASE) is wanted] for wanted in (True, False)]
    text = f"base {_speeds(base)}"
    if others:
        text += f", {len(others)} other setting{'s' if len(others) > 1 else ''} of the space {_speeds(others)}"
    scored = [one.scored_per_second for one in measured]
    where = " and ".join(dict.fromkeys(hardware.gpus)) if slots.gpus else hardware.cpu
    return (
        f"{text}; validation {between(min(scored), max(scored))} staves/s; "
        f"{slots.beside} side by side, {share_text(slots.cpus, slots.gpus)} each, on {where}"
    )


def memory_text(measured: Sequence[Measurement], slots: Slots) -> str:
    """What the trials that share a GPU, or the machine, need of it."""
    together = min(slots.abreast, trials_on_a_gpu(slots.gpus)) if slots.gpus else slots.abreast
    most, limit = max(one.memory_bytes for one in measured), min(one.memory_limit_bytes for one in measured)
    where = "a GPU's" if slots.gpus else "the machine's"
    text = f"up to {size(most)} a trial; {together} together {size(together * most)} of {where} {size(limit)}"
    return text if together * most <= limit else f"{text}: too much, so give each trial more of it"


def trial_text(cost: Cost, schedule: Schedule) -> str:
    """What one trial takes."""
    trial = cost.trial_seconds
    return f"{schedule.epochs.most} epochs: {durations(trial.low, trial.high)} if it is trained to the end"


def search_text(cost: Cost, schedule: Schedule, stopping: str) -> str:
    """Hours and GPU hours, as is likely and at most."""
    seconds, epochs = cost.seconds, schedule.epochs
    why = "by setting" if epochs.low == epochs.high else "by setting and by how many are stopped"
    text = (
        f"{hours(seconds.likely)} hours likely ({between(seconds.low / 3600, seconds.high / 3600)} {why}; "
        f"{stopping}), {hours(cost.most_seconds)} at most; {hours(cost.gpu_seconds)} GPU hours"
    )
    if cost.gpu_seconds:
        text += f" likely, {hours(cost.most_gpu_seconds)} at most"
    text += f"; {schedule.abreast} trial{'s' if schedule.abreast > 1 else ''} at a time"
    if cost.unlimited_seconds > seconds.likely:
        text += f"; budget.hours={schedule.hours:g} will end it early ({hours(cost.unlimited_seconds)} without it)"
    elif cost.unlimited_most_seconds > cost.most_seconds:
        text += f"; budget.hours={schedule.hours:g} may end it early"
    if schedule.repeats:
        text += f"; then at most {schedule.repeats} more trainings with other seeds (confirm), not in what is likely"
    return text


def disk_text(cost: Cost, corpus: PlannedCorpus) -> str:
    """What the study leaves, with what trials have beside it while they run."""
    text = f"up to {size(cost.disk_bytes)} for the study while it runs"
    return text if corpus.whole is None else f"{text}, {size(corpus.whole.bytes)} for the corpus"


def origin_text(config: SearchConfig, slots: Slots, seconds: float, load: float) -> str:
    """Where the numbers come from, and what is not in them."""
    machine, allowed = slots.machine, slots.allowed
    text = (
        f"a measurement of {duration(seconds)} just now: a few steps and staves of each setting. Validation was read "
        "by an untrained model, which writes longer than a trained one. Not in it: Ray's start, the sampler, reports, "
        "and whatever else will run on the machine. How many trials are stopped is an average."
    )
    if load > BUSY * machine.cpus:
        text += f" The machine was busy (load {load:.1f} on {machine.cpus} cores): without that the search is faster."
    if slots.gpus > 1:
        text += f" One GPU was measured, not the {slots.gpus:g} of a trial, which are quicker together."
    if slots.beside < slots.abreast:
        text += f" Side by side {slots.beside} were measured, not {slots.abreast}."
    if config.cluster.name != "local":
        text += " The cluster was not asked: cluster.cpus= and cluster.gpus= say what it has."
    if allowed.cpus > machine.cpus or allowed.gpus > machine.gpus:
        text += f" This machine has only {machine.cpus} cores and {machine.gpus} GPUs."
    return text


def duration(seconds: float) -> str:
    """`43 s`, `4.3 minutes`, `2.1 hours`."""
    return durations(seconds, seconds)


def durations(low: float, high: float) -> str:
    """`3.4 to 5.1 minutes`, in the unit of the longer one."""
    unit, length = ("hours", 3600) if high >= 3600 else ("minutes", 60) if high >= 60 else ("s", 1)
    return f"{between(low / length, high / length)} {unit}"


def hours(seconds: float) -> str:
    """Hours, without their unit."""
    return _two(seconds / 3600)


def size(count: float) -> str:
    """`240 MB`, `1.1 GB`."""
    return f"{_two(count / 1e9)} GB" if count >= 1e9 else f"{_two(count / 1e6)} MB"


def between(low: float, high: float) -> str:
    """`61 to 98`, or one number if they look alike."""
    return _two(low) if _two(low) == _two(high) else f"{_two(low)} to {_two(high)}"


def _speeds(measured: Sequence[Measurement]) -> str:
    speeds = [one.staves_per_second for one in measured]
    return f"{between(min(speeds), max(speeds))} staves/s"


def _two(number: float) -> str:
    """Two digits that count, and all of those before the point."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
