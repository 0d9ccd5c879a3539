"""What a study's page is about, worked out once for all its sections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from results.findings import Findings, Known
from results.gather import Tables
from results.ranking import RankedTrial, base, rank
from results.roles import together
from results.study import StudyRecord
from results.winner import winner_if_any


@dataclass(frozen=True)
class Subject:
    """A study as it stands now.

    Attributes:
        folder: the study's.
        study: its record.
        tables: as they are gathered now.
        ranking: all trials, as `results.ranking.rank` orders them.
        findings: what is known of it.
        base: the trial of the base; None if there is none.
        winner: the trial that the study ends with; None if none was completed.
    """

    folder: Path
    study: StudyRecord
    tables: Tables
    ranking: list[RankedTrial]
    findings: Findings
    base: RankedTrial | None
    winner: RankedTrial | None

    @classmethod
    def of(cls, folder: Path, known: Known | None = None) -> Subject:
        """The study in a folder.

        Args:
            known: what is known of it, if the caller has it.

        Raises:
            StudyError: no study, or a damaged one.
        """
        known = known or Known.of(folder, resamples=0)  # no page shows the shares' intervals
        study, tables, found = known.study, known.tables, known.findings
        ranking = rank(tables.trials)
        return cls(
            folder=folder,
            study=study,
            tables=tables,
            ranking=ranking,
            findings=found,
            base=base(ranking),
            winner=winner_if_any(ranking, found.decisions),
        )

    @cached_property
    def own(self) -> list[RankedTrial]:
        """The trials of the search, without those that repeat another one."""
        return [trial for trial in self.ranking if trial.repeats is None]

    @cached_property
    def ranked(self) -> list[RankedTrial]:
        """Those of equal effort, best first."""
        return [trial for trial in self.ranking if trial.rank is not None]

    @cached_property
    def scored(self) -> list[RankedTrial]:
        """The trials of the search that have a SER, which is a finite one."""
        return [trial for trial in self.own if trial.ser is not None and math.isfinite(trial.ser)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The `trials` table, a row a trial."""
        rows: list[dict[str, Any]] = self.tables.trials.to_pylist()
        return rows

    @cached_property
    def parameters(self) -> list[tuple[str, ...]]:
        """The searched targets that differ between trials, with those that always move alike in one group."""
        groups = together(self.study, [*self.study.parameters], self.own)
        return [group for group in groups if len({trial.params.get(group[0]) for trial in self.own}) > 1]

    @cached_property
    def on_gpu(self) -> bool:
        """Whether any trial used one."""
        return any(row["gpu_seconds"] for row in self.rows)

    @property
    def clock(self) -> str:
        """What the time of the trainings is: `GPU time`, or where there was no GPU `training time`."""
        return "GPU time" if self.on_gpu else "training time"

    @cached_property
    def judged(self) -> set[int]:
        """Numbers of the trials that were trained again to be judged."""
        return {decision.candidate for decision in self.findings.decisions}

    def part(self, trial: RankedTrial) -> str:
        """What a trial is in the study, as charts tell them apart: one of `PARTS`.

        Where the study ends with the base, that is the base.
        """
        again = trial.repeats is not None
        of = trial.repeats if again else trial.number
        if self.base is not None and of == self.base.number:
            return BASE_AGAIN if again else BASE
        if self.winner is not None and of == self.winner.number:
            return BEST_AGAIN if again else BEST
        if again:
            return JUDGED_AGAIN
        if of in self.judged:
            return JUDGED
        return COMPLETED if trial.rank is not None else STOPPED


BEST, BEST_AGAIN = "best", "best, other seeds"
BASE, BASE_AGAIN = "base", "base, other seeds"
JUDGED, JUDGED_AGAIN = "not adopted", "not adopted, other seeds"
COMPLETED, STOPPED = "trained to the end", "not to the end"
PARTS = (BEST, BEST_AGAIN, BASE, BASE_AGAIN, JUDGED, JUDGED_AGAIN, COMPLETED, STOPPED)
