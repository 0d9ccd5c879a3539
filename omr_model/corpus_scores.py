"""The scores of many staves at once: what `omr_model.metrics.score_staff` gives for each, in a small part of the time.

Symbols become codes, one for each that is different, and from there on all staves go through the same few numpy
operations. A staff that was read right costs next to nothing; of the others only what lies between the first and the
last difference is looked at, which changes no figure:

    distances     what two sequences begin and end with alike is no part of their edit distance
    the classes   `align` follows the best alignment from the end. What is equal there is matched anyway. Once it comes
                  to what is equal at the beginning, all that is read there is matched with something equal, or the
                  other way around; whichever it is, the same symbols are left over, and their classes are their own.

Shapes: S staves; N and M places in what was read and in what is true; K different symbols; C error classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from datasets.notation import CHORD, Symbol
from omr_model.edit_distances import Codes, Ints, Rows, batches, differing, distances
from omr_model.metrics import (
    CLASS_OF_KIND,
    EDIT,
    KIND_WEIGHT,
    Edits,
    ErrorClass,
    StaffScore,
)

CLASSES = tuple(ErrorClass)
_PLACE = {error: place for place, error in enumerate(CLASSES)}
_CELLS = 1 << 16  # of a batch of cost tables


@dataclass(frozen=True)
class EditsOfStaves:
    """Edit distances and lengths of references, in symbols, each [S]."""

    distance: Ints
    length: Ints

    @property
    def sum(self) -> Edits:
        """Over all staves: the corpus's."""
        return Edits(int(self.distance.sum()), int(self.length.sum()))

    def of_staves(self) -> list[Edits]:
        """Staff by staff."""
        return list(map(_edits, self.distance.tolist(), self.length.tolist()))


@dataclass(frozen=True)
class CorpusScores:
    """`StaffScore` of every staff, as columns; `by_class` is [S, C] in the order of `ErrorClass`."""

    total: EditsOfStaves
    rhythm: EditsOfStaves
    pitch: EditsOfStaves
    lift: EditsOfStaves
    log: EditsOfStaves
    by_class: Ints

    def of_staves(self) -> list[StaffScore]:
        """Staff by staff."""
        parts = [part.of_staves() for part in (self.total, self.rhythm, self.pitch, self.lift, self.log)]
        classes: list[dict[ErrorClass, int]] = [{} for _ in range(len(self.by_class))]
        for staff, place in np.argwhere(self.by_class).tolist():
            classes[staff][CLASSES[place]] = int(self.by_class[staff, place])
        return list(map(StaffScore, *parts, classes))


def score_staves(predictions: Sequence[Sequence[Symbol]], references: Sequence[Sequence[Symbol]]) -> CorpusScores:
    """Compare each prediction with its reference, both in the same writing (printed accidentals).

    Raises:
        ValueError: not as many predictions as references.
    """
    if len(predictions) != len(references):
        raise ValueError(f"there are {len(predictions)} predictions for {len(references)} references")
    symbols, read, true = _coded(predictions, references)
    parts = _Parts.of(symbols)
    wrong = differing(read, true)
    by_class = np.zeros((len(read), len(CLASSES)), dtype=np.int64)
    by_class[wrong.places] = _by_class(parts, wrong.read, wrong.true)

    def branch(codes: Codes, of_notes: bool) -> EditsOfStaves:
        distance, inner, whole = np.zeros(len(read), dtype=np.int64), (wrong.read, wrong.true), true
        if of_notes:
            inner, whole = (inner[0].kept(parts.is_note), inner[1].kept(parts.is_note)), true.kept(parts.is_note)
        distance[wrong.places] = distances(inner[0].recoded(codes), inner[1].recoded(codes))
        return EditsOfStaves(distance, whole.lengths)

    return CorpusScores(
        total=EditsOfStaves(by_class.sum(axis=1), true.lengths),
        rhythm=branch(parts.rhythm, of_notes=False),
        pitch=branch(parts.pitch, of_notes=True),
        lift=branch(parts.lift, of_notes=True),
        log=_log_edits(parts, read, true),
        by_class=by_class,
    )


@lru_cache(maxsize=1 << 14)
def _edits(distance: int, length: int) -> Edits:
    """Few are different, and they cannot be changed."""
    return Edits(distance, length)


