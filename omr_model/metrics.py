"""Symbol error rate (SER): how far a prediction is from the reference, and in which way.

    ser      sum of edit distances over all staves / sum of reference lengths (corpus level)
    by_class the same distance split into error classes, each over the same length: they add up to `ser`
    log_ser  the training log's figure, kept exactly so that a new run can stand beside the old ones: mean over
             staves of distance / length, a chord one symbol, time signatures taken out of the prediction (and
             out of it alone: a reference that has one counts it as missed)

All rates are fractions. They exceed 1 when a model writes more than there is to read. A strip without music has no
length: what is written on it counts in `ser`, and it has no part in `log_ser`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import editdistance
import numpy as np
import numpy.typing as npt

from datasets.errors import CorpusError
from datasets.notation import Symbol, events, format_semantic


class ErrorClass(StrEnum):
    """What an edit is an error in. `NOTES` is a whole note too many or too few."""

    ACCIDENTALS = "accidentals"
    RHYTHM = "rhythm"
    PITCH = "pitch"
    NOTES = "notes"
    RESTS = "rests"
    CHORDS = "chords"
    TIES = "ties"
    BARLINES = "barlines"
    SIGNATURES = "signatures"


CLASS_OF_KIND = {
    "note": ErrorClass.NOTES,
    "gracenote": ErrorClass.NOTES,
    "rest": ErrorClass.RESTS,
    "multirest": ErrorClass.RESTS,
    "|": ErrorClass.CHORDS,
    "tie": ErrorClass.TIES,
    "barline": ErrorClass.BARLINES,
    "clef": ErrorClass.SIGNATURES,
    "keySignature": ErrorClass.SIGNATURES,
    "timeSignature": ErrorClass.SIGNATURES,
}


def percent(rate: float | None) -> str:
    """A fraction as a person reads it, `49.9 %`; `-` where there is none."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


@dataclass(frozen=True)
class Edits:
    """An edit distance and the length of the reference that it was measured on, in symbols."""

    distance: int
    length: int

    @property
    def rate(self) -> float:
        """distance / length; not a number where there was nothing to read."""
        return self.distance / self.length if self.length else float("nan")


@dataclass(frozen=True)
class StaffScore:
    """One staff's edits, in counts so that scores can be added up and resampled.

    Attributes:
        total: on whole symbols.
        rhythm: on the rhythm of every symbol.
        pitch, lift: on the notes alone.
        log: as the training log counted.
        by_class: `total.distance` split along one best alignment; only the classes that have errors.
    """

    total: Edits
    rhythm: Edits
    pitch: Edits
    lift: Edits
    log: Edits
    by_class: Mapping[ErrorClass, int]

    @property
    def distance(self) -> int:
        return self.total.distance

    @property
    def reference_length(self) -> int:
        """In symbols; 0 for a strip without music."""
        return self.total.length


@dataclass(frozen=True)
class SourceScore:
    """What was read of one corpus: its staves, and the edits on them; no length where none of them has music."""

    staves: int
    edits: Edits

    def __str__(self) -> str:
        if self.edits.length:
            return f"{percent(self.edits.rate)} on {self.staves:,} staves"
        return f"{self.edits.distance / self.staves:.2f} symbols written per strip, on {self.staves:,} without music"


@dataclass(frozen=True)
class SerSummary:
    """Rates over many staves, as fractions; `ser_pitch` and `ser_lift` are nan when no staff has a note."""

    ser: float
    ser_rhythm: float
    ser_pitch: float
    ser_lift: float
    log_ser: float
    by_class: Mapping[ErrorClass, float]


def score_staff(prediction: Sequence[Symbol], reference: Sequence[Symbol]) -> StaffScore:
    """Compare one prediction with its reference, both in the same writing (printed accidentals)."""

    def notes(symbols: Sequence[Symbol]) -> list[Symbol]:
        return [symbol for symbol in symbols if symbol.is_note]

    read, true = notes(prediction), notes(reference)
    return StaffScore(
        total=_edits(prediction, reference),
        rhythm=_edits([symbol.rhythm for symbol in prediction], [symbol.rhythm for symbol in reference]),
        pitch=_edits([note.pitch for note in read], [note.pitch for note in true]),
        lift=_edits([note.lift for note in read], [note.lift for note in true]),
        log=_edits(
            _log_symbols(symbol for symbol in prediction if symbol.kind != "timeSignature"), _log_symbols(reference)
        ),
        by_class=Counter(error_class(*edit) for edit in edits(prediction, reference)),
    )


def summarize(scores: Iterable[StaffScore]) -> SerSummary:
    """Put the scores of a corpus together.

    A staff with an empty reference (a negative image) adds its distance, everything read into it, and no length. It
    is left out of `log_ser`, a mean of ratios: the training log's benchmark had no such staves.

    Raises:
        CorpusError: no reference has a symbol, so that there is no rate.
    """
    staves = list(scores)
    rates = [staff.log.rate for staff in staves if staff.log.length]
    total = _sum(staff.total for staff in staves)
    if not total.length:
        raise CorpusError(f"none of {len(staves)} staves has a symbol to read: a symbol error rate needs some")
    by_class: Counter[ErrorClass] = Counter()
    for staff in staves:
        by_class.update(staff.by_class)
    return SerSummary(
        ser=total.rate,
        ser_rhythm=_sum(staff.rhythm for staff in staves).rate,
        ser_pitch=_sum(staff.pitch for staff in staves).rate,
        ser_lift=_sum(staff.lift for staff in staves).rate,
        log_ser=sum(rates) / len(rates),
        by_class={error: by_class[error] / total.length for error in ErrorClass},
    )


