"""What every space must do; a test class inherits this and names its file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import optuna
import pytest
import torch

from datasets.shards import PreparedCorpus
from omr_model.config import MixConfig, TrainingConfig
from omr_model.trainer import Trainer
from results.ranking import BASE
from search.compose import compose
from search.space import ORIGIN, SearchSpace, Values, grid
from tests.models import training

SMALL_TRAINING = training(epochs=1, validation_staves=2, mix=MixConfig(negatives=0.0))  # two steps


class SpaceContract:
    """Inherit, and set `name`.

    Attributes:
        amid: values of other parameters, where one shows only among others than the base's.
        base: a training that is long enough for every parameter to show.
    """

    name: str
    amid: ClassVar[dict[str, Any]] = {}
    base: ClassVar[TrainingConfig] = SMALL_TRAINING
    trained: ClassVar[dict[str, list[float]]]

    def __init_subclass__(cls) -> None:
        cls.trained = {}

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        config = compose([f"space={cls.name}", "model=tiny"])
        return SearchSpace(config.space, cls.base)

    def test_the_base_comes_first_then_the_logs_points_and_each_once(self, space: SearchSpace) -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        space.queue(study)
        space.queue(study)  # as a search does that goes on
        waiting = [trial.user_attrs[ORIGIN] for trial in study.trials]
        drawn = [space.suggest(study.ask()) for _ in waiting]
        assert waiting[0] == BASE
        assert {target: space.base_settings[target] for target in drawn[0]} == drawn[0]
        points = [space.settings(values) for values, _ in space.points]
        assert [point for point in points if point not in drawn] == []
        assert len({str(one) for one in drawn}) == len(drawn)
        assert space.points, "the log has points for every space"
        assert all(origin.startswith("training log, run ") for _, origin in space.points)

    def test_a_point_is_the_base_but_for_what_it_says(self, space: SearchSpace) -> None:
        for name, (values, _) in zip(space.config.points, space.points, strict=True):
            said = space.config.points[name].values
            moved = {target for one in said for target in space.config.parameters[one].targets}
            settings = space.settings(values)
            assert {target: value for target, value in settings.items() if target not in moved} == {
                target: value for target, value in space.base_settings.items() if target in settings.keys() - moved
            }

    def test_samples_are_trainings_that_differ_in_the_targets_alone(self, space: SearchSpace) -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        trainings = []
        for _ in range(8):
            settings = space.suggest(study.ask())
            assert set(settings) <= set(space.targets)
            trainings.append(space.training(settings))
        assert any(one != space.base for one in trainings)

    def test_settings_can_be_read_back_into_values(self, space: SearchSpace) -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
        for _ in range(8):
            values = space.draw(study.ask())
            again = space.values_of(space.settings(values))
            assert again is not None
            assert space.training(space.settings(again)) == space.training(space.settings(values))

    def test_every_corner_trains(self, space: SearchSpace, corpus: PreparedCorpus) -> None:
        for values in self.corners(space):
            self.trained_on(space, values, corpus)

    def test_every_parameter_changes_what_is_computed(self, space: SearchSpace, corpus: PreparedCorpus) -> None:
        """Not just the configuration: losses or weights after two steps move with each parameter alone."""
        for name, parameter in space.parameters.items():
            context = {**self.amid, **next(space.contexts(parameter))}
            ends = grid(parameter, 2)
            first, last = (self.trained_on(space, {**context, name: end}, corpus) for end in (ends[0], ends[-1]))
            assert first != last, f"{name} changes nothing"

    def corners(self, space: SearchSpace) -> Iterator[Values]:
        """All corners of a small space; of a larger one, each end alone and all ends together."""
        ends = {name: grid(parameter, 2) for name, parameter in space.parameters.items()}
        if len(ends) <= 4:
            yield from (dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values()))
            return
        for name, values in ends.items():
            context = next(space.contexts(space.parameters[name]))
            yield from ({**self.amid, **context, name: value} for value in values)
        yield {name: values[0] for name, values in ends.items()}
        yield {name: values[-1] for name, values in ends.items()}

    def trained_on(self, space: SearchSpace, values: Values, corpus: PreparedCorpus) -> list[float]:
        """Losses and weights after two steps, from the same first weights and random numbers."""
        config = space.training(space.settings(space.existing(values)))
        if str(config) not in self.trained:
            self.trained[str(config)] = train(config, corpus)
        return self.trained[str(config)]


def train(config: TrainingConfig, corpus: PreparedCorpus) -> list[float]:
    """What an epoch of two steps comes to."""
    trainer = Trainer(config, corpus)
    torch.manual_seed(0)
    for weight in trainer.model.parameters():  # residual branches begin at zero, where dropping shows nothing
        weight.data += 0.05 * torch.randn_like(weight)
    [record] = trainer.fit()
    weights = sum(weight.detach().double().abs().sum().item() for weight in trainer.model.parameters())
    numbers = [*record.losses.values(), weights]
    assert all(abs(number) < float("inf") for number in numbers)
    return numbers
