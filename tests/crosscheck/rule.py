"""A class of differences between two readings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.crosscheck.bars import Bar


@dataclass(frozen=True)
class Rule:
    """A reason why two readings may differ though our label is faithful, and how it is recognised.

    Attributes:
        reason: which reading departs from the source, and how.
        suffixes: of the formats in which it occurs.
        aspects: in which it shows.
        holds: whether a difference is of the class, given our bar, theirs and the text of the source. A bar that one
            reading lacks is empty.
    """

    reason: str
    suffixes: frozenset[str]
    aspects: frozenset[str]
    holds: Callable[[Bar, Bar, str], bool]
