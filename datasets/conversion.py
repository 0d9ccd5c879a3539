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
from dataclasses import dataclass
from pathlib import Path

from datasets.chunks import Chunk, Ledger
from datasets.errors import CorpusError, OmrError
from datasets.progress import Progress
from datasets.sources import SOURCES, SPLITS, Harvest, Piece, Reject, Request, UnusableError
from datasets.staff import StaffSample
from datasets.workers import Failure, Workers

REASON_TOO_LONG = "more symbols than the size allows"
_PIECES_A_CHUNK = 256
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
        progress.start(self.limit)
        function = functools.partial(_harvest, self.data, self.request)
        tried = barren = 0
        reasons: Counter[str] = Counter()
        with Workers(function, self.workers or len(os.sched_getaffinity(0))) as workers:
            for number, batch in enumerate(_batches(pieces, _chunk_length(self.limit))):
                if self.limit is not None and ledger.total >= self.limit:
                    return
                chunk = Chunk.load(self.folder, number, ledger) or self._write(number, batch, workers, ledger, progress)
                tried, barren = tried + len(batch), barren + chunk.barren
                reasons.update(reject.reason for reject in chunk.rejects)
                if tried >= _PIECES_BEFORE_GIVING_UP and barren > self.max_rejects * tried:
                    raise CorpusError(self._gone_wrong(barren, tried, reasons))
                progress.reach(ledger.total)
                yield chunk

    def _write(
        self,
        number: int,
        batch: Sequence[Piece],
        workers: Workers[Piece, Harvest],
        ledger: Ledger,
        progress: Progress,
    ) -> Chunk:
        staves, rejects, barren = self._collect(batch, workers, ledger, progress)
        return Chunk.write(self.folder, number, staves, rejects, barren, self.request.seed)

    def _collect(
        self, batch: Sequence[Piece], workers: Workers[Piece, Harvest], ledger: Ledger, progress: Progress
    ) -> tuple[dict[str, list[StaffSample]], list[Reject], int]:
        """The staves of some pieces by split, what was rejected, and how many pieces gave nothing.

        Stops where the corpus is full.
        """
        staves: dict[str, list[StaffSample]] = {split: [] for split in SPLITS}
        rejects: list[Reject] = []
        barren = 0
        for piece, result in zip(batch, workers.map(batch), strict=False):
            harvest = _rejected(piece, result.reason) if isinstance(result, Failure) else result
            rejects += harvest.rejects
            barren += not harvest.staves
            for staff in harvest.staves:
                reason = self._objection(staff, piece, ledger)
                if reason:
                    rejects.append(Reject(staff.staff_id, reason))
                    continue
                staves[piece.split].append(staff)
                ledger.add(piece.split, staff.source, staff.work, staff.semantic)
                progress.reach(ledger.total)
                if ledger.total == self.limit:
                    return _without_empty(staves), rejects, barren
        return _without_empty(staves), rejects, barren

    def _objection(self, staff: StaffSample, piece: Piece, ledger: Ledger) -> str:
        """Why a staff may not join its split; "" where it may. A published split stands as it was published."""
        if not piece.published and ledger.owner(staff.semantic) not in (None, piece.split):
            return "the same music stands in another split"
        return ""

    def _gone_wrong(self, barren: int, tried: int, reasons: Counter[str]) -> str:
        most = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
        return (
            f"data={self.data}: {barren:,} of the first {tried:,} pieces gave no staff, more than "
            f"max_rejects={self.max_rejects:g} allows; most often: {most}. What is finished is kept in {self.folder}"
        )


def _harvest(data: str, request: Request, piece: Piece) -> Harvest:
    """What a worker does: a file that is no good is a reject with its reason, whatever is wrong with it."""
    try:
        return SOURCES[data].staves(piece, request)
    except UnusableError as error:
        return _rejected(piece, error.reason, error.detail)
    except OmrError as error:
        return _rejected(piece, type(error).__name__.removesuffix("Error").lower() + " not usable", str(error))
    except Exception as error:  # a fault of ours, but not worth the other 87,000 files
        return _rejected(piece, f"the reader failed: {type(error).__name__}", str(error))


def _rejected(piece: Piece, reason: str, detail: str = "") -> Harvest:
    return Harvest(rejects=(Reject(piece.name, reason, detail),))


def _without_empty(staves: dict[str, list[StaffSample]]) -> dict[str, list[StaffSample]]:
    return {split: rows for split, rows in staves.items() if rows}


def _batches(pieces: Sequence[Piece], length: int) -> Iterator[Sequence[Piece]]:
    iterator = iter(pieces)
    while batch := list(itertools.islice(iterator, length)):
        yield batch


def _chunk_length(limit: int | None) -> int:
    """Pieces a chunk: about eight chunks or more, so that an interruption costs an eighth at most."""
    return _PIECES_A_CHUNK if limit is None else min(_PIECES_A_CHUNK, max(4, limit // 16))
