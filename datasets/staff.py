"""A staff as the datasets hand it on, and the image sizes that a corpus can have."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.images import Gray


@dataclass(frozen=True, kw_only=True)
class StaffSize:
    """The image that every staff of a corpus fits into.

    Attributes:
        height, width: pixels.
        staff_space: distance between two staff lines in pixels that an engraver aims at.
        max_symbols: the longest label, counted in symbols with clef, signatures, barlines and ties.
        staves: how many stand in an image, one above the other: 1, or the 2 of a grand staff.
    """

    name: str
    height: int
    width: int
    staff_space: float
    max_symbols: int
    staves: int = 1


STAFF_SIZES = {
    size.name: size
    for size in (
        # Learned on two CPU cores in minutes: what a machine without a GPU searches on.
        StaffSize(name="short", height=64, width=256, staff_space=6.0, max_symbols=14),
        # A line of a real page, small enough for CPU cores still.
        StaffSize(name="line", height=64, width=640, staff_space=6.0, max_symbols=62),
        # The paper's image and its sequence of 256, less start and end (arXiv 2308.09370).
        StaffSize(name="full", height=128, width=1280, staff_space=11.0, max_symbols=254),
        # The two staves of a piano in one image; the label is the upper one, then the lower one.
        StaffSize(name="grand", height=256, width=1280, staff_space=11.0, max_symbols=254, staves=2),
    )
}


@dataclass(frozen=True, kw_only=True, eq=False)
class StaffSample:
    """One labelled staff.

    Attributes:
        image: [height, width], not larger than the corpus's `StaffSize`.
        semantic: the label with printed accidentals, in the PrIMuS semantic encoding.
        work: the piece it comes from; a piece stands in one split only.
        staff_id: unique in the corpus, and the same whenever it is prepared again.
    """

    staff_id: str
    work: str
    source: str
    image: Gray
    semantic: str
