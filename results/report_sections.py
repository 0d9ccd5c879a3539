"""The sections of a trial's page that are about parameters: its setting, the ranking, the scientific parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

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
from results.verdict import interval_text, percent

MOST_COLUMNS = 8  # of parameters in the ranking
MOST_NUISANCES = 4  # told in one cell
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


def ranking_table(study: StudyRecord, ranking: Sequence[RankedTrial]) -> str:
    """All trials in their order, with the parameters that tell them apart."""
    groups = together(study, _roles(study, ranking[0]), ranking)
    ranked = [trial for trial in ranking if trial.rank is not None]
    whose, compared = ("ranked trials", ranked) if len(ranked) > 1 else ("trials", ranking)
    differing = [group for group in groups if len({trial.params[group[0]] for trial in compared}) > 1]
    shown = differing[:MOST_COLUMNS]
    header = ["rank", "trial", "state", "epochs", "SER", "95 % interval", *map(_heading, shown)]
    rows = [
        (
            NOTHING if trial.rank is None else str(trial.rank),
            f"{trial.number} ({trial.origin})" if trial.origin else str(trial.number),
            trial.state,
            str(trial.epochs),
            percent(trial.ser),
            interval_text(trial),
            *(value_text(trial.params[target]) for target, *_ in shown),
        )
        for trial in ranking
    ]
    note = (
        "Ranked are the trials that completed the largest number of epochs; what was stopped earlier has no rank. "
        "An interval tells what other pieces of music might give. It does not know that the best was chosen among "
        "many, which flatters it, nor what another training seed would give: trust close ranks less than the figures "
        "say."
    )
    return _paragraphs(table(header, rows), _left_out(whose, len(groups), len(differing), len(shown)), note)


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
        "lie close are not told apart here."
    )
    notes = [_not_used()] if any(level.name == NOT_USED for effect in found for level in effect.levels) else []
    return _paragraphs(" ".join([meaning, tuned, caution, *notes]), *(_effect(effect, nuisances) for effect in found))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


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
