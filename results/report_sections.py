"""The sections of a trial's page that are about the study: its parameters, the ranking, and what was found."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omr_model.metrics import percent
from results.cautions import Caution
from results.evidence import Decision
from results.fidelity import LEAST_TRIALS, Fidelity
from results.importance import Cell, Importance
from results.ranking import RankedTrial, base
from results.roles import (
    FIXED,
    NOT_USED,
    NUISANCE,
    SCIENTIFIC,
    Effect,
    Level,
    effects,
    setting_text,
    together,
    value_text,
    with_role,
)
from results.study import REPORTS_FOLDER, StudyRecord
from results.verdict import interval_text, rate_of_seeds

MOST_COLUMNS = 8  # of parameters in the ranking
MOST_NUISANCES = 4  # in one cell
MOST_EFFECTS = 3  # of a parameter, in words
NOTHING = "-"
NOT_SET = "not set"
ENDINGS = {"pruned": "stopped early", "completed": "completed with fewer epochs"}


def setting(study: StudyRecord, trial: RankedTrial, ranking: Sequence[RankedTrial]) -> str:
    """Each parameter's role and value, beside what the base has; the fixed ones, too."""
    foundation, fixed = base(ranking), with_role(study, FIXED)
    rows = [
        (f"`{target}`", role, value_text(trial.params[target]), _of_base(study, target, foundation))
        for target, role in _roles(study, trial).items()
    ]
    rows += [(f"`{target}`", FIXED, _configured(study, target), _configured(study, target)) for target in fixed]
    if not rows:
        return "No parameter was searched."
    notes = []
    if any(NOT_USED in row for row in rows):
        notes.append(_not_used())
    if fixed:
        notes.append(
            "Fixed parameters are not searched: they stay as the base has them, and what is found holds for these "
            "values alone."
        )
    name = "base" if foundation is None else f"base (trial {foundation.number})"
    return _paragraphs(table(["parameter", "role", "this trial", name], rows), " ".join(notes))


def ranking_table(study: StudyRecord, ranking: Sequence[RankedTrial], decisions: Sequence[Decision] = ()) -> str:
    """All trials in their order, with the parameters that tell them apart.

    Trials that repeat another one are told there, as the decisions count them: over which seeds, and their mean.
    """
    ranking = [trial for trial in ranking if trial.repeats is None]
    groups = together(study, _roles(study, ranking[0]), ranking)
    ranked = [trial for trial in ranking if trial.rank is not None]
    whose, compared = ("ranked trials", ranked) if len(ranked) > 1 else ("trials", ranking)
    differing = [group for group in groups if len({trial.params[group[0]] for trial in compared}) > 1]
    shown = differing[:MOST_COLUMNS]
    repeated = ["trained again", "mean SER"] if decisions else []
    ser = "SER in the search" if decisions else "SER"
    header = ["rank", "trial", "state", "epochs", ser, "95 % interval", *repeated, *map(_heading, shown)]
    rows = [
        (
            NOTHING if trial.rank is None else str(trial.rank),
            f"{trial.number} ({trial.origin})" if trial.origin else str(trial.number),
            trial.state,
            str(trial.epochs),
            percent(trial.ser),
            interval_text(trial),
            *(_seeds(trial, decisions) if decisions else ()),
            *(value_text(trial.params[target]) for target, *_ in shown),
        )
        for trial in ranking
    ]
    note = (
        "Ranked are the trials that completed the largest number of epochs; what was stopped earlier has no rank. "
        "An interval shows what other pieces of music might give. It does not know that the best was chosen among "
        "many, which flatters it, nor what another training seed would give: trust close ranks less than the figures "
        "say."
    )
    again = "The run that made a trial look best is not in its mean; the base's first run is." if decisions else ""
    return _paragraphs(table(header, rows), _left_out(whose, len(groups), len(differing), len(shown)), note, again)


def scientific(study: StudyRecord, ranking: Sequence[RankedTrial]) -> str:
    """The best that each value of each scientific parameter reached; empty if the study has none."""
    found = effects(study, ranking)
    if not found:
        return ""
    nuisances = with_role(study, NUISANCE)
    meaning = (
        "What each value can reach: the lowest SER among the trials that had it and were trained to the end, whatever "
        "else they differ in."
    )
    tuned = (
        "The nuisance parameters were searched so that each value is compared at its best."
        if nuisances
        else "No nuisance parameter was searched over."
    )
    caution = (
        "A value that was tried more often had more chances, and an interval is that of one trial alone, so rows that "
        "lie close cannot be ranked here."
    )
    notes = [_not_used()] if any(level.name == NOT_USED for effect in found for level in effect.levels) else []
    return _paragraphs(" ".join([meaning, tuned, caution, *notes]), *(_effect(effect, nuisances) for effect in found))


