"""The corpora that `datasets.prepare` knows. A new one is a module here and a line in `SOURCES`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from datasets.sources.base import SPLITS, Harvest, Piece, Reject, Request, Source, UnusableError
from datasets.sources.camera_primus import CameraPrimusSource
from datasets.sources.cpms import CpmsSource
from datasets.sources.diw import DocumentsSource
from datasets.sources.engraved import EngravedSource
from datasets.sources.grandstaff import GrandStaffSource
from datasets.sources.photographed import PhotographedSource

__all__ = ["SOURCES", "SPLITS", "Harvest", "Piece", "Reject", "Request", "Source", "UnusableError", "by_name"]


def by_name(sources: Iterable[Source]) -> Mapping[str, Source]:
    """A table of sources.

    Raises:
        ValueError: two of them have one name.
    """
    table: dict[str, Source] = {}
    for source in sources:
        if source.name in table:
            raise ValueError(f"two sources are called {source.name}")
        table[source.name] = source
    return table


SOURCES = by_name(
    [
        CameraPrimusSource(),
        CpmsSource(),
        DocumentsSource(),
        EngravedSource(),
        GrandStaffSource(),
        PhotographedSource(),
    ]
)
