"""The training mix as a plan: which staves are drawn in which order, which of them cut, and where no music comes.

The plan is an endless chain of passes. A pass takes from every source as many staves as its weight says, each once
whole and `lengths` - 1 times cut, adds the negatives, and shuffles. Which staves are a source's turn is decided by
another chain, of permutations of that source, so a staff comes again only when all others of its source have come.
With weights of 1, as the training log mixed, a pass is every staff once: no source is begun anew before all others are
used up.

Negatives are the corpus's strips without music, in a chain like any source's; a corpus without any has them drawn.

Every link of these chains is computed from the seed and its number alone: a training that goes on from a checkpoint
draws what an uninterrupted one would have drawn. Without torch, so that a search can check a mix beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.errors import ConfigError
from datasets.seeds import seed_from
from datasets.shards import Staves
from omr_model.mix_config import MixConfig

NEGATIVE = -1
_WITHOUT_MUSIC = "strips without music"

Ids = npt.NDArray[np.int64]


class Draw(NamedTuple):
    """One training sample, not yet made.

    Attributes:
        position: of the staff in the dataset, or `NEGATIVE` for an image without music that is to be drawn.
        cut: the label is cut short at a random length.
        seed: of all that is random in it; every draw of a training has its own.
    """

    position: int
    cut: bool
    seed: int


@dataclass(frozen=True)
class Stock:
    """What there is to draw from.

    Attributes:
        sources: the source of every staff, in the order of the dataset; not empty.
        without_music: positions of the strips that have an empty label.
        weights: the corpus's own, by source; 1 for one that is not named.
    """

    sources: Sequence[str]
    without_music: Collection[int] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, staves: Staves) -> Stock:
        """All staves of a split."""
        return cls(staves.sources(), staves.without_music(), staves.corpus.manifest.weights)


class MixPlan:
    """What a training draws, from its first sample on.

    Args:
        stock: what there is to draw from.
        mix: weights, negatives and lengths; the distortion is no matter of the plan.
        seed: of every order and of the draws' own seeds.

    Attributes:
        staves: how many there are to draw from.
        taken: how many staves of each source a pass takes.
        negatives: how many images without music are in a pass.
        size: draws in a pass.

    Raises:
        ConfigError: a weight of a source that is not there, or no source of music with a weight above zero.
    """

    def __init__(self, stock: Stock, mix: MixConfig, seed: int) -> None:
        check_weights(mix, set(stock.sources))
        self.seed = seed
        self.lengths = mix.lengths
        self.staves = len(stock.sources)
        names = np.array(stock.sources)
        silent = np.isin(np.arange(self.staves), list(stock.without_music))
        self._music: list[_Chain] = []
        strips, wanted = np.empty(0, dtype=np.int64), 0.0
        for name in np.unique(names).tolist():
            weight = stock.weights.get(name, 1.0) * mix.weights.get(name, 1.0)
            music, others = (np.flatnonzero((names == name) & kind) for kind in (~silent, silent))
            if weight > 0 and len(music):
                self._music.append(_Chain(name, music, max(1, round(weight * len(music))), seed))
            if weight > 0:
                strips, wanted = np.concatenate([strips, others]), wanted + weight * len(others)
        if not self._music:
            raise ConfigError("train.mix.weights: no source of staves with music has a weight above 0")
        whole = self.lengths * sum(chain.taken for chain in self._music)
        share = mix.negatives
        self.negatives = round(wanted) if share is None else round(whole * share / (1 - share))
        self._strips = _Chain(_WITHOUT_MUSIC, strips, self.negatives, seed) if len(strips) and self.negatives else None
        self.taken = {chain.name: chain.taken for chain in self._music}
        self.size = whole + self.negatives

    def draws(self, first: int, count: int) -> Iterator[Draw]:
        """The draws from the number `first` on."""
        rows = _stretch(self._pass, self.size, first, count)
        for number, (position, cut) in enumerate(rows.tolist(), start=first):
            yield Draw(position, bool(cut), seed_from(self.seed, f"draw {number}"))

    def _pass(self, number: int) -> Ids:
        """Staves and whether they are cut, shuffled; [size, 2]."""
        music = np.concatenate([chain.turn(number) for chain in self._music])
        negatives = self._strips.turn(number) if self._strips else np.full(self.negatives, NEGATIVE)
        positions = np.concatenate([np.tile(music, self.lengths), negatives])
        whole = len(music)
        cut = np.zeros(self.size, dtype=np.int64)
        cut[whole : whole * self.lengths] = 1
        rows = np.column_stack([positions, cut])[_rng(self.seed, f"pass {number}").permutation(self.size)]
        for chain in (*self._music, *([self._strips] if self._strips else [])):
            if chain.begins_anew_within(number):  # the shuffling must not bring a staff again before the last of them
                rows[np.isin(rows[:, 0], chain.staves) & (rows[:, 1] == 0), 0] = chain.turn(number)
        return rows


@dataclass(frozen=True)
class _Chain:
    """Staves in an endless chain of permutations, of which every pass takes so many."""

    name: str
    staves: Ids
    taken: int
    seed: int

    def turn(self, number: int) -> Ids:
        """The staves that are in a pass."""
        return _stretch(self._permutation, len(self.staves), number * self.taken, self.taken)

    def begins_anew_within(self, number: int) -> bool:
        """Whether a pass has the end of a permutation and the beginning of the next."""
        first, last = number * self.taken, (number + 1) * self.taken - 1
        return first // len(self.staves) != last // len(self.staves)

    def _permutation(self, link: int) -> Ids:
        return self.staves[_rng(self.seed, f"permutation {link} of {self.name}").permutation(len(self.staves))]


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


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(seed_from(seed, name))


def _stretch(link: Callable[[int], Ids], length: int, start: int, count: int) -> Ids:
    """Rows `start` to `start + count` of an endless chain, whose links have one length and are known by number."""
    first, offset = divmod(start, length)
    last = (start + count - 1) // length
    return np.concatenate([link(number) for number in range(first, last + 1)])[offset : offset + count]
