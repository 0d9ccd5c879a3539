"""A space file's parameters as Optuna distributions, and its first points as queued trials.

Three ways to write one trial down, from the sampler's side to the trainer's:

    values      by the parameter's name in the space: what Optuna draws, and what a point says
    settings    by target, `model.decoder.dropout`: what a trial sets, and what reports show; a list is a text
    training    the whole configuration
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import optuna

from datasets.command_line import flat_fields
from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from results.ranking import BASE
from search.config import ParameterConfig, SpaceConfig

Values = dict[str, Any]
Settings = dict[str, Any]

ORIGIN = "origin"  # user attribute of a queued trial: where its setting comes from
OUTSIDE = "outside"  # user attribute of a trial of the base, where the base does not lie in the space
WEIGHTS = "train.mix.weights."


class SearchSpace:
    """Draws settings out of a space.

    Args:
        config: the merged space.
        base: the training that settings are laid over.
        resolution: None, or how many values of each range there are: the space is then a finite grid.

    Raises:
        ConfigError: a range or a point that the training's fields do not allow, or a condition that names no
            earlier parameter.
    """

    def __init__(self, config: SpaceConfig, base: TrainingConfig, resolution: int | None = None) -> None:
        self.config = config
        self.base = base
        self.parameters = {name: one for name, one in config.parameters.items() if one.role != "fixed"}
        if not self.parameters:
            raise ConfigError("the space has no parameters that are not fixed, so there is nothing to search")
        self._check_conditions()
        self.leaves = {target: leaf(base, target) for one in config.parameters.values() for target in one.targets}
        self.fixed: Values = {}
        self.fixed = self._invert(self.leaves, {}, config.parameters) or {}
        self.parameters = {name: one for name, one in self.parameters.items() if any(True for _ in self.contexts(one))}
        if not self.parameters:
            fixed = ", ".join(f"{name}={value}" for name, value in self.fixed.items())
            raise ConfigError(f"the space has no parameter that exists with {fixed}, so there is nothing to search")
        self._check_ends()
        self.base_values = self._complete(self._invert(self.leaves, {}, self.parameters))
        self.points = [self._point(name) for name in config.points]
        self.resolution = resolution

    @property
    def targets(self) -> list[str]:
        """What the space moves, in its order."""
        return list(self.roles)

    @property
    def roles(self) -> dict[str, str]:
        """`scientific` or `nuisance` for each target; scientific if any parameter that moves it is."""
        roles: dict[str, str] = {}
        for parameter in self.parameters.values():
            for target in parameter.targets:
                roles[target] = "scientific" if "scientific" in (parameter.role, roles.get(target)) else "nuisance"
        return roles

    @property
    def base_settings(self) -> Settings:
        """What the base has where the space moves it."""
        return {target: self.leaves[target] for target in self.targets}

    def suggest(self, trial: optuna.Trial) -> Settings:
        """One setting; parameters whose condition does not hold are left out."""
        if trial.user_attrs.get(OUTSIDE):
            return self.base_settings
        return self.settings(self.draw(trial))

    def draw(self, trial: optuna.trial.BaseTrial) -> Values:
        """Values for the parameters whose condition holds."""
        values: Values = {}
        for name, parameter in self.parameters.items():
            if self._applies(parameter, values):
                values[name] = self._draw(trial, name, parameter)
        return values

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """What values set, by target; of two that set one target, the later parameter's counts."""
        settings: Settings = {}
        for name, parameter in self.config.parameters.items():
            if name in values:
                settings |= _set_by(parameter, values[name])
        return settings

    def training(self, settings: Mapping[str, Any]) -> TrainingConfig:
        """The training that a setting means."""
        return replace_fields(self.base, settings)

    def queue(self, study: optuna.Study) -> None:
        """Have the base tried first, then the space's points; what is in the study already stays out."""
        on_a_grid = self.resolution is not None
        if self.base_values is None or on_a_grid:
            study.enqueue_trial({}, user_attrs={ORIGIN: BASE, OUTSIDE: True}, skip_if_exists=True)
        else:
            study.enqueue_trial(self.base_values, user_attrs={ORIGIN: BASE}, skip_if_exists=True)
        for values, origin in () if on_a_grid else self.points:
            study.enqueue_trial(values, user_attrs={ORIGIN: origin}, skip_if_exists=True)

    @property
    def queued(self) -> int:
        """How many trials `queue` asks for, before the sampler's first."""
        if self.resolution is not None or self.base_values is None:
            return 1 + (len(self.points) if self.resolution is None else 0)
        first = [str(sorted(values.items())) for values in (self.base_values, *(values for values, _ in self.points))]
        return len(set(first))

    def values_of(self, settings: Mapping[str, Any]) -> Values | None:
        """The inverse of `settings`, where what is not said is as in the base; None if that is not in the space."""
        leaves = {**self.leaves, **{target: text(value) for target, value in settings.items() if target in self.leaves}}
        return self._complete(self._invert(leaves, {}, self.parameters))

    def contexts(self, parameter: ParameterConfig) -> Iterator[Values]:
        """Values of other parameters under which a parameter exists, each of them once; none if it never does."""
        conditions = {
            other: wanted if isinstance(wanted, list) else [wanted] for other, wanted in parameter.when.items()
        }
        for other in conditions.keys() - self.parameters.keys():
            if self.fixed.get(other) not in conditions.pop(other):
                return
        for combination in itertools.product(*conditions.values()):
            yield dict(zip(conditions, combination, strict=True))

    def existing(self, values: Values) -> Values:
        """The values without those whose condition does not hold."""
        kept: Values = {}
        for name, parameter in self.parameters.items():
            if name in values and self._applies(parameter, kept):
                kept[name] = values[name]
        return kept

    def _point(self, name: str) -> tuple[Values, str]:
        point = self.config.points[name]
        values = {one: text(value) for one, value in point.values.items()}
        for one, value in values.items():
            if one not in self.config.parameters:
                known = ", ".join(self.config.parameters)
                raise ConfigError(f"space point {name}: no parameter {one}; there are {known}")
            if not allows(self.config.parameters[one], value):
                raise ConfigError(
                    f"space point {name}: {value} is outside the range of {one}; history=none leaves the points out"
                )
        given = {one: value for one, value in values.items() if one in self.parameters}
        leaves = {**self.leaves, **self.settings(given)}
        return self._invert(leaves, given, self.parameters) or given, point.origin

    def _invert(
        self, leaves: Mapping[str, Any], given: Values, parameters: Mapping[str, ParameterConfig]
    ) -> Values | None:
        """Values that set the leaves to what they are, keeping those that are given.

        Every combination of the switches is tried, as several may set the same. A parameter whose leaf has a value
        that it does not allow is left out.
        """
        switches = {name: list(one.options) for name, one in parameters.items() if one.options}
        for combination in itertools.product(*switches.values()):
            values = self._read_off(leaves, dict(zip(switches, combination, strict=True)) | given, parameters)
            if all(leaves[target] == value for target, value in self.settings(values).items()):
                return values
        return None

    def _read_off(self, leaves: Mapping[str, Any], given: Values, parameters: Mapping[str, ParameterConfig]) -> Values:
        values: Values = {}
        for name, parameter in parameters.items():
            if not self._applies(parameter, values):
                continue
            value = given.get(name, leaves[parameter.target] if parameter.target else None)
            if allows(parameter, value):
                values[name] = value
        return values

    def _complete(self, values: Values | None) -> Values | None:
        """The values, if every parameter has one that is to have one."""
        if values is None:
            return None
        wanted = {name for name, one in self.parameters.items() if self._applies(one, values)}
        return values if wanted == set(values) else None

    def _applies(self, parameter: ParameterConfig, values: Mapping[str, Any]) -> bool:
        for other, wanted in parameter.when.items():
            value = values.get(other, self.fixed.get(other) if other not in self.parameters else None)
            if value is None or value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True

    def _draw(self, trial: optuna.trial.BaseTrial, name: str, parameter: ParameterConfig) -> Any:
        if parameter.kind == "categorical" or self.resolution is not None:
            return trial.suggest_categorical(name, list(grid(parameter, self.resolution)))
        assert parameter.low is not None  # both checked when the parameter was built
        assert parameter.high is not None
        if parameter.kind == "int":
            step, low, high = int(parameter.step or 1), int(parameter.low), int(parameter.high)
            return trial.suggest_int(name, low, high, log=parameter.log, step=step)
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)

    def _check_conditions(self) -> None:
        earlier: list[str] = []
        for name, parameter in self.config.parameters.items():
            for other in parameter.when:
                if other not in earlier:
                    raise ConfigError(
                        f"space parameter {name}: `when` names {other}, which is no earlier parameter of the space"
                    )
            earlier.append(name)

    def _check_ends(self) -> None:
        """Build the training at both ends of each range, so that a bad one fails now and not at trial 17."""
        for name, parameter in self.parameters.items():
            for end in grid(parameter, 2):
                for needed in self.contexts(parameter):
                    try:
                        self.training(self.settings({**needed, name: end}))
                    except ConfigError as error:
                        raise ConfigError(f"space parameter {name} reaches {end}: {error}") from None


