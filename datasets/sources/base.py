"""What a corpus is to the preparation: a list of pieces, and a way to make staves of one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.staff import StaffSample, StaffSize

SPLITS = ("train", "validation", "test")
_SPLIT_SHARES = (8, 1, 1)  # tenths


@dataclass(frozen=True)
class Piece:
    """One piece of music, small enough to be sent to a worker.

    Attributes:
        work: unique in the corpus.
        group: pieces of one group stand in one split (the same tune in two collections).
        content: whatever `Source.staves` needs: a text, or the path of a file.
    """

    work: str
    group: str
    content: str

    @property
    def split(self) -> str:
        """Where it belongs, by a hash of its group: 80 % train, 10 % validation, 10 % test."""
        tenth = int.from_bytes(hashlib.sha256(self.group.encode()).digest()[:8], "big") % sum(_SPLIT_SHARES)
        train, validation, _ = _SPLIT_SHARES
        return SPLITS[(tenth >= train) + (tenth >= train + validation)]


@dataclass(frozen=True)
class Reject:
    """Something that did not become a staff."""

    piece: str
    reason: str


@dataclass(frozen=True)
class Harvest:
    """What one piece gave."""

    staves: tuple[StaffSample, ...] = ()
    rejects: tuple[Reject, ...] = ()


class Source(ABC):
    """A corpus. A subclass is one file, and one line in `datasets.sources.SOURCES`."""

    name: str
    """As in `data=<name>`."""

    recipe: int
    """Raised by one whenever the same seed would give other staves."""

    @abstractmethod
    def pieces(self, seed: int) -> Sequence[Piece]:
        """All pieces, in the order in which they are to be taken; the same for the same seed.

        Raises:
            CorpusError: the corpus is not on this machine.
        """

    @abstractmethod
    def staves(self, piece: Piece, size: StaffSize, seed: int) -> Harvest:
        """Make staves of one piece. Runs in a worker process that may die."""

    def default_limit(self, size: StaffSize) -> int | None:
        """How many staves to prepare where nothing else is said; None for all there are."""
        del size
        return None