# Codes ------------------------------------------------------------------------------------------------------


class _Codebook(dict[tuple[str, str, str], int]):
    """A code for each key, in the order in which they are first asked for."""

    def __missing__(self, key: tuple[str, str, str]) -> int:
        code = self[key] = len(self)
        return code


def _coded(
    predictions: Sequence[Sequence[Symbol]], references: Sequence[Sequence[Symbol]]
) -> tuple[list[Symbol], Rows, Rows]:
    """The different symbols, and the sequences in their places in that list."""
    book, key = _Codebook(), attrgetter("rhythm", "pitch", "lift")

    def rows(sequences: Sequence[Sequence[Symbol]]) -> Rows:
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        keys = map(key, chain.from_iterable(sequences))
        return Rows.of(np.fromiter(map(book.__getitem__, keys), np.int32, int(lengths.sum())), lengths)

    read, true = rows(predictions), rows(references)
    return [Symbol(*parts) for parts in book], read, true


@dataclass(frozen=True)
class _Parts:
    """What is to be known of each code, [K]: codes of its parts and of its text, and what it is."""

    rhythm: Codes
    pitch: Codes
    lift: Codes
    text: Codes
    error: Codes
    is_note: npt.NDArray[np.bool_]
    is_time: npt.NDArray[np.bool_]
    joins: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, symbols: Sequence[Symbol]) -> _Parts:
        def told(values: Iterable[str]) -> Codes:
            book: dict[str, int] = {}
            return np.array([book.setdefault(value, len(book)) for value in values], dtype=np.int32)

        def flags(values: Iterable[bool]) -> npt.NDArray[np.bool_]:
            return np.array(list(values), dtype=np.bool_)

        return cls(
            rhythm=told(symbol.rhythm for symbol in symbols),
            pitch=told(symbol.pitch for symbol in symbols),
            lift=told(symbol.lift for symbol in symbols),
            text=told(str(symbol) for symbol in symbols),
            error=np.array([_PLACE[CLASS_OF_KIND[symbol.kind]] for symbol in symbols], dtype=np.int32),
            is_note=flags(symbol.is_note for symbol in symbols),
            is_time=flags(symbol.kind == "timeSignature" for symbol in symbols),
            joins=flags(symbol.rhythm == CHORD for symbol in symbols),
        )


# As the training log counted --------------------------------------------------------------------------------


def _log_edits(parts: _Parts, read: Rows, true: Rows) -> EditsOfStaves:
    """On events, a chord one of them; time signatures are taken out of what was read."""
    count = len(read)
    read = read.kept(~parts.is_time)
    codes, lengths = np.concatenate([read.codes, true.codes]), np.concatenate([read.lengths, true.lengths])
    both = _events(parts, Rows.of(codes, lengths))
    one, other = both.take(np.arange(count)), both.take(np.arange(count, 2 * count))
    return EditsOfStaves(distances(one, other), other.lengths)


def _events(parts: _Parts, rows: Rows) -> Rows:
    """The sequences of what stands at one place (`datasets.notation.events`), a code for each that reads differently.

    Args:
        rows: without a gap.
    """
    joins = parts.joins[rows.codes]
    begins = ~joins
    begins[1:] &= ~joins[:-1]
    begins[rows.starts[rows.lengths > 0]] = True
    first = np.flatnonzero(begins)
    before = np.concatenate([[0], np.cumsum(begins)])
    lengths = before[rows.starts + rows.lengths] - before[rows.starts]
    sizes = np.diff(np.concatenate([first, [len(begins)]]))
    text = parts.text[rows.codes].astype(np.int64)
    event, kinds = text[first], int(text.max(initial=0)) + 1
    longer, place, following = np.flatnonzero(sizes > 1), 1, kinds
    while len(longer):  # the beginnings of chords that are alike get one code, place by place
        pair = event[longer] * kinds + text[first[longer] + place]
        known, code = np.unique(pair, return_inverse=True)
        event[longer] = following + code
        following, place = following + len(known), place + 1
        longer = longer[sizes[longer] > place]
    return Rows.of(event.astype(np.int32), lengths)


# Which errors -----------------------------------------------------------------------------------------------


