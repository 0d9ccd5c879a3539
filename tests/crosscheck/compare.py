"""Two readings of a score, compared bar by bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import editdistance
import numpy as np

from datasets.notation import CHORD, FERMATA, TIE, parse
from tests.crosscheck.bars import Bar, Staff, is_clef

_ALONE = 0.6  # what a bar without a partner costs: two of them, a little more than a pair without a word in common


@dataclass(frozen=True)
class Difference:
    """One thing in which two readings of a bar, or of a score, differ.

    Attributes:
        aspect: one of `ASPECTS`.
        staff, bar: counted from 0 in our reading; a bar that we lack counts as the one before which it stands.
        ours, theirs: the bars; None where one reading has no such bar, or where the score as a whole differs.
    """

    aspect: str
    staff: int
    bar: int
    ours: Bar | None
    theirs: Bar | None


@dataclass(frozen=True)
class Pair:
    """Two bars that are the same one, by position and likeness."""

    bar: int
    ours: Bar | None
    theirs: Bar | None


ASPECTS = (
    "staves",
    "bars",
    "not said",
    "clef",
    "key",
    "meter",
    "rhythm",
    "pitch",
    "grace notes",
    "ties",
    "fermatas",
    "clef changes",
    "printed accidentals",
    "what sounds",
)
"""What is compared; "not said" is a bar that we can say and they cannot. Where the rhythm differs, nothing that hangs
on it is compared."""


def pairs(ours: Staff, theirs: Staff) -> Iterator[Pair]:
    """Each bar with its partner: one by one if there are equally many, otherwise so that the least words differ."""
    if len(ours) == len(theirs):
        yield from (Pair(number, *both) for number, both in enumerate(zip(ours, theirs, strict=True)))
        return
    costs = _costs(ours, theirs)
    mine, other = 0, 0
    while mine < len(ours) or other < len(theirs):
        rest = costs[mine, other]
        if mine < len(ours) and np.isclose(rest, costs[mine + 1, other] + _ALONE):
            yield Pair(mine, ours[mine], None)
            mine += 1
        elif other < len(theirs) and np.isclose(rest, costs[mine, other + 1] + _ALONE):
            yield Pair(mine, None, theirs[other])
            other += 1
        else:
            yield Pair(mine, ours[mine], theirs[other])
            mine, other = mine + 1, other + 1


def _costs(ours: Staff, theirs: Staff) -> np.ndarray:
    """What pairing the bars from each two numbers on costs at least, [len(ours) + 1, len(theirs) + 1]."""
    costs = np.full((len(ours) + 1, len(theirs) + 1), np.inf)
    costs[-1, :] = _ALONE * np.arange(len(theirs), -1, -1)
    costs[:, -1] = _ALONE * np.arange(len(ours), -1, -1)
    for mine in reversed(range(len(ours))):
        for other in reversed(range(len(theirs))):
            alone = _ALONE + min(costs[mine + 1, other], costs[mine, other + 1])
            paired = _unlikeness(ours[mine], theirs[other]) + costs[mine + 1, other + 1]
            costs[mine, other] = min(alone, paired)
    return costs


def _unlikeness(ours: Bar, theirs: Bar) -> float:
    """The share of words that differ; of a bar without words, because it cannot be said, one half."""
    if ours.problem or theirs.problem:
        return 0.5
    return float(editdistance.eval(ours.printed, theirs.printed)) / max(len(ours.printed), len(theirs.printed), 1)


def compare(ours: Bar, theirs: Bar, source_prints: bool) -> list[str]:
    """The aspects in which two bars without a problem differ.

    Args:
        source_prints: whether the source says which accidentals are printed; if not, only what sounds is compared.
    """
    differing = [name for name in ("clef", "key", "meter") if getattr(ours, name) != getattr(theirs, name)]
    mine, others = _aspects(ours), _aspects(theirs)
    if mine["rhythm"] != others["rhythm"]:
        return [*differing, "rhythm"]
    compared = [aspect for aspect in mine if source_prints or aspect != "printed accidentals"]
    return differing + [aspect for aspect in compared if mine[aspect] != others[aspect]]


def _aspects(bar: Bar) -> dict[str, object]:
    """A bar's words, taken apart: what takes time, and by its number everything else."""
    timed: list[list[tuple[str, str]]] = []
    aside: dict[str, list[tuple[int, str]]] = {"grace notes": [], "ties": [], "fermatas": [], "clef changes": []}
    for word in bar.printed:
        notes = [symbol for symbol in parse(word) if symbol.rhythm != CHORD]
        if word == TIE:
            aside["ties"].append((len(timed), ""))
        elif is_clef(word):
            aside["clef changes"].append((len(timed), word))
        elif notes[0].is_grace:
            aside["grace notes"].append((len(timed), " ".join(f"{note.pitch} {note.rhythm}" for note in notes)))
        else:
            if any(note.rhythm.endswith(FERMATA) for note in notes):
                aside["fermatas"].append((len(timed), ""))
            timed.append([(note.rhythm.removesuffix(FERMATA), note.pitch) for note in notes])
    return {
        "rhythm": [[rhythm for rhythm, _ in event] for event in timed],
        "pitch": [[pitch for _, pitch in event] for event in timed],
        **aside,
        "printed accidentals": _lifts(bar.printed),
        "what sounds": _lifts(bar.sounding),
    }


def _lifts(words: Sequence[str]) -> list[tuple[str, str]]:
    return [(symbol.pitch, symbol.lift) for word in words for symbol in parse(word) if symbol.is_note]
