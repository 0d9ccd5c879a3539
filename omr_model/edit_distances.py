"""Edit distances of many pairs of sequences at once: a corpus of 100,000 staves in a fraction of a second.

Most staves are read right, and most of the others nearly so. So what both sequences begin and end with is cut off
first, for all pairs at once, which leaves an edit distance as it is. What is left goes through Myers' bit-parallel
algorithm in Hyyrö's form, a pair a lane: a column of the table is one 64-bit word, and one numpy operation does a step
of all pairs. Where both rests are longer than a word, `editdistance` takes over.

    Myers, Journal of the ACM 46, 1999; Hyyrö, Explaining and extending the bit-parallel approximate string matching
    algorithm of Myers, 2001

Shapes: S pairs; L places of the longest; W bits of a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import editdistance
import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]
Words: TypeAlias = npt.NDArray[np.uint64]

WORD = 64
CELLS = 1 << 19  # of a batch: it stays in a processor's cache
_ONE = np.uint64(1)
_ALL = ~np.uint64(0)


@dataclass(frozen=True)
class Rows:
    """Sequences of codes (integers of at least 0), one behind the other.

    Attributes:
        codes: of all of them.
        starts: where each begins, [S].
        lengths: of each, [S].
    """

    codes: Codes
    starts: Ints
    lengths: Ints

    @classmethod
    def of(cls, codes: Codes, lengths: Ints) -> Rows:
        """Sequences that follow upon each other without a gap."""
        return cls(codes, np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, places: Ints) -> Rows:
        """Some of the sequences."""
        return Rows(self.codes, self.starts[places], self.lengths[places])

    def compact(self) -> Rows:
        """The same sequences without what lies between them."""
        gap = self.starts - (np.cumsum(self.lengths) - self.lengths)
        return Rows.of(self.codes[np.arange(self.lengths.sum()) + np.repeat(gap, self.lengths)], self.lengths)

    def recoded(self, code_of: Codes) -> Rows:
        """The same places with other codes: what `code_of` has at each one's code."""
        return Rows(code_of[self.codes], self.starts, self.lengths)

    def kept(self, is_kept: npt.NDArray[np.bool_]) -> Rows:
        """Without the places whose code is not kept, [number of codes]."""
        kept = is_kept[self.codes]
        before = np.concatenate([[0], np.cumsum(kept)])
        starts = before[self.starts]
        return Rows(self.codes[kept], starts, before[self.starts + self.lengths] - starts)

    def padded(self, width: int, fill: int, *, backwards: bool = False) -> Codes:
        """As one array [S, width], from the first place on or from the last one; `fill` behind the end."""
        place_L = np.arange(width)
        inside_SL = place_L < self.lengths[:, None]
        first_S = self.starts + self.lengths - 1 if backwards else self.starts
        if not len(self.codes):
            return np.full((len(self), width), fill, dtype=np.int32)
        index_SL = np.where(inside_SL, first_S[:, None] + (-place_L if backwards else place_L), 0)
        padded: Codes = np.where(inside_SL, self.codes[index_SL], np.int32(fill)).astype(np.int32, copy=False)
        return padded


@dataclass(frozen=True)
class Differing:
    """The pairs that differ, without what they begin and end with alike.

    Attributes:
        places: which pairs these are.
        read, true: what is left of them.
    """

    places: Ints
    read: Rows
    true: Rows


def differing(read: Rows, true: Rows) -> Differing:
    """Cut off what both sequences of a pair begin and end with."""
    shorter = np.minimum(read.lengths, true.lengths)
    prefix = np.zeros(len(read), dtype=np.int64)
    for part in batches(np.maximum(read.lengths, true.lengths) + 1):
        prefix[part] = _alike(read.take(part), true.take(part))
    places = np.flatnonzero((prefix < shorter) | (read.lengths != true.lengths))
    read, true, prefix, shorter = read.take(places), true.take(places), prefix[places], shorter[places]
    suffix = np.zeros(len(places), dtype=np.int64)
    for part in batches(np.maximum(read.lengths, true.lengths) + 1):
        suffix[part] = _alike(read.take(part), true.take(part), backwards=True)
    suffix = np.minimum(suffix, shorter - prefix)
    return Differing(places, _inner(read, prefix, suffix), _inner(true, prefix, suffix))


