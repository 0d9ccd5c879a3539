"""The scores that are read twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.sources import Request
from datasets.sources.engraved import EngravedSource, corpus_folder
from datasets.sources.tunes import readable
from datasets.staff import STAFF_SIZES
from tests.crosscheck.check import Source

GRANDSTAFF = Path(__file__).parents[2].parent / "shared" / "data" / "grandstaff_musicxml"
"""Excerpts of GrandStaff as MusicXML, beside the repository; not everybody has them."""

_CHORALES = "bach"
_SUFFIXES = (".krn", ".mxl", ".musicxml", ".xml")
_LARGEST = 60_000  # bytes of a file: string quartets of an hour would take most of the time


def tunes(count: int) -> Iterator[Source]:
    """Tunes of the embedded corpus, as it takes them."""
    pieces = EngravedSource().pieces(Request(size=STAFF_SIZES["short"]))
    for piece in pieces[:count]:
        yield Source(piece.name, readable(piece.content).encode(), ".abc")


def excerpts(count: int) -> Iterator[Source]:
    """Excerpts of GrandStaff, in an order that mixes the composers."""
    return _sources(_files(GRANDSTAFF)[:count], GRANDSTAFF)


def chorales(count: int) -> Iterator[Source]:
    """Chorales by Bach out of music21, four voices on as many staves."""
    return _sources(_files(corpus_folder() / _CHORALES)[:count], corpus_folder())


def scores(count: int) -> Iterator[Source]:
    """Quartets, songs, piano music, madrigals and masses out of music21, the composers in turn."""
    composers = [folder for folder in sorted(corpus_folder().iterdir()) if folder.is_dir() and folder.name != _CHORALES]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*map(_files, composers)))
    return _sources([path for path in in_turn if path is not None][:count], corpus_folder())


CORPORA: Mapping[str, Callable[[int], Iterator[Source]]] = {
    "tunes": tunes,
    "excerpts": excerpts,
    "chorales": chorales,
    "scores": scores,
}
"""The kinds of score by name; each function takes how many."""


def _files(folder: Path) -> list[Path]:
    """The scores below a folder, shuffled."""
    paths = [path for path in sorted(folder.rglob("*")) if _fits(path)]
    return [paths[index] for index in np.random.default_rng(0).permutation(len(paths))]


def _fits(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not path.name.startswith("._") and path.stat().st_size <= _LARGEST


def _sources(paths: Sequence[Path], root: Path) -> Iterator[Source]:
    for path in paths:
        yield Source(path.relative_to(root).as_posix(), path.read_bytes(), path.suffix)
