"""How a setting changes in the middle of a training: the "explore" of population-based training (Jaderberg et al.,
arXiv 1711.09846).

A number is multiplied by 0.8 or by 1.2, a choice moves to its neighbour in the list, and each is now and then drawn
anew. Two things the paper leaves open: a value stays within its range, and a 0, which no factor moves, is drawn anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any

from datasets.errors import ConfigError
from search.config import ParameterConfig
from search.space import SearchSpace, Settings, grid

FACTORS = (0.8, 1.2)
DRAWN_ANEW = 0.25
"""How often a value is drawn from the whole range: the default of Tune's own."""


class Exploration:
    """Changes settings of a space.

    Raises:
        ConfigError: nothing in the space can change during a training.
    """

    def __init__(self, space: SearchSpace) -> None:
        from omr_model.checkpoint import may_change  # with torch, which takes seconds to import

        self.space = space
        conditions = {other for parameter in space.parameters.values() for other in parameter.when}
        self.parameters = {
            name: parameter
            for name, parameter in space.parameters.items()
            if name not in conditions  # else it would take others with it
            and not parameter.options
            and all(may_change(target) for target in parameter.targets)
        }
        if not self.parameters:
            raise ConfigError(
                "scheduler=pbt: the space has no parameter that can change during a training; it has "
                f"{', '.join(space.parameters)}. Dropout rates, the loss, the optimizer and the data mix can change; "
                "another scheduler searches the rest"
            )

    def explore(self, settings: Mapping[str, Any], random: Random) -> Settings:
        """The setting with every parameter changed that exists in it and can be; the others as they are."""
        values = self.space.values_of(settings)
        if values is None:  # the base may lie outside of the space: what always exists is changed all the same
            always = {name: one.target for name, one in self.parameters.items() if not one.when}
            values = {name: settings[target] for name, target in always.items() if target in settings}
        changed = {
            name: moved(values[name], parameter, self.space.resolution, random)
            for name, parameter in self.parameters.items()
            if name in values
        }
        return {**settings, **self.space.settings({**values, **changed})}


def moved(value: Any, parameter: ParameterConfig, resolution: int | None, random: Random) -> Any:
    """Another value of a parameter, near to this one or drawn anew; at the end of a range it may be the same."""
    if parameter.kind == "categorical" or resolution is not None:
        return _neighbour(value, grid(parameter, resolution), random)
    anew = random.random() < DRAWN_ANEW or value == 0
    if parameter.kind == "int" or parameter.step is not None:
        return _on_steps(value, parameter, None if anew else random.choice(FACTORS), random)
    assert parameter.low is not None  # both checked when the parameter was built
    assert parameter.high is not None
    if not anew:
        return min(max(value * random.choice(FACTORS), parameter.low), parameter.high)
    if not parameter.log:
        return random.uniform(parameter.low, parameter.high)
    drawn = math.exp(random.uniform(math.log(parameter.low), math.log(parameter.high)))
    return min(max(drawn, parameter.low), parameter.high)  # whatever the arithmetic made of the ends


def _neighbour(value: Any, choices: list[Any], random: Random) -> Any:
    if value not in choices or random.random() < DRAWN_ANEW:
        return random.choice(choices)
    place = choices.index(value) + random.choice((-1, 1))
    return choices[min(max(place, 0), len(choices) - 1)]


def _on_steps(value: float, parameter: ParameterConfig, factor: float | None, random: Random) -> float:
    """A value `low` + n x `step`; at least one step away, unless the range ends."""
    assert parameter.low is not None
    assert parameter.high is not None
    step = parameter.step or 1
    steps = math.floor((parameter.high - parameter.low) / step + 1e-9)
    if factor is None:
        place = random.randint(0, steps)
    else:
        here = round((value - parameter.low) / step)
        place = round((value * factor - parameter.low) / step)
        if place == here:
            place += 1 if factor > 1 else -1
    found = parameter.low + min(max(place, 0), steps) * step
    return int(found) if parameter.kind == "int" else found
