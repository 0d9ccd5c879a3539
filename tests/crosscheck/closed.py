"""Chorales on two staves against music21's reading of their four parts: what begins to sound together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from music21 import converter, stream

from datasets.notation import parse
from datasets.scores.closed_score import closed
from datasets.scores.mei_symbols import MeiError
from datasets.scores.score import read_score, read_staves
from tests.crosscheck.bars import Bar, Staff, bars_of
from tests.crosscheck.check import Source
from tests.crosscheck.second_reading import FORMATS


@dataclass(frozen=True)
class Heard:
    """What one bar of two parts sounds.

    Attributes:
        moments: the pitches ("C#5") that begin together, one set for each onset, in order.
        tied: places ("C5") into which a tie leads, left out: the encoding has no word for it within a chord.
    """

    moments: tuple[frozenset[str], ...]
    tied: frozenset[str]


def closed_reading(source: Source) -> list[Staff] | str:
    """The two staves of a chorale as our labels have them, or why there are none. Runs in a worker."""
    try:
        return [bars_of(measures) for measures in read_staves(closed(read_score(source.data, source.suffix)))]
    except MeiError as error:
        return str(error)


def open_reading(source: Source) -> list[list[Heard]]:
    """The bars of soprano and alto, and those of tenor and bass, as music21 reads them."""
    score = converter.parse(source.text, format=FORMATS[source.suffix], forceSource=True)
    parts = [list(part.getElementsByClass(stream.Measure)) for part in score.getElementsByClass(stream.Part)]
    return [[_heard(both) for both in zip(*pair, strict=True)] for pair in (parts[:2], parts[2:])]


def sounds_the_same(bar: Bar, heard: Heard) -> bool:
    """Whether our label of a bar and music21's parts begin the same pitches together."""
    moments = (_without(moment, heard.tied) for moment in _moments(bar))
    return tuple(filter(None, moments)) == heard.moments


def _heard(measures: tuple[stream.Measure, ...]) -> Heard:
    onsets: defaultdict[Any, set[str]] = defaultdict(set)
    tied: set[str] = set()
    for measure in measures:
        for note in measure.recurse().notes:
            for pitch in note.pitches:
                onsets[note.getOffsetInHierarchy(measure)].add(pitch.nameWithOctave.replace("-", "b"))
            if note.tie is not None and note.tie.type != "start":
                tied |= {f"{pitch.step}{pitch.octave}" for pitch in note.pitches}
    moments = (_without(frozenset(onsets[onset]), frozenset(tied)) for onset in sorted(onsets))
    return Heard(tuple(filter(None, moments)), frozenset(tied))


def _moments(bar: Bar) -> Iterator[frozenset[str]]:
    for word in bar.sounding:
        notes = [symbol for symbol in parse(word) if symbol.is_note]
        yield frozenset(f"{note.pitch[0]}{note.lift}{note.pitch[1:]}" for note in notes)


def _without(moment: frozenset[str], tied: frozenset[str]) -> frozenset[str]:
    return frozenset(pitch for pitch in moment if pitch[0] + pitch[-1] not in tied)