def fidelity_section(found: Fidelity) -> str:
    """Whether the order after a few epochs is that at the end."""
    rows = [
        (
            str(rung.epoch),
            str(rung.trials),
            number_text(rung.tau),
            f"{rung.low:.2f} to {rung.high:.2f}" if not math.isnan(rung.low) else "",
            number_text(rung.rho),
            f"{rung.lost} of {rung.best}" if rung.best else NOTHING,
        )
        for rung in found.rungs
    ]
    if not rows:
        return ""
    meaning = (
        "How far the SER after an epoch orders the trials as the SER at the end does (1: alike, 0: not at all), and "
        f"how many of the finally best third would have been stopped there, where one in {found.reduction} goes on."
    )
    narrowed = (
        f"It is worked out from trials that were trained to the end; as {found.stopped} others were stopped before, "
        "these are the ones that were good early: the correlation looks lower than it is, and what was lost is hidden."
    )
    header = ["after epoch", "trials", "Kendall's tau", "95 % interval", "Spearman's rho", "best stopped"]
    return _paragraphs(meaning, table(header, rows), narrowed if found.stopped else "", found.warning)


def not_judged(found: Fidelity) -> str:
    """Why the order after no epoch can be compared with that at the end: what it takes, and what there is."""
    trials = found.rungs[-1].trials
    there = f"there are {trials}, all equal" if trials >= LEAST_TRIALS else f"there are {trials}"
    return f"cannot be judged: needs {LEAST_TRIALS} trials trained to the end with different SERs; {there}."


def importance_section(found: Importance, fidelity: Fidelity) -> str:
    """Which parameter moves which errors: what is more than noise."""
    if not found.knobs:
        return ""
    metrics = [cell.metric for cell in found.knobs[0].cells if cell.metric == "ser" or "_class_" in cell.metric]
    rows = [
        (
            f"{_heading(knob.targets)} ({knob.trials})" if knob.trials < found.trials else _heading(knob.targets),
            *(cell_text(cell) for cell in knob.cells if cell.metric in metrics),
        )
        for knob in found.knobs
    ]
    meaning = (
        f"Of {found.trials} trials, compared after epoch {found.epoch} ({found.when}): a parameter's share of what "
        "sets the best third apart (PED-ANOVA), and in brackets how far the worst and the best third of its range are "
        "apart. "
        f'"{NOTHING}" is what shuffled trials show, too: one such table of pure noise in twenty has any figure at all. '
        "A sampler that learns moves parameters together, so a figure may be another parameter's in part, or wholly."
    )
    header = ["parameter", *(metric_text(metric) for metric in metrics)]
    effects = "\n".join(f"- {line}" for line in real_effects(found))
    return _paragraphs(meaning, table(header, rows), effects, doubt(found, fidelity) if effects else "")


def doubt(found: Importance, fidelity: Fidelity) -> str:
    """That what holds after an early epoch need not hold at the end, where the order of the trials changes."""
    if found.basis != "early" or not fidelity.warning:
        return ""
    return f"How trials stood after epoch {found.epoch} is not how they ended here, so it may not hold at the end."


def real_effects(found: Importance, names: Mapping[str, str] | None = None) -> list[str]:
    """In words, what each parameter moves that is more than noise, most of all first: a line a parameter.

    Args:
        found: what moves what.
        names: what to call each target; in full if None.
    """
    lines = []
    for knob in found.knobs:
        cells = sorted((cell for cell in knob.cells if cell.real), key=lambda cell: -cell.difference)
        parts = [_real_effect(cell) for cell in cells[:MOST_EFFECTS]]
        more = [f"{len(cells) - MOST_EFFECTS} more"] if len(cells) > MOST_EFFECTS else []
        if parts:
            targets = knob.targets if names is None else [names[target] for target in knob.targets]
            lines.append(f"{_heading(targets)}: {'; '.join([*parts, *more])}")
    return lines


def _real_effect(cell: Cell) -> str:
    ends = f"95 % interval {_points(cell.difference_low)} to {_points(cell.difference_high)}"
    levels = f"lowest at {cell.best}, highest at {cell.worst}"
    return f"{metric_text(cell.metric)} {levels} ({_points(cell.difference)} points, {ends})"


def cautions_section(found: Sequence[Caution]) -> str:
    """What to bear in mind, a point each."""
    return "\n".join(f"- {caution.text}" for caution in found)


