"""Optuna's samplers by name. A new one is one function and one line of the table."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from datasets.command_line import check_choice
from search.config import SamplerConfig


def build_sampler(config: SamplerConfig, seed: int) -> BaseSampler:
    """The sampler that a configuration names.

    Raises:
        ConfigError: no such sampler.
    """
    check_choice("sampler", config.name, tuple(SAMPLERS))
    return SAMPLERS[config.name](config, seed)


def _tpe(config: SamplerConfig, seed: int) -> BaseSampler:
    """Multivariate TPE; `constant_liar` keeps trials that run side by side apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # both options have stood since Optuna 2
        return TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=config.startup_trials,
        )


def _random(config: SamplerConfig, seed: int) -> BaseSampler:  # noqa: ARG001 - the table's signature
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[SamplerConfig, int], BaseSampler]] = {"tpe": _tpe, "random": _random}
