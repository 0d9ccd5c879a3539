"""Our labels against music21's reading of the same scores; `tests.benchmarks.label_crosscheck` compares many more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest

from datasets.workers import Failure, Workers
from tests.crosscheck.bars import Bar, Staff
from tests.crosscheck.check import Source, check, first_reading, first_readings
from tests.crosscheck.closed import closed_reading, open_reading, sounds_the_same
from tests.crosscheck.compare import pairs
from tests.crosscheck.second_reading import second_reading
from tests.crosscheck.sources import GRANDSTAFF, chorales, excerpts, tunes

Read = TypeVar("Read")

TUNE = Source("tune", b"X:1\nM:C\nL:1/4\nK:D\n^G A G d|f2- fz|[Fd]2 {c}B2|\n", ".abc")
TUNE_BARS = [
    "note-G#4_quarter note-A4_quarter note-G4_quarter note-D5_quarter",
    "note-F5_half tie note-F5_quarter rest-quarter",
    "note-D5_half|note-F4_half gracenote-C5_quarter note-B4_half",
]
VOICES = """**kern	**kern
*clefF4	*clefG2
*k[b-]	*k[b-]
*M2/4	*M2/4
=1	=1
*	*^
2BB-	4cc	8e
.	.	8f#
.	4dd	4f#
=2	=2	=2
2r	4r	4ff
.	[4dd	4r
*	*v	*v
=3	=3
2C	2dd]
==	==
*-	*-
"""


def test_a_tune_is_read_by_the_rules_of_the_encoding() -> None:
    (staff,) = second_reading(TUNE.text, ".abc")
    assert [" ".join(bar.printed) for bar in staff] == TUNE_BARS
    assert staff[0].sounding[:3] == ("note-G#4_quarter", "note-A4_quarter", "note-G#4_quarter")
    assert (staff[0].clef, staff[0].key) == ("clef-G2", "keySignature-DM")


def test_voices_are_read_by_onset() -> None:
    lower, upper = sorted(second_reading(VOICES, ".krn"), key=lambda staff: staff[0].clef)
    assert upper[0].sounding == (
        "note-C5_quarter|note-E4_eighth",
        "note-F#4_eighth",
        "note-D5_quarter|note-F#4_quarter",
    )
    assert upper[1].problem == "a rest beneath something else"
    assert lower[0].sounding == ("note-Bb2_half",)


@pytest.mark.parametrize(
    ("found", "word", "other"),
    [
        ("printed accidentals", "note-G#4_quarter", "note-G4_quarter"),
        ("pitch", "note-G#4_quarter", "note-A#4_quarter"),
        ("rhythm", "note-G#4_quarter", "note-G#4_half"),
        ("grace notes", "note-D5_quarter", "gracenote-D5_eighth note-D5_quarter"),
        ("ties", "note-A4_quarter", "note-A4_quarter tie"),
    ],
)
def test_a_wrong_label_is_found(found: str, word: str, other: str) -> None:
    staff = _read(TUNE)[0]
    wrong = " ".join(staff[0].printed).replace(word, other).split()
    outcome = check(TUNE, [[replace(staff[0], printed=tuple(wrong)), *staff[1:]]])
    assert (found, "") in [(difference.aspect, reason) for difference, reason in outcome.differences]


def test_bars_find_their_partners_where_one_is_missing() -> None:
    bars = [Bar("clef-G2", "keySignature-CM", printed=(f"note-{step}4_half", "rest-half")) for step in "CDEFG"]
    found = list(pairs([bars[0], *bars[2:]], bars))
    assert [pair.ours == pair.theirs for pair in found] == [True, False, True, True, True]
    assert found[1].ours is None


def test_tunes_and_chorales_agree_but_for_what_is_explained() -> None:
    agreement = _agreement([*tunes(15), *chorales(4)])
    assert agreement.unexplained == []
    assert agreement.read == 19
    assert agreement.bars > 400


@pytest.mark.skipif(not GRANDSTAFF.is_dir(), reason="the samples of GrandStaff are not beside the repository")
def test_grand_staves_agree_but_for_what_is_explained() -> None:
    agreement = _agreement(list(excerpts(8)))
    assert agreement.unexplained == []
    assert agreement.read == 8
    assert agreement.bars > 50


def test_a_staff_reads_the_same_whether_it_is_drawn_as_it_stands_or_from_its_label() -> None:
    compared = 0
    for _, staves in _in_worker(first_readings, [*tunes(8), *chorales(4)]):
        for measures, singles in staves:
            for measure, single in zip(measures, singles, strict=True):
                if not (measure.problem or single.problem):
                    compared += 1
                    assert measure == single
    assert compared > 300


def test_a_chorale_on_two_staves_sounds_like_its_four_parts() -> None:
    compared = 0
    for source, staves in _in_worker(closed_reading, list(chorales(6))):
        for bars, parts in zip(staves, open_reading(source), strict=True):
            for bar, heard in zip(bars, parts, strict=True):
                if not bar.problem:
                    compared += 1
                    assert sounds_the_same(bar, heard), (source.name, bar, heard)
    assert compared > 100


@dataclass
class Agreement:
    """How far two readings of some scores agree: scores read, bars compared, differences without an explanation."""

    read: int = 0
    bars: int = 0
    unexplained: list[str] = field(default_factory=list)


def _agreement(sources: Sequence[Source]) -> Agreement:
    agreement = Agreement()
    for source, ours in _in_worker(first_reading, sources):
        outcome = check(source, ours)
        agreement.read += 1
        agreement.bars += outcome.bars
        agreement.unexplained += [f"{source.name}: {one.aspect}" for one, reason in outcome.differences if not reason]
    return agreement


def _in_worker(
    reading: Callable[[Source], list[Read] | str], sources: Sequence[Source]
) -> Iterator[tuple[Source, list[Read]]]:
    """The sources that can be read, with their readings."""
    with Workers(reading, count=1) as workers:
        for source, read in zip(sources, workers.map(sources), strict=True):
            if not isinstance(read, Failure | str):
                yield source, read


def _read(source: Source) -> list[Staff]:
    staves = first_reading(source)
    assert not isinstance(staves, str), staves
    return staves
