"""Optuna's samplers by name. A new one is one function and one line of the table.

What they make of this project's trials, read off Optuna's source (version 5.0):

             a parameter with a condition    choices               a trial that was stopped early (PRUNED)
    tpe      modelled, in groups             modelled              is worse than those trained to the end
    gp       at random                       modelled              is ignored
    cmaes    at random                       at random             is ranked with the others by its last SER
    qmc      from the sequence               from the sequence     teaches nothing, as any other
    random   at random                       at random             teaches nothing, as any other
    grid     every value                     every one             is tried, as one that failed is

A trial that failed teaches none of them anything. Of a long search, a sampler sees a part (`search.sampler_window`).
"""

# ruff: noqa: ARG001, ARG002 - signatures of the table and of Optuna

from __future__ import annotations

import copy
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Container, Iterator
from typing import Any, cast

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from datasets.command_line import check_choice
from datasets.errors import ConfigError
from datasets.seeds import seed_from
from search.config import SamplerConfig
from search.prior import Prior, PriorSampler, SamplerAround
from search.sampler_window import Bound, all_of_them, for_cmaes, for_gp, for_tpe
from search.space import ORIGIN, SearchSpace, Values, allows, grid

Distributions = dict[str, BaseDistribution]
WAITS = "waits"  # user attribute of a trial that was paused at a rung and may be promoted
OF_ONE_SEED = ("qmc",)
BEGUN = tuple(state for state in TrialState if state != TrialState.WAITING)


def build_sampler(
    config: SamplerConfig, seed: int, space: SearchSpace | None = None, prior: Prior | None = None
) -> BaseSampler:
    """The sampler that a configuration names.

    Args:
        space: what it draws from. Without it cmaes and qmc guess that from past trials, as Optuna does, and may
            draw at random for ever once a trial does not have a parameter.
        prior: what some of the first trials are drawn around.

    Raises:
        ConfigError: no such sampler, one that cannot model anything of the space, or a prior for a grid.
    """
    check_choice("sampler", config.name, tuple(SAMPLERS))
    sampler = OfEachTrial(lambda seed: SAMPLERS[config.name](config, seed, space), seed, config.name in OF_ONE_SEED)
    if prior is None:
        return sampler
    if config.name == "grid":
        raise ConfigError("history=prior: sampler=grid tries every setting, whatever was good before; take another one")
    return PriorSampler(sampler, prior, seed)


def grid_size(space: SearchSpace) -> int:
    """How many settings a space with a resolution has."""
    assert space.resolution is not None
    switches = _switches(space)
    sizes = {
        tuple(values[name] for name in switches if name in values): math.prod(
            len(one.choices)
            for name, one in distributions.items()
            if isinstance(one, CategoricalDistribution) and name not in switches
        )
        for values, distributions in _contexts(space)
    }
    return sum(sizes.values())


def exhausted(study: Study, space: SearchSpace) -> bool:
    """Whether every setting of a grid has at least been begun; no other sampler ever comes to an end."""
    if not (isinstance(study.sampler, OfEachTrial) and isinstance(study.sampler.sampler, Grid)):
        return False
    begun = study.get_trials(deepcopy=False, states=BEGUN)
    return len({tuple(sorted(trial.params.items())) for trial in begun if trial.params}) >= grid_size(space)


