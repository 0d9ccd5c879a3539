"""Which trial a study ends with: the one that is exported, logged, and built upon.

1. the adopted one with the lowest SER over its new seeds
2. else the best of the search
3. or, if that was rejected, the best of those that are not decided; the base if all were rejected
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.evidence import Decision, decisions_of
from results.gather import gather
from results.ranking import RankedTrial, best, rank
from results.study import read_study


def winner(ranking: Sequence[RankedTrial], decisions: Sequence[Decision]) -> RankedTrial:
    """See the module.

    Args:
        ranking: as `results.ranking.rank` orders them.
        decisions: as `results.evidence.decide` gives them.

    Raises:
        StudyError: no trial was completed.
    """
    numbers = {trial.number: trial for trial in ranking}
    adopted = [one for one in decisions if one.verdict == "adopt"]
    if adopted:
        return numbers[min(adopted, key=lambda one: (one.ser, one.candidate)).candidate]
    first = best(ranking)
    rejected = [one for one in decisions if one.verdict == "reject"]
    if first.number not in {one.candidate for one in rejected}:
        return first
    undecided = {one.candidate for one in decisions} - {one.candidate for one in rejected}
    return next((trial for trial in ranking if trial.number in undecided), numbers[rejected[0].base])


def winner_if_any(ranking: Sequence[RankedTrial], decisions: Sequence[Decision]) -> RankedTrial | None:
    """`winner`, or None if no trial was completed."""
    return winner(ranking, decisions) if ranking and ranking[0].rank is not None else None


def winner_of(folder: Path) -> RankedTrial:
    """That of the study in a folder, as it stands now.

    Raises:
        StudyError: no study, a damaged one, or no trial was completed.
    """
    tables = gather(folder)
    return winner(rank(tables.trials), decisions_of(read_study(folder), tables))
