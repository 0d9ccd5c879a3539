"""What one trial made of its validation staves, symbol by symbol: the `samples` table read back and aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets.notation import Symbol, parse_written
from omr_model.metrics import Edit, Pair, align
from results.ranking import RankedTrial
from results.samples import Samples


@dataclass(frozen=True)
class ReadStaff:
    """One staff as it was read, beside what is printed on it.

    Attributes:
        staff_id, work, source: as in `samples`.
        pairs: the best alignment of both that its edits are counted along (`omr_model.metrics.align`).
        confidences: of each predicted symbol; None where the study did not record them.
    """

    staff_id: str
    work: str
    source: str
    prediction: Sequence[Symbol]
    reference: Sequence[Symbol]
    pairs: Sequence[Pair]
    confidences: Sequence[float] | None

    def symbols(self, pair: Pair) -> Edit:
        """What stands at a pair's places: (read, printed)."""
        i, j = pair
        return None if i is None else self.prediction[i], None if j is None else self.reference[j]

    def differs(self, pair: Pair) -> bool:
        """Whether a pair is an edit."""
        read, printed = self.symbols(pair)
        return read != printed

    @property
    def edits(self) -> list[Edit]:
        """(read, printed) of every error, in their order; None for nothing."""
        return [self.symbols(pair) for pair in self.pairs if self.differs(pair)]

    @property
    def distance(self) -> int:
        """Edit distance, in symbols."""
        return sum(self.differs(pair) for pair in self.pairs)

    @property
    def length(self) -> int:
        """Of the reference, in symbols; 0 for a strip without music."""
        return len(self.reference)


def read_staves(samples: Samples, trial: RankedTrial) -> list[ReadStaff]:
    """What a trial read after its last epoch, by staff_id; empty where its samples are gone."""
    own = samples.of(trial.trial_id, trial.epochs).sort_by("staff_id")
    return [_read_staff(row) for row in own.to_pylist()]


def _read_staff(row: dict[str, object]) -> ReadStaff:
    prediction, reference = parse_written(str(row["prediction"])), parse_written(str(row["reference"]))
    return ReadStaff(
        staff_id=str(row["staff_id"]),
        work=str(row["work"]),
        source=str(row["source"]),
        prediction=prediction,
        reference=reference,
        pairs=align(prediction, reference),
        confidences=row.get("confidences"),  # type: ignore[arg-type]
    )
