"""Tune's scheduler of a search: a rule of `search.rules`, or a population."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.config import SearchConfig
from search.engine import keys
from search.engine.exploration import Exploration
from search.engine.population import Population
from search.engine.stop import Stop
from search.rules import Action, Rule
from search.space import SearchSpace


def build_scheduler(config: SearchConfig, space: SearchSpace, stop: Stop, rule: Rule | None) -> TrialScheduler:
    """The scheduler that a search names.

    Args:
        rule: that of the search (`search.rules.build_rule`), with all that it was told before; None for pbt.

    Raises:
        ConfigError: pbt with a space in which nothing can change during a training.
    """
    if rule is not None:
        return RuleScheduler(rule)
    return Population(
        Exploration(space), config.scheduler.grace_epochs, config.train.epochs, seed=config.seed, stop=stop
    )


class RuleScheduler(FIFOScheduler):
    """Tells a rule each epoch, and does what it says.

    A trial that is to wait leaves Tune as one that is stopped does: once it is promoted, the agenda hands it out again
    with its checkpoints, in this session or in a later one.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metric = keys.METRIC
        self.rule = rule

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """What the rule says; one that has diverged, or repeats another with another seed, is none of its business."""
        if not keys.is_epoch(result) or trial.config[keys.REPEATS] is not None:
            return TrialScheduler.CONTINUE
        action = self.rule.report(trial.config[keys.NUMBER], int(result[keys.STEP]), float(result[keys.METRIC]))
        return TrialScheduler.CONTINUE if action is Action.CONTINUE else TrialScheduler.STOP
