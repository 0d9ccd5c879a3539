"""The training mix as a plan: which staves are drawn in which order, which of them cut, and where no music comes.

The plan is an endless chain of passes. A pass takes from every source as many staves as its weight says, each once
whole and `lengths` - 1 times cut, adds the negatives, and shuffles. Which staves are a source's turn is decided by
another chain, of permutations of that source, so a staff comes again only when all others of its source have come.

Every link of these chains is computed from the seed and its number alone: a training that goes on from a checkpoint
draws what an uninterrupted one would have drawn. Without torch, so that a search can check a mix beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.errors import ConfigError
from datasets.seeds import seed_from
from omr_model.config import MixConfig

NEGATIVE = -1

Ids = npt.NDArray[np.int64]


class Draw(NamedTuple):
    """One training sample, not yet made.

    Attributes:
        position: of the staff in the dataset, or `NEGATIVE` for an image without music.
        cut: the label is cut short at a random length.
        seed: of all that is random in it; every draw of a training has its own.
    """

    position: int
    cut: bool
    seed: int


class MixPlan:
    """What a training draws, from its first sample on.

    Args:
        sources: the source of every staff, in the order of the dataset; not empty.
        mix: weights, negatives and lengths; the distortion is no matter of the plan.
        seed: of every order and of the draws' own seeds.

    Attributes:
        taken: how many staves of each source a pass takes.
        negatives: how many images without music are in a pass.
        size: draws in a pass.

    Raises:
        ConfigError: a weight of a source that is not there, or no source with a weight above zero.
    """

    def __init__(self, sources: Sequence[str], mix: MixConfig, seed: int) -> None:
        check_weights(mix, set(sources))
        self.seed = seed
        self.lengths = mix.lengths
        names = np.array(sources)
        self._staves = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
        weights = {name: mix.weights.get(name, 1.0) for name in self._staves}
        self.taken = {
            name: max(1, round(weight * len(self._staves[name]))) for name, weight in weights.items() if weight > 0
        }
        music = mix.lengths * sum(self.taken.values())
        self.negatives = round(music * mix.negatives / (1 - mix.negatives))
        self.size = music + self.negatives

    def draws(self, first: int, count: int) -> Iterator[Draw]:
        """The draws from the number `first` on."""
        rows = _stretch(self._pass, self.size, first, count)
        for number, (position, cut) in enumerate(rows.tolist(), start=first):
            yield Draw(position, bool(cut), seed_from(self.seed, f"draw {number}"))

    def _pass(self, number: int) -> Ids:
        """Staves and whether they are cut, shuffled; [size, 2]."""
        music = np.concatenate([self._turn(source, number) for source in self.taken])
        positions = np.concatenate([np.tile(music, self.lengths), np.full(self.negatives, NEGATIVE)])
        whole = len(music)
        cut = np.zeros(self.size, dtype=np.int64)
        cut[whole : whole * self.lengths] = 1
        return np.column_stack([positions, cut])[self._rng(f"pass {number}").permutation(self.size)]

    def _turn(self, source: str, number: int) -> Ids:
        """The staves of a source that are in a pass."""
        staves, taken = self._staves[source], self.taken[source]

        def permutation(link: int) -> Ids:
            return staves[self._rng(f"permutation {link} of {source}").permutation(len(staves))]

        return _stretch(permutation, len(staves), number * taken, taken)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(seed_from(self.seed, name))


def check_weights(mix: MixConfig, sources: Collection[str]) -> None:
    """Make sure that the weights are weights of these sources.

    Raises:
        ConfigError: a source that is not there, or no source with a weight above zero.
    """
    known = ", ".join(sorted(sources))
    for name in mix.weights:
        if name not in sources:
            raise ConfigError(f"train.mix.weights.{name}: the training staves have no such source; there are {known}")
    if not any(mix.weights.get(name, 1.0) for name in sources):
        raise ConfigError(f"train.mix.weights: one source must have a weight above 0, but none of {known} has")


def _stretch(link: Callable[[int], Ids], length: int, start: int, count: int) -> Ids:
    """Rows `start` to `start + count` of an endless chain, whose links have one length and are known by number."""
    first, offset = divmod(start, length)
    last = (start + count - 1) // length
    return np.concatenate([link(number) for number in range(first, last + 1)])[offset : offset + count]
