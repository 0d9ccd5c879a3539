"""What a corpus is to the preparation: a list of pieces, and a way to make staves of one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from datasets.errors import CorpusError
from datasets.staff import StaffSample, StaffSize

SPLITS = ("train", "validation", "test")
_SPLIT_SHARES = (8, 1, 1)  # tenths
_TRAINING_SHARES = (9, 1, 0)
REASON_TOO_LONG = "more symbols than the size allows"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a source.

    Attributes:
        size: the image that every staff fits into.
        seed: of everything random.
        root: the folder with the user's files; None for what a source has of its own.
        options: a value for each of the source's `options`.
    """

    size: StaffSize
    seed: int = 0
    root: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The root of a source that needs one."""
        assert self.root is not None, "the preparation asks no source for files without a root"
        return self.root

    def path(self, piece: Piece) -> Path:
        """The file or folder that a piece of `root` names."""
        return self.folder / piece.content


@dataclass(frozen=True)
class Piece:
    """One piece of music, small enough to be sent to a worker.

    Attributes:
        name: unique in the corpus; rejects are called by it.
        work: the music that it is a part of; the staves of a work stand in one split.
        group: works of one group stand in one split too (the same tune in two collections).
        content: whatever `Source.staves` needs: a text, or a path below the request's root.
        published: the split that the corpus's authors gave it; "" for ours.
    """

    name: str
    work: str
    group: str
    content: str
    published: str = ""

    @property
    def split(self) -> str:
        """Where it belongs: as published, or by a hash of its group 80 % train, 10 % validation, 10 % test."""
        return self.published or split_of(self.group)


def split_of(group: str) -> str:
    """The split of a group by a hash of its name: the same on every machine, whatever else is in the corpus."""
    return _by_hash(group, _SPLIT_SHARES)


def training_split_of(group: str) -> str:
    """The same where the test set is published: 90 % train, 10 % validation."""
    return _by_hash(group, _TRAINING_SHARES)


def _by_hash(group: str, shares: Sequence[int]) -> str:
    tenth = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % sum(shares)
    train, validation, _ = shares
    return SPLITS[(tenth >= train) + (tenth >= train + validation)]


@dataclass(frozen=True)
class Reject:
    """Something that did not become a staff.

    Attributes:
        reason: what is counted; the same words for the same kind of fault.
        detail: what is particular to this one.
    """

    piece: str
    reason: str
    detail: str = ""


def counted(problem: str) -> tuple[str, str]:
    """A problem such as "image and label differ: no dots" as reason and detail."""
    reason, _, detail = problem.partition(": ")
    return reason, detail


class UnusableError(ValueError):
    """A file that cannot become a staff: `reason` is counted, `detail` is listed. Raised within `Source.staves`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


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
    """Raised by one whenever the same seed and files would give other staves."""

    needs_root: bool = True
    """Whether it has nothing of its own, and `root=` must name the user's files."""

    default_staff: str = "full"
    """The size of staves where nothing else is said."""

    staves_an_image: tuple[int, ...] = (1,)
    """What its images can hold: one staff, the two of a grand staff, or either."""

    options: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """What can be chosen on the command line, and between what; the first is what is taken otherwise."""

    @abstractmethod
    def pieces(self, request: Request) -> Sequence[Piece]:
        """All pieces, in the order in which they are to be taken; the same for the same seed and files.

        Raises:
            CorpusError: the corpus is not on this machine, or not in this folder.
        """

    @abstractmethod
    def staves(self, piece: Piece, request: Request) -> Harvest:
        """Make staves of one piece. Runs in a worker process that may die.

        Raises:
            UnusableError: the piece as a whole cannot be used.
        """

    def default_limit(self, size: StaffSize) -> int | None:
        """How many staves to prepare where nothing else is said; None for all there are."""
        del size
        return None

    def seconds_a_piece(self, request: Request) -> float:
        """How long a worker may take for one piece: many times what it needs, as the machine may be busy."""
        del request
        return 60.0

    def remarks(self, request: Request) -> Sequence[str]:
        """What a user should know about this choice of files and options; said, and kept in the manifest."""
        del request
        return ()


def nothing_found(data: str, root: Path | None, layout: str) -> CorpusError:
    """The error for a root that holds nothing of a corpus: `layout` says what was looked for."""
    return CorpusError(f"data={data}: nothing found in root={root}; looked for {layout}")
