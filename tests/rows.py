"""Plain lists of numbers as what edit distances are computed of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from omr_model.edit_distances import Rows


def rows_of(sequences: Sequence[Sequence[int]]) -> Rows:
    """A row each."""
    return Rows.of(
        np.array(list(chain.from_iterable(sequences)), dtype=np.int32),
        np.array([len(sequence) for sequence in sequences], dtype=np.int64),
    )