class OfEachTrial(SamplerAround):
    """A sampler made anew for each trial, with a seed of that trial's number.

    What it suggests then depends on the trials before alone, and not on how often the search was taken up again: a
    sampler that is made anew with the study's seed would repeat its random numbers.

    Args:
        make: the sampler with a seed.
        seed: the study's.
        of_one_seed: a sequence has the same seed for all trials.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, of_one_seed: bool) -> None:
        self.make = make
        self.seed = seed
        self.of_one_seed = of_one_seed
        super().__init__(self._made(seed))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Called before anything is drawn."""
        if not self.of_one_seed:
            self.sampler = self._made(seed_from(self.seed, f"suggestion {trial.number}") % 2**32)
        super().before_trial(study, trial)

    def _made(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # all of them have stood since Optuna 3.1 or longer
            return self.make(seed)


class OfDrawnTrials(SamplerAround):
    """Shows a sampler the trials as it should see them.

    None without parameters, as that of a base is that lies outside of the space: to Optuna such a trial says that no
    parameter is always there, so that nothing can be modelled. And one that waits at a rung (`WAITS`) is shown as one
    that was stopped there, which it is as long as nobody promotes it. Of many, it shows some.

    Args:
        together: what the sampler draws together; without it, it finds that out from past trials.
        seed, bound: what is shown of many trials (`search.sampler_window`).
    """

    def __init__(
        self, sampler: BaseSampler, together: Distributions | None = None, seed: int = 0, bound: Bound = all_of_them
    ) -> None:
        super().__init__(sampler)
        self.together = together
        self.seed = seed
        self.bound = bound
        self._shown: tuple[int, list[FrozenTrial]] | None = None  # for which trial, and what

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Called before anything is drawn."""
        self._shown = None
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """What is drawn together."""
        if self.together is not None:
            return self.together
        return super().infer_relative_search_space(self._drawn(study, trial), trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        """A value for each of these."""
        return super().sample_relative(self._drawn(study, trial), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for another one."""
        return super().sample_independent(self._drawn(study, trial), trial, param_name, param_distribution)

    def _drawn(self, study: Study, trial: FrozenTrial) -> Study:
        """The study with the trials that are shown: while a suggestion is made, nothing else happens to any of them."""
        if self._shown is None or self._shown[0] != trial.number:
            drawn = [_as_stopped(one) for one in study.get_trials(deepcopy=False) if one.params]
            self._shown = trial.number, self.bound(drawn, np.random.default_rng([self.seed, trial.number]))
        return cast(Study, _StudyOfDrawn(study, self._shown[1]))


class Grid(BruteForceSampler):
    """Every setting of a space with a resolution once, in random order, running ones included.

    Optuna's own stops `study.optimize` after the last one, which nobody runs here (`exhausted` says that it was
    the last), and does not expect a trial without parameters, which a base outside of the grid is.
    """

    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: there is no `study.optimize` to be stopped."""

    @staticmethod
    def _populate_tree(tree: Any, trials: list[FrozenTrial], params: dict[str, Any]) -> None:
        BruteForceSampler._populate_tree(tree, [trial for trial in trials if trial.params], params)


class Sobol(QMCSampler):
    """Goes on in its sequence after the trials that it has drawn; Optuna's own keeps its place in the storage alone."""

    def _find_sample_id(self, study: Study, search_space: Distributions) -> int:
        begun = study.get_trials(deepcopy=False, states=BEGUN)
        return sum(not trial.user_attrs.get(ORIGIN) for trial in begun) - 1


def _tpe(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """Multivariate TPE; `constant_liar` keeps trials that run side by side apart.

    Parameters that come and go together are modelled together (`group`). A trial that was stopped early counts as
    worse than all that were trained to the end, and as the better the later it was stopped.
    """
    return OfDrawnTrials(
        TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=config.startup_trials,
        ),
        seed=seed,
        bound=for_tpe,
    )


def _gp(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """A Gaussian process with expected improvement, choices in its kernel; running trials are taken into account.

    Parameters that are not always there are drawn at random. Trials that were stopped early are ignored, also among
    the `startup_trials`: with a scheduler that stops many, it begins late and learns from few.
    """
    logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)  # it would like to be faster
    sampler = GPSampler(seed=seed, n_startup_trials=config.startup_trials, warn_independent_sampling=False)
    return OfDrawnTrials(sampler, seed=seed, bound=for_gp)


def _cmaes(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """CMA-ES over the numbers that are always there; choices and parameters with a condition are drawn at random.

    A generation is 4 + 3 ln(numbers) trials, so it is for long searches. It goes by ranks alone, so a trial that
    was stopped early is taken with its last SER: that is mostly worse than what was trained on, as it should be, and
    without these trials a generation would take twice as many. What it did not draw itself (queued trials, a
    prior's) it does not learn from.
    """
    numbers = None
    if space is not None:
        numbers = {name: one for name, one in _always(space).items() if not isinstance(one, CategoricalDistribution)}
        if not numbers:
            raise ConfigError(
                "sampler=cmaes: it models numbers, and this space has none that is always there; take tpe or random"
            )
    sampler = CmaEsSampler(
        seed=seed,
        n_startup_trials=config.startup_trials,
        consider_pruned_trials=True,
        warn_independent_sampling=False,
    )
    return OfDrawnTrials(sampler, numbers, seed=seed, bound=for_cmaes)


def _qmc(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """A scrambled Sobol sequence over all parameters, choices and those with a condition included.

    It covers a space more evenly than random points do, and looks at no result.
    """
    sampler = Sobol(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)
    return OfDrawnTrials(sampler, _ever(space) if space else None)


def _random(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """Each parameter for itself; looks at no result."""
    return RandomSampler(seed=seed)


def _grid(config: SamplerConfig, seed: int, space: SearchSpace | None) -> BaseSampler:
    """All settings of a space that was built with a resolution; looks at no result."""
    return Grid(seed=seed)


SAMPLERS: dict[str, Callable[[SamplerConfig, int, SearchSpace | None], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "random": _random,
    "grid": _grid,
}


def _ever(space: SearchSpace) -> Distributions:
    """Every parameter that there is to draw, whatever its condition."""
    every: Distributions = {}
    for _, distributions in _contexts(space):
        every |= {name: one for name, one in distributions.items() if not one.single()}
    return every


def _always(space: SearchSpace) -> Distributions:
    """The parameters that are drawn whatever the others are."""
    always = _ever(space)
    for _, distributions in _contexts(space):
        always = {name: one for name, one in always.items() if name in distributions}
    return always


def _contexts(space: SearchSpace) -> Iterator[tuple[Values, Distributions]]:
    """What is drawn, from what, under each combination of the parameters that others depend on."""
    any_value = {name: grid(parameter, 2)[0] for name, parameter in space.parameters.items()}
    switches = _switches(space)
    for combination in itertools.product(*switches.values()):
        trial = FixedTrial(any_value | dict(zip(switches, combination, strict=True)))
        yield space.draw(trial), trial.distributions


def _switches(space: SearchSpace) -> dict[str, list[Any]]:
    """The parameters that others depend on, with the values on which it may depend whether these exist."""
    switches: dict[str, list[Any]] = {}
    for dependent in space.parameters.values():
        for name, wanted in dependent.when.items():
            if parameter := space.parameters.get(name):
                values = switches.setdefault(name, grid(parameter, space.resolution or 2))
                if space.resolution is None:
                    named = wanted if isinstance(wanted, list) else [wanted]
                    values += [one for one in named if one not in values and allows(parameter, one)]
    return switches


class _StudyOfDrawn:
    """A study with some of its trials."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study = study
        self._shown = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,  # as Optuna names it; what is shown is kept as long as a suggestion takes
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def _as_stopped(trial: FrozenTrial) -> FrozenTrial:
    if not trial.user_attrs.get(WAITS):
        return trial
    stopped = copy.copy(trial)
    stopped.state = TrialState.PRUNED
    return stopped
