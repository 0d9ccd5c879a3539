"""The long part of a preparation: pieces go through the workers and come back as chunks of shards.

Chunks are written in the order of the source, so that the result is the same for any number of workers and for any
number of interruptions.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.chunks import Chunk, Ledger
from datasets.errors import CorpusError, OmrError
from datasets.progress import Progress
from datasets.sources import SOURCES, SPLITS, Harvest, Piece, Reject, Request, UnusableError
from datasets.staff import StaffSample
from datasets.workers import Failure, Workers

_PIECES_A_CHUNK = 256
_STAVES_A_CHUNK = 512  # a score may give a thousand
_PIECES_BEFORE_GIVING_UP = 200


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is converted, and where to.

    Attributes:
        data: name of the source.
        limit: how many staves; None for all.
        max_rejects: the share of pieces without a staff at which the conversion stops.
        workers: processes; None for one a core.
        folder: where the shards are written.
    """

    data: str
    request: Request
    limit: int | None
    max_rejects: float
    workers: int | None
    folder: Path

    def chunks(self, pieces: Sequence[Piece], ledger: Ledger, progress: Progress) -> Iterator[Chunk]:
        """All chunks of the corpus, from the disk as far as they are there; the ledger learns what is in them.

        Raises:
            CorpusError: too many pieces are rejected. What is finished is kept.
        """
        tally = _Tally(progress, ledger, self.limit)
        progress.start(*((self.limit, "staves") if self.limit else (len(pieces), "pieces")))
        number = 0
        while chunk := Chunk.load(self.folder, number, ledger):
            tally.count(chunk.pieces, chunk.barren, chunk.rejects)
            yield chunk
            number += 1
        function = functools.partial(_harvest, self.data, self.request)
        count = self.workers or len(os.sched_getaffinity(0))
        with Workers(function, count, SOURCES[self.data].seconds_a_piece(self.request)) as workers:
            rest = pieces[tally.tried :]
            harvests = zip(rest, workers.map(rest), strict=True)
            while tally.tried < len(pieces) and not tally.is_full:
                yield self._write(number, harvests, tally)
                number += 1
                if tally.tried >= _PIECES_BEFORE_GIVING_UP:
                    self._check(tally)
        if ledger.total:
            self._check(tally)

    def _write(self, number: int, harvests: Iterator[tuple[Piece, Harvest | Failure]], tally: _Tally) -> Chunk:
        """Write the staves of the next pieces, up to the limit and to what memory should hold."""
        staves: dict[str, list[StaffSample]] = {split: [] for split in SPLITS}
        rejects: list[Reject] = []
        barren_before, tried_before = tally.barren, tally.tried
        for piece, result in itertools.islice(harvests, _chunk_length(self.limit)):
            harvest = _rejected(piece, result.reason) if isinstance(result, Failure) else result
            accepted, refused = self._sift(piece, harvest, tally)
            staves[piece.split] += accepted
            rejects += refused
            tally.count(1, not harvest.staves, refused)
            if tally.is_full or sum(map(len, staves.values())) >= _STAVES_A_CHUNK:
                break
        return Chunk.write(
            self.folder,
            number,
            {split: rows for split, rows in staves.items() if rows},
            rejects,
            pieces=tally.tried - tried_before,
            barren=tally.barren - barren_before,
            seed=self.request.seed,
        )

    def _sift(self, piece: Piece, harvest: Harvest, tally: _Tally) -> tuple[list[StaffSample], list[Reject]]:
        """The staves of a piece that join the corpus, as long as there is room, and everything rejected."""
        accepted: list[StaffSample] = []
        rejects = list(harvest.rejects)
        for staff in harvest.staves:
            if reason := self._objection(staff, piece, tally.ledger):
                rejects.append(Reject(staff.staff_id, reason))
            elif not tally.is_full:
                accepted.append(staff)
                tally.ledger.add(piece.split, staff.source, staff.work, staff.semantic)
        return accepted, rejects

    def _check(self, tally: _Tally) -> None:
        if tally.barren > self.max_rejects * tally.tried:
            most = "; ".join(f"{count:,} x {reason}" for reason, count in tally.reasons.most_common(3))
            raise CorpusError(
                f"data={self.data}: {tally.barren:,} of the first {tally.tried:,} pieces gave no staff, more than "
                f"max_rejects={self.max_rejects:g} allows; most often: {most}. What is finished is kept in "
                f"{self.folder}"
            )

    def _objection(self, staff: StaffSample, piece: Piece, ledger: Ledger) -> str:
        """Why a staff may not join its split; "" where it may. A published split stands as it was published."""
        if not piece.published and ledger.owner(staff.semantic) not in (None, piece.split):
            return "the same music stands in another split"
        return ""


@dataclass
class _Tally:
    """How far a conversion is, told to the terminal.

    Attributes:
        tried, barren: pieces, and those of them without a staff.
    """

    progress: Progress
    ledger: Ledger
    limit: int | None
    tried: int = 0
    barren: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.ledger.total >= self.limit

    def count(self, tried: int, barren: int, rejects: Sequence[Reject]) -> None:
        self.tried += tried
        self.barren += barren
        self.reasons.update(reject.reason for reject in rejects)
        rejected = self.reasons.total()
        self.progress.reach(
            self.ledger.total if self.limit else self.tried, f"{rejected:,} rejected" if rejected else ""
        )


def _harvest(data: str, request: Request, piece: Piece) -> Harvest:
    """What a worker does: a file that is no good is a reject with its reason, whatever is wrong with it."""
    try:
        return SOURCES[data].staves(piece, request)
    except UnusableError as error:
        return _rejected(piece, error.reason, error.detail)
    except OSError as error:
        return _rejected(piece, "a file that cannot be read", str(error))
    except OmrError as error:
        return _rejected(piece, type(error).__name__.removesuffix("Error").lower() + " not usable", str(error))
    except Exception as error:  # a fault of ours, but not worth the other 87,000 files
        return _rejected(piece, f"the reader failed: {type(error).__name__}", str(error))


def _rejected(piece: Piece, reason: str, detail: str = "") -> Harvest:
    return Harvest(rejects=(Reject(piece.name, reason, detail),))


def _chunk_length(limit: int | None) -> int:
    """Pieces a chunk: about eight chunks or more, so that an interruption costs an eighth at most."""
    return _PIECES_A_CHUNK if limit is None else min(_PIECES_A_CHUNK, max(4, limit // 16))
