"""What every space must do; a test class inherits this and names its file."""

from __future__ import annotations

import copy
import itertools

import optuna
import pytest
import torch

from omr_model.config import TrainingConfig
from omr_model.loss import TrOMRLoss
from omr_model.model import TrOMR
from search.compose import compose
from search.space import SearchSpace
from tests.models import SMALL, random_batch


class SpaceContract:
    """Inherit, and set `name`."""

    name: str

    @pytest.fixture
    def space(self) -> SearchSpace:
        config = compose([f"space={self.name}", "model=tiny"])
        return SearchSpace(config.space, TrainingConfig(model=SMALL))

    def test_points_of_the_log_come_first_and_once(self, space: SearchSpace) -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        space.queue_points(study)
        space.queue_points(study)
        drawn = []
        for _ in range(len(space.points) + 2):
            trial = study.ask()
            drawn.append(space.suggest(trial))
            study.tell(trial, 0.5)
        assert drawn[: len(space.points)] == [settings for settings, _ in space.points]
        assert all(settings not in drawn[len(space.points) :] for settings, _ in space.points)

    def test_samples_are_trainings_that_differ_in_the_targets_alone(self, space: SearchSpace) -> None:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(5):
            settings = space.suggest(study.ask())
            assert set(settings) <= set(space.targets)
            assert space.training(settings) != space.base

    def test_every_corner_trains_two_steps(self, space: SearchSpace) -> None:
        for settings in self.corners(space):
            self.train_two_steps(space.training(settings))

    def test_every_parameter_changes_what_is_computed(self, space: SearchSpace) -> None:
        """Not just the configuration: the losses of two steps move with each parameter alone."""
        for target in space.targets:
            low, high = (self.train_two_steps(space.training({target: end})) for end in self.ends(space, target))
            assert low != high, f"{target} changes nothing"

    @staticmethod
    def ends(space: SearchSpace, target: str) -> tuple[object, object]:
        """Both ends of a parameter's range, or its first and last choice."""
        [parameter] = [one for one in space.config.parameters.values() if one.target == target]
        if parameter.kind == "categorical":
            return parameter.choices[0], parameter.choices[-1]
        return parameter.low, parameter.high

    def corners(self, space: SearchSpace) -> list[dict[str, object]]:
        """All corners of a small space; of a larger one, each end alone and all ends together."""
        ends = {target: self.ends(space, target) for target in space.targets}
        if len(ends) <= 4:
            return [dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values())]
        alone = [{target: end} for target, both in ends.items() for end in both]
        return [*alone, *({target: both[side] for target, both in ends.items()} for side in (0, 1))]

    @staticmethod
    def train_two_steps(config: TrainingConfig) -> list[float]:
        """The losses of two steps on one batch, from the same first weights and random numbers."""
        torch.manual_seed(0)
        model = TrOMR(config.model).train()
        for weight in model.parameters():  # residual branches begin at zero, where dropping them shows nothing
            weight.data += 0.05 * torch.randn_like(weight)
        loss = TrOMRLoss(config.loss, model.vocabulary)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=config.train.weight_decay)
        batch = copy.copy(random_batch(config.model, staves=8))
        torch.manual_seed(1)
        values = []
        for _ in range(2):
            total = loss(model(batch), batch).total
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            values.append(total.item())
        assert all(value == value and abs(value) != float("inf") for value in values)
        return values