def distances(read: Rows, true: Rows) -> Ints:
    """The edit distance of each pair, [S]; what `editdistance` gives."""
    found = np.zeros(len(read), dtype=np.int64)
    rest = differing(read, true)
    found[rest.places] = _rest_distances(rest.read, rest.true)
    return found


def batches(widths: Ints, cells: int = CELLS) -> Iterator[Ints]:
    """All places in parts of similar widths, the widest first, whose padded arrays have some `cells` cells."""
    order = np.argsort(-widths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, cells // max(1, int(widths[order[start]])))
        yield order[start : start + count]
        start += count


def _alike(read: Rows, true: Rows, *, backwards: bool = False) -> Ints:
    """How many places from the one end are equal, [S]: the padding of the two never is."""
    width = int(max(read.lengths.max(initial=0), true.lengths.max(initial=0))) + 1
    differs_SL = read.padded(width, -1, backwards=backwards) != true.padded(width, -2, backwards=backwards)
    alike: Ints = differs_SL.argmax(axis=1)
    return alike


def _inner(rows: Rows, prefix: Ints, suffix: Ints) -> Rows:
    return Rows(rows.codes, rows.starts + prefix, rows.lengths - prefix - suffix).compact()


def _rest_distances(read: Rows, true: Rows) -> Ints:
    shorter, longer = np.minimum(read.lengths, true.lengths), np.maximum(read.lengths, true.lengths)
    found = longer.copy()  # all that is there, where one of them is empty
    for place in np.flatnonzero(shorter > WORD).tolist():
        found[place] = editdistance.eval(*(_listed(rows, place) for rows in (read, true)))
    fitting = np.flatnonzero((shorter > 0) & (shorter <= WORD))
    turned = read.lengths[fitting] > true.lengths[fitting]  # the distance is the same either way around
    for places, one, other in ((fitting[~turned], read, true), (fitting[turned], true, read)):
        for part in batches(longer[places] + WORD):
            found[places[part]] = _myers(one.take(places[part]), other.take(places[part]))
    return found


def _listed(rows: Rows, place: int) -> list[int]:
    start = rows.starts[place]
    codes: list[int] = rows.codes[start : start + rows.lengths[place]].tolist()
    return codes


def _myers(patterns: Rows, texts: Rows) -> Ints:
    """Distances [S] of patterns of 1 to `WORD` places, from the longest text to the shortest."""
    width = -(-int(patterns.lengths.max()) // 8) * 8
    pattern_SW, text_SL = patterns.padded(width, -1), texts.padded(int(texts.lengths.max()), -2)
    last_S = (patterns.lengths - 1).astype(np.uint64)
    ahead_L = np.searchsorted(-texts.lengths, -np.arange(text_SL.shape[1]), side="left")  # texts longer than that
    distance_S = patterns.lengths.copy()
    up_S, down_S = np.full(len(patterns), _ALL), np.zeros(len(patterns), dtype=np.uint64)
    for place, ahead in enumerate(ahead_L):
        up, down, last = up_S[:ahead], down_S[:ahead], last_S[:ahead]
        equal = _equal_bits(pattern_SW[:ahead], text_SL[:ahead, place])
        across = (((equal & up) + up) ^ up) | equal
        right, left = down | ~(across | up), up & across
        distance_S[:ahead] += ((right >> last) & _ONE).astype(np.int64) - ((left >> last) & _ONE).astype(np.int64)
        right, equal = (right << _ONE) | _ONE, equal | down
        up_S[:ahead], down_S[:ahead] = (left << _ONE) | ~(equal | right), right & equal
    return distance_S


def _equal_bits(pattern_SW: Codes, symbol_S: Codes) -> Words:
    """A word for each pair: the bits of those places of the pattern that are the symbol."""
    packed_S8 = np.zeros((len(symbol_S), WORD // 8), dtype=np.uint8)
    packed_S8[:, : pattern_SW.shape[1] // 8] = np.packbits(pattern_SW == symbol_S[:, None], axis=1, bitorder="little")
    bits: Words = packed_S8.view("<u8").reshape(-1)
    return bits