def text(value: Any) -> Any:
    """A list as the text that a command line would have; anything else as it is."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else value


def leaf(training: TrainingConfig, target: str) -> Any:
    """A leaf's value, as a setting says it."""
    if target.startswith(WEIGHTS):
        return training.train.mix.weights.get(target.removeprefix(WEIGHTS), 1.0)
    return text(flat_fields(training)[target])


def grid(parameter: ParameterConfig, resolution: int | None) -> list[Any]:
    """The values of a categorical parameter, or so many of a range, evenly from end to end."""
    if parameter.options:
        return list(parameter.options)
    if parameter.kind == "categorical":
        return [text(choice) for choice in parameter.choices]
    assert parameter.low is not None
    assert parameter.high is not None
    assert resolution is not None
    space = np.geomspace if parameter.log else np.linspace
    values = space(parameter.low, parameter.high, resolution).tolist()
    values[0], values[-1] = parameter.low, parameter.high  # whatever the arithmetic made of the ends
    return list(dict.fromkeys(round(value) for value in values)) if parameter.kind == "int" else values


def _set_by(parameter: ParameterConfig, value: Any) -> Settings:
    if parameter.options:
        return {target: text(one) for target, one in parameter.options[value].items()}
    return dict.fromkeys([parameter.target, *parameter.also], value)


def allows(parameter: ParameterConfig, value: Any) -> bool:
    if parameter.kind == "categorical":
        return value in grid(parameter, None)
    assert parameter.low is not None
    assert parameter.high is not None
    return isinstance(value, (int, float)) and parameter.low <= value <= parameter.high
