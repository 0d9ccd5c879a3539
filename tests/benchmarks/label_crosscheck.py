"""Our labels against a second reading: `python -m tests.benchmarks.label_crosscheck`.

Scores of four kinds are read twice, by `datasets.scores.score` through Verovio's MEI and by music21 from the same file
(`tests.crosscheck`), and every measure of every staff is compared in the words of the encoding: clef, key, meter,
rhythm, pitch, grace notes, ties, fermatas, clef changes, printed accidentals, and what sounds.

    tunes       ABC out of the embedded corpus, one staff
    excerpts    GrandStaff as MusicXML, two staves (only where the samples stand beside the repository)
    chorales    Bach out of music21, MusicXML and **kern, four staves
    scores      the other composers in music21: quartets, songs, piano music, madrigals, masses

Printed: how much was compared, the differences by aspect and reason (`tests.crosscheck.explain`), those without a
reason one by one, and the measures that our reading declines, by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from datasets.command_line import check_range, main
from datasets.workers import Failure, Workers
from tests.crosscheck.bars import Bar, Staff
from tests.crosscheck.check import Outcome, Source, check, first_reading
from tests.crosscheck.compare import Difference
from tests.crosscheck.sources import CORPORA


@dataclass(frozen=True, kw_only=True)
class CrosscheckConfig:
    """How much is compared.

    Attributes:
        tunes, excerpts, chorales, scores: of each kind.
        examples: shown of differences without a reason, for each aspect and kind.
    """

    tunes: int = 400
    excerpts: int = 700
    chorales: int = 150
    scores: int = 100
    examples: int = 3

    def __post_init__(self) -> None:
        for name in (*CORPORA, "examples"):
            check_range(name, getattr(self, name), 0)


@dataclass
class Tally:
    """What came out of all scores of one kind.

    Attributes:
        bars, differing: measures that were compared, and those of them with any difference.
        unread: scores without a first reading, by its reason.
        reasons: differences by aspect and explanation.
    """

    scores: int = 0
    differing: int = 0
    bars: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    declined: Counter[tuple[str, bool]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexplained: list[tuple[str, Difference]] = field(default_factory=list)

    def add(self, source: Source, outcome: Outcome) -> None:
        self.scores += 1
        self.bars += outcome.bars
        self.declined += outcome.declined
        self.differing += len({(one.staff, one.bar) for one, _ in outcome.differences})
        for difference, reason in outcome.differences:
            self.reasons[difference.aspect, reason] += 1
            if not reason:
                self.unexplained.append((source.name, difference))


def crosscheck(config: CrosscheckConfig) -> None:
    """Compare, and print a table for each kind of score."""
    for kind, sources in CORPORA.items():
        tally = Tally()
        for source, ours in _first_readings(list(sources(getattr(config, kind)))):
            if isinstance(ours, str):
                tally.unread[ours] += 1
            else:
                tally.add(source, check(source, ours))
        _show(kind, tally, config.examples)


def _first_readings(sources: list[Source]) -> Iterator[tuple[Source, list[Staff] | str]]:
    with Workers(first_reading, count=1) as workers:
        for source, ours in zip(sources, workers.map(sources), strict=True):
            yield source, ours.reason if isinstance(ours, Failure) else ours


def _show(kind: str, tally: Tally, examples: int) -> None:
    print(f"\n## {kind}: {tally.scores} scores, {tally.bars} measures compared, {tally.differing} differ\n")
    _table(("aspect", "reason", "measures"), [(*key, count) for key, count in tally.reasons.most_common()])
    _table(("not compared: we cannot say the measure", "music21 neither", "music21 can"), _declined(tally))
    _table(("not compared: our reading refuses the score", "scores"), tally.unread.most_common())
    shown: Counter[str] = Counter()
    for name, difference in tally.unexplained:
        shown[difference.aspect] += 1
        if shown[difference.aspect] <= examples:
            _show_difference(name, difference)


def _declined(tally: Tally) -> list[tuple[str, int, int]]:
    reasons = sorted({reason for reason, _ in tally.declined})
    return [(reason, tally.declined[reason, True], tally.declined[reason, False]) for reason in reasons]


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    lines = [" | ".join(map(str, row)) for row in rows]
    if lines:
        print("\n".join(f"| {line} |" for line in (" | ".join(head), "|".join("---" for _ in head), *lines)), "\n")


def _show_difference(name: str, difference: Difference) -> None:
    print(f"{name}, staff {difference.staff + 1}, measure {difference.bar + 1}: {difference.aspect}")
    for reader, bar in (("ours", difference.ours), ("music21", difference.theirs)):
        print(f"    {reader:8}{_shown(bar, difference.aspect)}")


def _shown(bar: Bar | None, aspect: str) -> str:
    """What of a bar belongs to an aspect."""
    if bar is None:
        return "no such measure"
    if bar.problem:
        return f"cannot be said: {bar.problem}"
    if aspect in ("clef", "key", "meter"):
        return str(getattr(bar, aspect))
    return " ".join(bar.sounding if aspect == "what sounds" else bar.printed)


if __name__ == "__main__":
    main(crosscheck, CrosscheckConfig())