def cell_text(cell: Cell) -> str:
    """Share and difference of what is real: `62 % (2.1 points)`."""
    return f"{100 * cell.share:.0f} % ({_points(cell.difference)} points)" if cell.real else NOTHING


def metric_text(metric: str) -> str:
    """A column of errors as a reader would name it."""
    if metric == "ser":
        return "SER"
    return metric.removeprefix("ser_class_") if "_class_" in metric else f"{metric.removeprefix('ser_')} branch"


def number_text(value: float) -> str:
    """Two digits; where it is none, that it is unknown."""
    return "unknown" if math.isnan(value) else f"{value:.2f}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Names come from anywhere: a cell stays one, and no markup but Markdown's gets out of it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def code(text: str) -> str:
    """A name as code; it cannot end the span that it stands in."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _cell(text: str) -> str:
    """On one line, with `|` escaped, and `<` outside of code."""
    one_line = " ".join(text.splitlines()).replace("|", "\\|")
    return re.sub(r"`[^`]*`|<", lambda found: "&lt;" if found[0] == "<" else found[0], one_line)


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)


def _not_used() -> str:
    return f'"{NOT_USED.capitalize()}": the trial\'s other values leave it out, and it stays as the base has it.'


def _roles(study: StudyRecord, trial: RankedTrial) -> dict[str, str]:
    """The roles of the trial's parameters: first the scientific ones, then the nuisance ones."""
    ordered = [*with_role(study, SCIENTIFIC), *with_role(study, NUISANCE), *trial.params]
    return {target: study.roles.get(target, NOTHING) for target in ordered if target in trial.params}


def _of_base(study: StudyRecord, target: str, foundation: RankedTrial | None) -> str:
    return _configured(study, target) if foundation is None else value_text(foundation.params[target])


def _configured(study: StudyRecord, target: str) -> str:
    """What the configuration says where no parameter is sampled: the base's value."""
    node: Any = study.config
    for name in target.split("."):
        if not isinstance(node, dict) or name not in node:
            return NOT_SET
        node = node[name]
    return setting_text(node)


def _heading(targets: Sequence[str]) -> str:
    """A column of a parameter, and how many others have its value in every trial."""
    return f"`{targets[0]}`" + (f" and {len(targets) - 1} alike" if len(targets) > 1 else "")


def _left_out(whose: str, parameters: int, differing: int, shown: int) -> str:
    """How many parameters the ranking does not show, and where they are."""
    alike, more = parameters - differing, differing - shown
    parts = [
        *([f"{more} more in which the {whose} differ"] if more else []),
        *([f"{alike} that the {whose} have in common"] if alike else []),
    ]
    if not parts:
        return ""
    return f"Parameters not shown: {', and '.join(parts)}. All are in `{REPORTS_FOLDER}/trials.parquet` of the study."


def _seeds(trial: RankedTrial, decisions: Sequence[Decision]) -> tuple[str, str]:
    """Over which seeds a trial has a mean SER, and that; empty if it has none."""
    seeds, ser = rate_of_seeds(trial, decisions)
    return (seeds, percent(ser)) if seeds else ("", "")


def _effect(effect: Effect, nuisances: Sequence[str]) -> str:
    header = ["value", "trials", "trained to the end", "best SER", "95 % interval", "of trial"]
    rows = [_level(level, nuisances) for level in effect.levels]
    title = ", ".join(f"`{target}`" for target in effect.targets)
    return f"### {title}\n\n{table([*header, *(['with nuisance parameters'] if nuisances else [])], rows)}"


def _level(level: Level, nuisances: Sequence[str]) -> tuple[str, ...]:
    name = f"{level.name} (base)" if base(level.trials) is not None else level.name
    best = next(iter(level.comparable), None)
    counts = (name, str(len(level.trials)), str(len(level.comparable)))
    if best is None:
        return (*counts, _endings(level), "", "", *([""] if nuisances else []))
    reached_with = [_nuisance_setting(best, nuisances)] if nuisances else []
    return (*counts, percent(best.ser), interval_text(best), str(best.number), *reached_with)


def _endings(level: Level) -> str:
    """Why a value has no SER: `stopped early: 3, failed: 1`."""
    endings = Counter(ENDINGS.get(trial.state, trial.state) for trial in level.trials)
    return ", ".join(f"{ending}: {count}" for ending, count in endings.items()) or "not tried"


def _nuisance_setting(trial: RankedTrial, nuisances: Sequence[str]) -> str:
    used = [
        f"`{target}` {value_text(trial.params[target])}" for target in nuisances if trial.params[target] is not None
    ]
    more = len(used) - MOST_NUISANCES
    return ", ".join([*used[:MOST_NUISANCES], *([f"{more} more"] if more > 0 else [])])
