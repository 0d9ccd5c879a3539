"""What the training log found good, as a prior of the sampler that fades (`history=prior`).

A prior is a kernel density over past settings. `PriorSampler` goes around any sampler: some of the first trials are
drawn from the prior, each as a whole, and all others by that sampler. With n trials drawn before, the next one is the
prior's with probability SHARE x 2^(-n / HALF_LIFE).

Whatever the prior says, no study gets more than `PriorSampler.limit` trials from it: 4, and 3.1 on average. Turns are
laid out by systematic sampling and not tossed for one by one, so that this is a bound. A wrong prior costs these
trials, and the sampler learns from them as from any others. Trials that were queued (the base, a space's points) do
not count: the prior did not draw them, and they are mostly what it was made of.

`python -m tests.benchmarks.prior_simulation` shows how many trials a right, a useless and a wrong prior save or cost,
and takes the constants below as arguments. With a larger share or a longer half-life a right prior gains little and a
wrong one costs more; with twice the bandwidth a right one is worth much less.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from omr_model.presets import PRESETS
from results.log_records import LogRun
from search.space import ORIGIN, SearchSpace, Values, allows, leaf, text

SHARE = 0.5
HALF_LIFE = 4.0
BANDWIDTH = 0.1
KEEP = 0.8
NOISE = 0.02  # of the log's SER: two points, says the log itself
PRIOR = "prior"  # the origin of a trial that was drawn from it
RECORDED = "optimizer.learning_rate"  # a run that does not say it was not read off its code
_QUEUED = "fixed_params"  # Optuna's system attribute of a trial from its queue


@dataclass(frozen=True)
class Prior:
    """Past settings, each with a weight.

    Attributes:
        observations: values by the parameter's name in the space, some or all of them, and the weight.
        bandwidth: standard deviation of a kernel as a share of the parameter's range (in the logarithm for a
            logarithmic one), reflected at the ends.
        keep: how likely a categorical parameter gets the observed choice; else it is any of the choices.
    """

    observations: tuple[tuple[Values, float], ...]
    bandwidth: float = BANDWIDTH
    keep: float = KEEP

    def observation(self, rng: np.random.Generator) -> Values:
        """One of the past settings, by weight."""
        weights = np.array([weight for _, weight in self.observations])
        return self.observations[rng.choice(len(weights), p=weights / weights.sum())][0]

    def near(self, value: Any, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """A value that the distribution allows, drawn around a past one."""
        if isinstance(distribution, CategoricalDistribution):
            kept = rng.random() < self.keep and value in distribution.choices
            return value if kept else distribution.choices[rng.integers(len(distribution.choices))]
        assert isinstance(distribution, (FloatDistribution, IntDistribution))  # there are no others
        return _near_number(value, distribution, self.bandwidth, rng)


class SamplerAround(BaseSampler):
    """A sampler that leaves everything to another one; subclasses take over a part."""

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Called before anything is drawn."""
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn together."""
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each of these."""
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for another one."""
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Called when a trial has ended."""
        self.sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Called where a sampler was copied."""
        self.sampler.reseed_rng()


class PriorSampler(SamplerAround):
    """A sampler that draws some of the first trials from a prior.

    Random numbers depend on the seed, the trial's number and the parameter's name alone, so a search that is taken
    up again goes on as it would have.

    Args:
        sampler: draws all other trials, and the parameters that a past setting does not have.
        prior: what the drawn trials are near to.
        seed: of the turns and of what is drawn from the prior.
        share: probability that the first trial is the prior's.
        half_life: trials after which that probability is half as high.
    """

    def __init__(
        self, sampler: BaseSampler, prior: Prior, seed: int, share: float = SHARE, half_life: float = HALF_LIFE
    ) -> None:
        super().__init__(sampler)
        self.prior = prior
        self.seed = seed
        self.share = share
        self.fading = 2 ** (-1 / half_life)

    @property
    def limit(self) -> int:
        """No study has more trials from the prior."""
        return math.ceil(self.share / (1 - self.fading))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Mark a trial that is drawn from the prior."""
        if self._has_turn(study, trial):
            study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, PRIOR)
            trial.user_attrs[ORIGIN] = PRIOR  # this one was read from the storage before
        super().before_trial(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing for a trial from the prior: its parameters are drawn one by one around one past setting."""
        return {} if _from_prior(trial) else super().sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter from the prior where it is its turn and it knows the parameter, else from the sampler."""
        if _from_prior(trial):
            past = self.prior.observation(self._rng(1 + trial.number))
            if param_name in past:
                rng = self._rng(1 + trial.number, zlib.crc32(param_name.encode()))
                return self.prior.near(past[param_name], param_distribution, rng)
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _has_turn(self, study: Study, trial: FrozenTrial) -> bool:
        if _QUEUED in trial.system_attrs:
            return False
        earlier = (one for one in study.get_trials(deepcopy=False) if one.number < trial.number)
        drawn = sum(_QUEUED not in one.system_attrs for one in earlier)
        return self._turns(drawn + 1) > self._turns(drawn)

    def _turns(self, drawn: int) -> int:
        """How many of the first so many trials are the prior's: its expectation, rounded with a seeded offset."""
        expected = self.share * (1 - self.fading**drawn) / (1 - self.fading)
        return math.floor(expected + self._rng().random())

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *what])


