"""A space file's parameters as Optuna distributions, and its first points as queued trials.

In Optuna and in the reports a parameter is called by its target (`model.decoder.dropout`), so that two spaces
that move the same leaf are one parameter, and a column of the `trials` table names what it moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from datasets.errors import ConfigError
from omr_model.config import TrainingConfig, replace_fields
from search.config import ParameterConfig, SpaceConfig

Settings = dict[str, Any]
"""Values of the parameters that a trial has, by target."""

ORIGIN = "origin"  # user attribute of a queued trial: where its setting comes from


class SearchSpace:
    """Draws settings out of a space.

    Args:
        config: the merged space.
        base: the training that settings are laid over.

    Raises:
        ConfigError: a range or a point that the training's fields do not allow, or a condition that names no
            earlier parameter.
    """

    def __init__(self, config: SpaceConfig, base: TrainingConfig) -> None:
        self.config = config
        self.base = base
        if not config.parameters:
            raise ConfigError("the space has no parameters, so there is nothing to search")
        self._check_conditions()
        self._check_ends()
        self.points = [self._point(name) for name in config.points]

    @property
    def targets(self) -> list[str]:
        """What the space moves, in its order."""
        return [parameter.target for parameter in self.config.parameters.values()]

    def suggest(self, trial: optuna.Trial) -> Settings:
        """One setting; parameters whose condition does not hold are left out."""
        values: dict[str, Any] = {}
        for name, parameter in self.config.parameters.items():
            if _applies(parameter, values):
                values[name] = _draw(trial, parameter)
        return {self.config.parameters[name].target: value for name, value in values.items()}

    def training(self, settings: Mapping[str, Any]) -> TrainingConfig:
        """The training that a setting means."""
        return replace_fields(self.base, settings)

    def queue_points(self, study: optuna.Study) -> None:
        """Have the space's points tried before anything else; points that are in the study already stay out."""
        for settings, origin in self.points:
            study.enqueue_trial(settings, user_attrs={ORIGIN: origin}, skip_if_exists=True)

    def _point(self, name: str) -> tuple[Settings, str]:
        point = self.config.points[name]
        for parameter, value in point.values.items():
            if parameter not in self.config.parameters:
                known = ", ".join(self.config.parameters)
                raise ConfigError(f"space point {name}: no parameter {parameter}; there are {known}")
            if not _allows(self.config.parameters[parameter], value):
                raise ConfigError(f"space point {name}: {value} is outside the range of {parameter}")
        return {self.config.parameters[one].target: value for one, value in point.values.items()}, point.origin

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
        for name, parameter in self.config.parameters.items():
            ends = parameter.choices if parameter.kind == "categorical" else [parameter.low, parameter.high]
            for end in ends:
                try:
                    self.training({parameter.target: end})
                except ConfigError as error:
                    raise ConfigError(f"space parameter {name} reaches {end}: {error}") from None


def _draw(trial: optuna.Trial, parameter: ParameterConfig) -> Any:
    if parameter.kind == "categorical":
        return trial.suggest_categorical(parameter.target, parameter.choices)
    assert parameter.low is not None  # both checked when the parameter was built
    assert parameter.high is not None
    if parameter.kind == "int":
        step, low, high = int(parameter.step or 1), int(parameter.low), int(parameter.high)
        return trial.suggest_int(parameter.target, low, high, log=parameter.log, step=step)
    return trial.suggest_float(parameter.target, parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _applies(parameter: ParameterConfig, values: Mapping[str, Any]) -> bool:
    for other, wanted in parameter.when.items():
        if other not in values:
            return False
        if values[other] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def _allows(parameter: ParameterConfig, value: Any) -> bool:
    if parameter.kind == "categorical":
        return value in parameter.choices
    assert parameter.low is not None
    assert parameter.high is not None
    return isinstance(value, (int, float)) and parameter.low <= value <= parameter.high