def by_source(staves: Iterable[tuple[str, StaffScore]]) -> dict[str, SourceScore]:
    """The scores of each corpus by its name, in the order of the names."""
    scores: defaultdict[str, list[Edits]] = defaultdict(list)
    for source, score in staves:
        scores[source].append(score.total)
    return {source: SourceScore(len(edits), _sum(edits)) for source, edits in sorted(scores.items())}


def _edits(prediction: Sequence[Hashable], reference: Sequence[Hashable]) -> Edits:
    return Edits(editdistance.eval(prediction, reference), len(reference))


def _sum(edits: Iterable[Edits]) -> Edits:
    parts = list(edits)
    return Edits(sum(part.distance for part in parts), sum(part.length for part in parts))


def _log_symbols(symbols: Iterable[Symbol]) -> list[str]:
    return [format_semantic(event) for event in events(symbols)]


# Which errors -----------------------------------------------------------------------------------------------

EDIT = 1 << 16
"""Cost of one edit; anything less only decides between alignments with equally many edits."""

KIND_WEIGHT = 8
"""Extra cost of a substitution by a symbol of another class, which outweighs all else."""

_PARTS: tuple[tuple[int, Callable[[Symbol], str]], ...] = (
    (1, lambda symbol: symbol.rhythm),
    (1, lambda symbol: symbol.pitch),
    (1, lambda symbol: symbol.lift),
    (KIND_WEIGHT, lambda symbol: CLASS_OF_KIND[symbol.kind]),
)
"""What a substitution compares, and the extra cost of a difference."""

Edit: TypeAlias = tuple[Symbol | None, Symbol | None]
"""(read, true): a substitution; (read, None): an insertion; (None, true): a deletion."""

Pair: TypeAlias = tuple[int | None, int | None]
"""Places of symbols that belong together, in the prediction and in the reference; None where one has no such symbol."""


def error_class(read: Symbol | None, true: Symbol | None) -> ErrorClass:
    """The class of one edit: that of the true symbol, of the read one if there is no true one."""
    if read is None or true is None or not (read.is_note and true.is_note):
        blamed = true or read
        assert blamed is not None
        return CLASS_OF_KIND[blamed.kind]
    if read.pitch != true.pitch:
        return ErrorClass.PITCH
    return ErrorClass.RHYTHM if read.rhythm != true.rhythm else ErrorClass.ACCIDENTALS


def edits(prediction: Sequence[Symbol], reference: Sequence[Symbol]) -> list[Edit]:
    """Those of `align`'s pairs that are errors, as symbols; as many as the edit distance."""
    pairs = (
        (None if i is None else prediction[i], None if j is None else reference[j])
        for i, j in align(prediction, reference)
    )
    return [(read, true) for read, true in pairs if read != true]


def align(prediction: Sequence[Symbol], reference: Sequence[Symbol]) -> list[Pair]:
    """Which predicted symbol stands for which true one along one best alignment, the same at every call.

    Among the alignments with the fewest edits it takes one that substitutes like with like, and of those the
    one that, from the end, substitutes rather than deletes and deletes rather than inserts.

    Returns:
        Every place of both, each once and in its order: pairs of equal symbols and of unequal ones (substitutions),
        (i, None) for an insertion and (None, j) for a deletion.
    """
    if prediction == reference:
        return [(place, place) for place in range(len(prediction))]
    substitution_NM = _substitution_costs(prediction, reference)
    cost = _cost_table(substitution_NM)
    pairs: list[Pair] = []
    i, j = len(prediction), len(reference)
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + substitution_NM[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif j and cost[i, j] == cost[i, j - 1] + EDIT:
            j -= 1
            pairs.append((None, j))
        else:
            i -= 1
            pairs.append((i, None))
    return pairs[::-1]


def _substitution_costs(prediction: Sequence[Symbol], reference: Sequence[Symbol]) -> npt.NDArray[np.int64]:
    """Cost of reading N predicted symbols for M true ones, shape (N, M): 0 where they are equal."""
    cost_NM = np.zeros((len(prediction), len(reference)), dtype=np.int64)
    for weight, part in _PARTS:
        read_N = np.array([part(symbol) for symbol in prediction], dtype=str)
        true_M = np.array([part(symbol) for symbol in reference], dtype=str)
        cost_NM += weight * (read_N[:, None] != true_M[None, :])
    cost_NM[cost_NM > 0] += EDIT
    return cost_NM


def _cost_table(substitution_NM: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Least cost of turning the first i predicted into the first j true symbols, shape (N + 1, M + 1).

    Row by row: the best way from the row above, then along the row in one running minimum.
    """
    n, m = substitution_NM.shape
    along_row = np.arange(m + 1) * EDIT
    cost = np.empty((n + 1, m + 1), dtype=np.int64)
    cost[0] = along_row
    for i in range(1, n + 1):
        from_above = cost[i - 1] + EDIT
        from_above[1:] = np.minimum(from_above[1:], cost[i - 1, :-1] + substitution_NM[i - 1])
        cost[i] = np.minimum.accumulate(from_above - along_row) + along_row
    return cost