def prior_from_log(runs: Sequence[LogRun], space: SearchSpace) -> Prior | None:
    """The runs that say something about a space, weighted by how near their SER is to the best one's.

    What a run does not say is as in the base. Where the base or the run is outside of the space elsewhere, the
    run counts with the parameters that it names.

    Returns:
        None if no run with a SER sets anything that the space moves.
    """
    targets = set(space.targets)
    told = [
        (run.ser, _values(run.settings, space)) for run in runs if run.ser is not None and targets & set(run.settings)
    ]
    scored = [(ser, values) for ser, values in told if values]
    if not scored:
        return None
    best = min(ser for ser, _ in scored)
    return Prior(tuple((values, math.exp(-(ser - best) / NOISE)) for ser, values in scored))


def completed(runs: Sequence[LogRun]) -> list[LogRun]:
    """The runs whose settings are known, each with every knob that the log ever names.

    The log changes one knob at a time, so one that a run does not name was as usual: as in the paper's preset, which
    the presets of the runs (`search/conf/experiment/`) are laid over, too.
    """
    known = [run for run in runs if RECORDED in run.settings]
    usual = {target: leaf(PRESETS["paper"], target) for run in known for target in run.settings}
    said = {target: value for target, value in usual.items() if value is not None}  # None is no value to compare
    return [replace(run, settings=said | run.settings) for run in known]


def _values(settings: Mapping[str, Any], space: SearchSpace) -> Values:
    whole = space.values_of(settings)
    return whole if whole is not None else _named(settings, space)


def _named(settings: Mapping[str, Any], space: SearchSpace) -> Values:
    """The parameters that settings name, each for itself, where the space allows their value.

    One whose condition does not hold is not asked for.
    """
    said = {target: text(value) for target, value in settings.items()}
    values: Values = {}
    for name, parameter in space.parameters.items():
        for option, fields in parameter.options.items():
            if fields and all(said.get(target) == text(value) for target, value in fields.items()):
                values[name] = option
        if parameter.target in said and allows(parameter, said[parameter.target]):
            values[name] = said[parameter.target]
    return values


def _from_prior(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(ORIGIN) == PRIOR


def _near_number(
    value: float, distribution: FloatDistribution | IntDistribution, width: float, rng: np.random.Generator
) -> float:
    """A Gaussian around the value; each step of a stepped range stands for half a step around it."""
    step = distribution.step or 0
    into, back = (math.log, math.exp) if distribution.log else (float, float)
    first, last = into(distribution.low - step / 2), into(distribution.high + step / 2)
    centre = into(_clipped(value, distribution))
    drawn = back(_reflected(rng.normal(centre, width * (last - first)), first, last))
    if step:
        drawn = distribution.low + step * round((drawn - distribution.low) / step)
    return _clipped(drawn, distribution)


def _reflected(value: float, low: float, high: float) -> float:
    """Folded back at the ends as often as it takes."""
    width = high - low
    beyond = (value - low) % (2 * width)
    return low + min(beyond, 2 * width - beyond)


def _clipped(value: float, distribution: FloatDistribution | IntDistribution) -> float:
    return min(max(value, distribution.low), distribution.high)
