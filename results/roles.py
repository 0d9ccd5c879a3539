"""What a search says of its scientific parameters: the best that each of their values reached.

After Godbole et al., Deep Learning Tuning Playbook, 2023. The effect of a `scientific` parameter is what a study
measures. A `nuisance` parameter has to be searched so that the values of the scientific ones are compared each at its
best: a depth that needs a smaller learning rate is not to lose for the rate's sake. A `fixed` one stays as the base
has it, and what is found holds for that value alone.

Only trials of equal effort count (`results.ranking`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.journal import Parameter
from results.ranking import RankedTrial
from results.study import StudyRecord

SCIENTIFIC, NUISANCE, FIXED = "scientific", "nuisance", "fixed"
NOT_USED = "not used"  # the parameter's condition does not hold
PARTS = 3  # of a range
MOST_WHOLE_NUMBERS = 8  # of a range of whole numbers that is told value by value
ROUNDING = 1e-9


@dataclass(frozen=True)
class Level:
    """A value of a parameter, or a third of its range.

    Attributes:
        name: the value or the range, as text.
        trials: those that had it, as they are ranked.
    """

    name: str
    trials: tuple[RankedTrial, ...]

    @property
    def comparable(self) -> list[RankedTrial]:
        """The trials of equal effort, best first."""
        return [trial for trial in self.trials if trial.rank is not None]


@dataclass(frozen=True)
class Effect:
    """What became of each value of a scientific parameter.

    Attributes:
        targets: its place in the configuration, and those that always have the same value.
        levels: its values; those that no trial had are there, too.
    """

    targets: tuple[str, ...]
    levels: tuple[Level, ...]


def effects(study: StudyRecord, ranking: Sequence[RankedTrial]) -> list[Effect]:
    """A study's scientific parameters in the order of the space.

    Args:
        study: the study's record.
        ranking: all its trials, as `results.ranking.rank` orders them; those that repeat another one are left out.
    """
    own = [trial for trial in ranking if trial.repeats is None]
    groups = together(study, with_role(study, SCIENTIFIC), own)
    return [Effect(targets, tuple(_levels(study, targets[0], own))) for targets in groups]


def together(study: StudyRecord, targets: Iterable[str], ranking: Sequence[RankedTrial]) -> list[tuple[str, ...]]:
    """The targets, with those in one group that one parameter of the space moves to one value in every trial."""
    groups: dict[object, list[str]] = {}
    for target in targets:
        names = tuple(moving(study, target)) or (target,)
        values = tuple(trial.params.get(target) for trial in ranking)
        groups.setdefault((names, values), []).append(target)
    return [tuple(group) for group in groups.values()]


def with_role(study: StudyRecord, role: str) -> list[str]:
    """The targets of a role, in the order of the space."""
    if role != FIXED:
        return [target for target, its_role in study.roles.items() if its_role == role]
    fixed = [parameter for parameter in _parameters(study).values() if parameter["role"] == FIXED]
    targets = dict.fromkeys(target for parameter in fixed for target in _targets(parameter))
    return [target for target in targets if target not in study.roles]


def value_text(value: Parameter) -> str:
    """A parameter's value as a reader would write it; floats to four digits."""
    if value is None:
        return NOT_USED
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)


def setting_text(value: Any) -> str:
    """A value of the configuration as `value_text` writes it; a list is as the `trials` table has it."""
    return value_text(f"[{', '.join(map(str, value))}]" if isinstance(value, list) else value)


