"""How many trials a prior saves or costs: `python -m tests.benchmarks.prior_simulation`.

Simulated is a search like ours, without training anything: parameters in ranges like those of the spaces, every
other one logarithmic, and

    SER = 0.2 + sum of weight x (distance to the optimum as a share of the range)^2 + noise

with the optimum anywhere in the middle 60 % of each range, weights that fall as 1, 1/2, 1/3, ... and sum up to 1
(a few parameters matter, the others hardly), and noise of 0.01, as of one seed against another. A random setting is
0.11 above the optimum, the farthest corner 0.43. Settings are suggested by `build_sampler`, TPE alone or with a
prior of ten past settings that is

    right      near the optimum, a tenth of each range around it
    roughly    the same around a point that misses the optimum by a fifth of each range
    useless    anywhere
    wrong      near the corner that is farthest from the optimum, a tenth of each range around it

Counted are the trials until the trial with the lowest SER, noise and all, is truly within 0.02 of the optimum. All
five searches of a seed have the same optimum and the same first random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

from datasets.command_line import check_range, main
from search.config import SamplerConfig
from search.prior import BANDWIDTH, HALF_LIFE, PRIOR, SHARE, Prior, PriorSampler
from search.samplers import build_sampler
from search.space import ORIGIN, Values

FLOOR = 0.2
NOISE = 0.01
CLOSE = 0.02
PAST = 10
SPREAD = 0.1
MISSED = 0.2


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """How much is simulated, and with which prior.

    Attributes:
        seeds: searches of each kind.
        trials: of each search; one that has not come close by then counts as longer.
        share, half_life, bandwidth: as in `search.prior`.
    """

    seeds: int = 60
    trials: int = 100
    share: float = SHARE
    half_life: float = HALF_LIFE
    bandwidth: float = BANDWIDTH

    def __post_init__(self) -> None:
        check_range("seeds", self.seeds, 1)
        check_range("trials", self.trials, 1)


@dataclass(frozen=True)
class Surface:
    """SER over some parameters.

    Attributes:
        optimum: where it is lowest, as a share of each range.
    """

    optimum: np.ndarray

    @property
    def ranges(self) -> dict[str, FloatDistribution]:
        """The parameters; every other one is logarithmic."""
        ends = [(0.0, 0.5, False), (1e-5, 1e-2, True)]
        return {f"parameter_{number}": _range(*ends[number % 2]) for number in range(len(self.optimum))}

    @property
    def weights(self) -> np.ndarray:
        """What missing the optimum by the whole range costs."""
        falling = 1 / np.arange(1, len(self.optimum) + 1)
        return falling / falling.sum()

    def ser(self, values: Values) -> float:
        """Without noise."""
        shares = [_share(values[name], one) for name, one in self.ranges.items()]
        return FLOOR + float(self.weights @ (shares - self.optimum) ** 2)

    def values(self, shares: np.ndarray) -> Values:
        """A setting by the share of each range."""
        return {name: _value(share, one) for share, (name, one) in zip(shares, self.ranges.items(), strict=True)}


PastSettings = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Shares of the ranges for each past setting, given the optimum."""

PRIORS: dict[str, PastSettings | None] = {
    "none": None,
    "right": lambda optimum, rng: rng.normal(optimum, SPREAD, (PAST, len(optimum))),
    "roughly": lambda optimum, rng: rng.normal(
        optimum + MISSED * rng.choice((-1, 1), len(optimum)), SPREAD, (PAST, len(optimum))
    ),
    "useless": lambda optimum, rng: rng.random((PAST, len(optimum))),
    "wrong": lambda optimum, rng: rng.normal(optimum < 0.5, SPREAD, (PAST, len(optimum))),
}


def search(config: SimulationConfig, parameters: int, kind: str, seed: int) -> tuple[float, int]:
    """One search: trials until it is close (infinite: never), and how many of them were drawn from the prior."""
    rng = np.random.default_rng([seed, parameters])
    surface = Surface(rng.uniform(0.2, 0.8, parameters))
    study = optuna.create_study(sampler=_sampler(config, surface, kind, seed, rng))
    noise = np.random.default_rng([seed, parameters, 1]).normal(0, NOISE, config.trials)
    best, true_of_best = np.inf, np.inf
    for number in range(config.trials):
        trial = study.ask(dict(surface.ranges))
        ser = surface.ser(trial.params)
        study.tell(trial, ser + noise[number])
        if ser + noise[number] < best:
            best, true_of_best = ser + noise[number], ser
        if true_of_best <= FLOOR + CLOSE:
            return number + 1, _from_prior(study)
    return np.inf, _from_prior(study)


def simulate(config: SimulationConfig) -> None:
    """Print a table of the trials that each prior needs."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"{config.seeds} seeds, at most {config.trials} trials; share {config.share}, half-life {config.half_life},")
    print(
        f"bandwidth {config.bandwidth}; quartiles of the trials until the best one is within {CLOSE} of the optimum\n"
    )
    print("| parameters | prior | 25 % | median | 75 % | never | earlier than without | later | from the prior |")
    print("|---|---|---|---|---|---|---|---|---|")
    for parameters in (4, 8):
        without: np.ndarray | None = None
        for kind in PRIORS:
            results = [search(config, parameters, kind, seed) for seed in range(config.seeds)]
            needed, drawn = np.array([one[0] for one in results]), [one[1] for one in results]
            without = needed if without is None else without
            quartiles = " | ".join(_shown(np.quantile(needed, q, method="higher")) for q in (0.25, 0.5, 0.75))
            compared = f"{np.mean(needed < without):.0%} | {np.mean(needed > without):.0%}"
            never = f"{np.mean(np.isinf(needed)):.0%}"
            print(f"| {parameters} | {kind} | {quartiles} | {never} | {compared} | {np.mean(drawn):.1f} |", flush=True)


def _sampler(
    config: SimulationConfig, surface: Surface, kind: str, seed: int, rng: np.random.Generator
) -> optuna.samplers.BaseSampler:
    tpe = build_sampler(SamplerConfig(name="tpe"), seed)
    past_settings = PRIORS[kind]
    if past_settings is None:
        return tpe
    shares = np.clip(past_settings(surface.optimum, rng), 0, 1)
    prior = Prior(tuple((surface.values(one), 1.0) for one in shares), bandwidth=config.bandwidth)
    return PriorSampler(tpe, prior, seed, share=config.share, half_life=config.half_life)


def _from_prior(study: optuna.Study) -> int:
    return sum(trial.user_attrs.get(ORIGIN) == PRIOR for trial in study.get_trials(deepcopy=False))


def _range(low: float, high: float, log: bool) -> FloatDistribution:
    return FloatDistribution(low, high, log=log)


def _share(value: float, one: FloatDistribution) -> float:
    into = np.log if one.log else float
    return float((into(value) - into(one.low)) / (into(one.high) - into(one.low)))


def _value(share: float, one: FloatDistribution) -> float:
    value = one.low * (one.high / one.low) ** share if one.log else one.low + (one.high - one.low) * share
    return float(np.clip(value, one.low, one.high))


def _shown(trials: float) -> str:
    return "more" if np.isinf(trials) else f"{trials:.0f}"


if __name__ == "__main__":
    main(simulate, SimulationConfig())