def _by_class(parts: _Parts, read: Rows, true: Rows) -> Ints:
    """How many errors of each class each pair has, [S, C]."""
    found = np.zeros((len(read), len(CLASSES)), dtype=np.int64)
    for part in batches((read.lengths + 1) * (true.lengths + 1), _CELLS):
        found[part] = _batch_by_class(parts, read.take(part), true.take(part))
    return found


def _batch_by_class(parts: _Parts, read: Rows, true: Rows) -> Ints:
    """As `align` goes, for all pairs in step: the tables first, then from their ends to their beginnings."""
    read_NS = read.padded(int(read.lengths.max()), 0).T
    true_MS = true.padded(int(true.lengths.max()), 0).T
    substitution_NMS = _substitution_costs(parts, read_NS, true_MS)
    cost = _cost_tables(substitution_NMS)
    found_SC = np.zeros((len(read), len(CLASSES)), dtype=np.int64)
    staff, i, j = np.arange(len(read)), read.lengths.copy(), true.lengths.copy()
    while len(staff):
        here, both = cost[i, j, staff], (i > 0) & (j > 0)
        substitution = substitution_NMS[i - 1, j - 1, staff] if substitution_NMS.size else np.zeros_like(here)
        substitutes = both & (here == cost[i - 1, j - 1, staff] + substitution)
        deletes = ~substitutes & (j > 0) & (here == cost[i, j - 1, staff] + EDIT)
        inserts = ~substitutes & ~deletes
        erring = ~substitutes | (substitution > 0)
        error = np.empty(len(staff), dtype=np.int32)
        error[substitutes] = _substituted(
            parts, read_NS[i[substitutes] - 1, staff[substitutes]], true_MS[j[substitutes] - 1, staff[substitutes]]
        )
        error[deletes] = parts.error[true_MS[j[deletes] - 1, staff[deletes]]]
        error[inserts] = parts.error[read_NS[i[inserts] - 1, staff[inserts]]]
        found_SC[staff[erring], error[erring]] += 1  # a staff has one edit a step
        i, j = i - ~deletes, j - ~inserts
        going = (i > 0) | (j > 0)
        staff, i, j = staff[going], i[going], j[going]
    return found_SC


def _substituted(parts: _Parts, read: Codes, true: Codes) -> Codes:
    """`error_class` of symbols that are taken for others."""
    notes = parts.is_note[read] & parts.is_note[true]
    pitch, rhythm = parts.pitch[read] != parts.pitch[true], parts.rhythm[read] != parts.rhythm[true]
    of_notes = [_PLACE[error] for error in (ErrorClass.PITCH, ErrorClass.RHYTHM, ErrorClass.ACCIDENTALS)]
    chosen = np.where(pitch, of_notes[0], np.where(rhythm, of_notes[1], of_notes[2]))
    error: Codes = np.where(notes, chosen, parts.error[true]).astype(np.int32)
    return error


def _substitution_costs(parts: _Parts, read_NS: Codes, true_MS: Codes) -> Codes:
    """`omr_model.metrics` says what a substitution costs."""
    cost_NMS = np.zeros((len(read_NS), *true_MS.shape), dtype=np.int32)
    for weight, code in ((1, parts.rhythm), (1, parts.pitch), (1, parts.lift), (KIND_WEIGHT, parts.error)):
        cost_NMS += np.int32(weight) * (code[read_NS][:, None] != code[true_MS])
    cost_NMS[cost_NMS > 0] += EDIT
    return cost_NMS


def _cost_tables(substitution_NMS: Codes) -> Codes:
    """Least costs of turning the first i read into the first j true symbols, [N + 1, M + 1, S]."""
    n, m, staves = substitution_NMS.shape
    along_M1 = (np.arange(m + 1, dtype=np.int32) * EDIT)[:, None]
    cost = np.empty((n + 1, m + 1, staves), dtype=np.int32)
    cost[0] = along_M1
    for i in range(1, n + 1):
        from_above = cost[i - 1] + np.int32(EDIT)
        np.minimum(from_above[1:], cost[i - 1, :-1] + substitution_NMS[i - 1], out=from_above[1:])
        from_above -= along_M1
        np.minimum.accumulate(from_above, axis=0, out=cost[i])
        cost[i] += along_M1
    return cost
