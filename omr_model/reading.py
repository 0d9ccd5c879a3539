"""What a model has read from a picture, and how sure it is; here there is no torch, so that anybody can take it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datasets.images import Gray
from datasets.notation import Symbol
from datasets.vocabulary import EOS, Vocabulary


@dataclass(frozen=True, slots=True)
class Reading:
    """One staff as a model read it.

    Attributes:
        symbols: in their order; none on a strip without music.
        confidences: of each symbol, the probability that the model gave it: the product of the probabilities of the
            entries that were taken in the branches that it has (rhythm; of a note pitch and lift, too).
        end: the probability that it gave to the staff's end, after the last symbol; None where it wrote none, and was
            cut off at the longest sequence.
    """

    symbols: list[Symbol]
    confidences: list[float]
    end: float | None = None

    @property
    def confidence(self) -> float:
        """Of the staff: the geometric mean over its symbols and its end, so that to stop early has to be sure, too.

        Of no symbols without an end it is 1.
        """
        taken = [*self.confidences, *([] if self.end is None else [self.end])]
        return math.exp(sum(math.log(max(each, 1e-12)) for each in taken) / max(len(taken), 1))

    def in_words_of(self, words: Vocabulary) -> Reading:
        """The same in another vocabulary, each symbol as sure as the one that it comes from."""
        kept = words.rewrite(self.symbols)
        return Reading([symbol for _, symbol in kept], [self.confidences[index] for index, _ in kept], self.end)


class Reader(Protocol):
    """A trained model, whatever runs it."""

    def read(self, images: Sequence[Gray], batch_size: int = 16) -> list[Reading]:
        """Read pictures of one staff each, of any size, so many at a time."""


def read_off(
    vocabulary: Vocabulary, ids_TS: npt.NDArray[np.int64], probabilities_TS: npt.NDArray[np.float32]
) -> Reading:
    """What a decoder has written for one staff.

    Args:
        vocabulary: the model's.
        ids_TS: of T steps the entries taken in the rhythm, pitch and lift branch, [T, 3].
        probabilities_TS: the probability of each.
    """
    written = vocabulary.written(ids_TS[:, 0].tolist())
    ids_SN, sure_SN = ids_TS[written].T, probabilities_TS[written].T
    symbols = vocabulary.decode(*ids_SN.tolist())
    of_notes_N = np.where(vocabulary.note_rhythm_mask[ids_SN[0]], sure_SN[1] * sure_SN[2], 1)
    ends = np.flatnonzero(ids_TS[:, 0] == EOS)
    end = float(probabilities_TS[ends[0], 0]) if len(ends) else None
    return Reading(symbols, (sure_SN[0] * of_notes_N).tolist(), end)