@dataclass(frozen=True)
class Range:
    """What a parameter is drawn from between two ends, in thirds."""

    low: float
    high: float
    log: bool
    whole: bool

    def part(self, value: Parameter) -> int | None:
        """The third that a value lies in, from 0; on an edge it is the lower one. None outside."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return None
        return max(math.ceil(PARTS * self.share(value) - ROUNDING), 1) - 1

    def share(self, value: float) -> float:
        """How far along the range a value lies, from 0 to 1."""
        return (self._scale(value) - self._scale(self.low)) / (self._scale(self.high) - self._scale(self.low))

    def name(self, part: int) -> str:
        """`0.1 to 0.2`; of whole numbers `4 to 6`, the next third beginning with 7."""
        low, high = self._edge(part), self._edge(part + 1)
        if self.whole:
            return f"{low + 1 if part else low:.0f} to {high:.0f}"
        return f"{value_text(float(low))} to {value_text(float(high))}"

    def _edge(self, part: int) -> float:
        if part in (0, PARTS):
            return self.high if part else self.low
        low, high = self._scale(self.low), self._scale(self.high)
        scaled = low + (high - low) * part / PARTS
        edge = math.exp(scaled) if self.log else scaled
        return math.floor(edge + ROUNDING) if self.whole else edge

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


def _levels(study: StudyRecord, target: str, ranking: Sequence[RankedTrial]) -> list[Level]:
    """Single values, then the thirds of the range, then the trials without the parameter."""
    parameters = list(moving(study, target).values())
    singles = list(dict.fromkeys(text for parameter in parameters for text in _single_values(parameter, target)))
    drawn_from = in_thirds(study, target)
    names = {trial.trial_id: level_name(trial.params.get(target), drawn_from, singles) for trial in ranking}
    thirds = [] if drawn_from is None else [drawn_from.name(part) for part in range(PARTS)]
    unforeseen = sorted({*names.values()} - {*singles, *thirds, NOT_USED})  # the base may lie outside the space
    order = [*singles, *unforeseen, *thirds, *([NOT_USED] if NOT_USED in names.values() else [])]
    return [Level(name, tuple(trial for trial in ranking if names[trial.trial_id] == name)) for name in order]


def level_name(value: Parameter, drawn_from: Range | None, singles: Collection[str] = ()) -> str:
    """The third of its range that a value lies in, or else the value, as text."""
    text = value_text(value)
    part = None if drawn_from is None or text in singles else drawn_from.part(value)
    return text if drawn_from is None or part is None else drawn_from.name(part)


def _single_values(parameter: Mapping[str, Any], target: str) -> list[str]:
    """The values of a parameter that are told one by one, as far as they set the target."""
    if parameter["options"]:
        return [setting_text(fields[target]) for fields in parameter["options"].values() if target in fields]
    if parameter["kind"] == "categorical":
        return [setting_text(choice) for choice in parameter["choices"]]
    return [str(number) for number in _whole_numbers(parameter)] if _is_short(parameter) else []


def _whole_numbers(parameter: Mapping[str, Any]) -> range:
    """The grid of a parameter of kind `int`."""
    return range(int(parameter["low"]), int(parameter["high"]) + 1, int(parameter["step"] or 1))


def _is_short(parameter: Mapping[str, Any], most: int = MOST_WHOLE_NUMBERS) -> bool:
    return parameter["kind"] == "int" and len(_whole_numbers(parameter)) <= most


def in_thirds(study: StudyRecord, target: str, most: int = MOST_WHOLE_NUMBERS) -> Range | None:
    """The range that holds those of all parameters that move a target; None if all are told value by value.

    So are ranges of `most` whole numbers.
    """
    moved_by = moving(study, target).values()
    ranges = [one for one in moved_by if one["kind"] != "categorical" and not _is_short(one, most)]
    if not ranges:
        return None
    return Range(
        low=min(one["low"] for one in ranges),
        high=max(one["high"] for one in ranges),
        log=all(one["log"] for one in ranges),
        whole=all(one["kind"] == "int" for one in ranges),
    )


def _parameters(study: StudyRecord) -> Mapping[str, Mapping[str, Any]]:
    """The space's parameters by name, as `search.config.ParameterConfig` writes them."""
    found: Mapping[str, Mapping[str, Any]] = study.config.get("space", {}).get("parameters", {})
    return found


def _targets(parameter: Mapping[str, Any]) -> list[str]:
    """Every leaf that a parameter may set."""
    by_options = [target for fields in parameter["options"].values() for target in fields]
    return [target for target in dict.fromkeys([parameter["target"], *parameter["also"], *by_options]) if target]


def moving(study: StudyRecord, target: str) -> dict[str, Mapping[str, Any]]:
    """The searched parameters that move a target, by name."""
    searched = {name: one for name, one in _parameters(study).items() if one["role"] != FIXED}
    return {name: one for name, one in searched.items() if target in _targets(one)}
