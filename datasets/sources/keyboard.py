"""Keyboard music of the music21 package: Bach's chorales, set on two staves, and what piano music it has."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from datasets.scores.closed_score import closed
from datasets.scores.measures import staff_step
from datasets.scores.mei import MeiError
from datasets.scores.score import read_score, unzipped
from datasets.sources import grand
from datasets.sources.base import Harvest, Piece, Request

CHORALES, PIANO = "chorales", "piano"
PIANO_MUSIC = (
    "beach/prayer_of_a_tired_child.musicxml",
    "chopin/mazurka06-2.krn",
    "handel/rinaldo/Lascia_chio_pianga.mxl",
    "joplin/maple_leaf_rag.mxl",
    "liliuokalani/aloha_oe.mxl",
    "mozart/k545/movement1_exposition.mxl",
    "schoenberg/opus19/movement2.mxl",
    "schoenberg/opus19/movement6.mxl",
    "schumann_clara/opus17/movement3.xml",
    "schumann_clara/polonaise_op1n1.mxl",
    "schumann_clara/polonaise_op1n2.mxl",
    "schumann_clara/polonaise_op1n3.mxl",
    "schumann_clara/polonaise_op1n4.mxl",
    "schumann_robert/opus48no2.mxl",
    "verdi/laDonnaEMobile.mxl",
    "weber/concertino_clarinet.mxl",
)
"""Scores with a piano, alone or among others."""

_OPENING = 9  # notes of a chorale that tell its tune
_FIRST_PART = re.compile(r"<part\b.*?</part>", re.DOTALL)
_NOTE = re.compile(r"<step>([A-G])</step>.*?<octave>(\d)</octave>", re.DOTALL)


def pieces(folder: Path) -> Iterator[Piece]:
    """All chorales and the piano music in music21's folder of scores.

    Many a chorale tune stands there several times, in other keys and settings, and seldom with its title: so those
    whose soprano begins with the same intervals are one group.
    """
    for path in sorted((folder / "bach").glob("*.mxl")):
        work = f"{CHORALES}/{path.stem}"
        yield Piece(work, work, group=_opening(path) or work, content=path.relative_to(folder).as_posix())
    for content in PIANO_MUSIC:
        work = f"{PIANO}/{Path(content).with_suffix('').as_posix()}"
        yield Piece(work, work, group=work, content=content)


def harvest(piece: Piece, folder: Path, request: Request) -> Harvest:
    """The grand staves of one of these pieces.

    Raises:
        MeiError: it cannot be read, or a chorale is not in four parts.
    """
    source = piece.work.partition("/")[0]
    path = folder / piece.content
    score = read_score(path.read_bytes(), path.suffix)
    if source == CHORALES:
        score = closed(score)
    return grand.harvest(piece.name, source, score, request.size, request.seed)


def _opening(path: Path) -> str:
    """The first intervals of a zipped score's first part, in steps of the scale; "" where there are too few notes."""
    try:
        part = _FIRST_PART.search(unzipped(path.read_bytes()).decode(errors="replace"))
    except MeiError:
        return ""
    notes = itertools.islice(_NOTE.finditer(part[0]), _OPENING) if part else ()
    steps = [staff_step(note[1] + note[2]) for note in notes]
    if len(steps) < _OPENING:
        return ""
    return f"{CHORALES} {' '.join(str(second - first) for first, second in itertools.pairwise(steps))}"
