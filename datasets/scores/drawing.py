"""A score drawn as it stands: one staff, or both of a grand staff, whole or a stretch of measures.

Where `datasets.scores.engraving` draws a label, this draws the score itself, with its slurs, dynamics and all the
voices apart. The label is read from the same tree, and image and label are compared as far as the encoding goes
(`datasets.scores.staff_ink`). A staff that is too long or too high for the size is set smaller, down to 70 %, and if it
is still too long, tightly.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

from datasets.images import Gray
from datasets.notation import Symbol
from datasets.scores.engraving import EngravingError, TooWideError, Typography, difference, draw_mei, rasterise
from datasets.scores.excerpt import excerpt
from datasets.scores.score import UNEQUAL_STAVES, Score, labelled
from datasets.scores.staff_ink import compare
from datasets.staff import StaffSize

_SHRINKINGS = (1.0, 0.92, 0.84, 0.77, 0.7)


def engrave_score(
    score: Score, staves: Sequence[int], size: StaffSize, seed: int, start: int = 0, stop: int | None = None
) -> Gray:
    """Draw staves of a score, [size.height, size.width].

    Args:
        staves: which ones, the top one first.
        seed: of the typography.
        start, stop: the measures, by index; all of them where nothing is said.

    Raises:
        MeiError: a staff cannot be read, or a measure of it holds what the encoding cannot say.
        TooWideError, EngravingError: as `datasets.scores.engraving.engrave`.
    """
    numbers = score.staff_numbers
    measures = {numbers[staff]: score.measures(staff) for staff in staves}
    stop = max(map(len, measures.values())) if stop is None else stop
    if any(len(each) < stop for each in measures.values()):
        raise EngravingError(UNEQUAL_STAVES)
    labels = [labelled(each[start:stop]) for each in measures.values()]
    mei = excerpt(score.root, measures, start, stop)
    typography = Typography.seeded(seed, size)
    try:
        return _drawn(mei, labels, typography, size)
    except TooWideError:
        return _drawn(mei, labels, typography.tight(), size)


def _drawn(mei: str, labels: Sequence[Sequence[Symbol]], typography: Typography, size: StaffSize) -> Gray:
    drawing = draw_mei(mei, typography)
    root = ET.fromstring(drawing)
    missing, extra = compare(labels, root)
    if missing or extra:
        raise EngravingError(f"image and label differ: {difference(missing, extra)}")
    return _fitted(drawing, root, typography, size)


def _fitted(drawing: str, root: ET.Element, typography: Typography, size: StaffSize) -> Gray:
    """The drawing at the largest scale at which it fits."""
    for shrinking in _SHRINKINGS:
        smaller = replace(typography, staff_space=typography.staff_space * shrinking)
        try:
            return rasterise(drawing, root, smaller, size)
        except EngravingError as error:
            problem = error
    raise problem
