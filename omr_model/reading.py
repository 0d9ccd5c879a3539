"""What a model has read from a picture, and how sure it is; here there is no torch, so that anybody can take it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from datasets.notation import Symbol


@dataclass(frozen=True, slots=True)
class Reading:
    """One staff as a model read it.

    Attributes:
        symbols: in their order; none on a strip without music.
        confidences: of each symbol, the probability that the model gave it: the product of the probabilities of the
            entries that were taken in the branches that it has (rhythm; of a note pitch and lift, too).
    """

    symbols: list[Symbol]
    confidences: list[float]

    @property
    def confidence(self) -> float:
        """Of the staff: the geometric mean over its symbols; 1 if there is none."""
        if not self.confidences:
            return 1.0
        return math.exp(sum(math.log(max(each, 1e-12)) for each in self.confidences) / len(self.confidences))
