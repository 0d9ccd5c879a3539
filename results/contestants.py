"""What can be laid side by side: a trial of a study, or a run of the training log.

dropout-1       the trial that a study ends with (`results.winner`)
dropout-1/3     one trial of it, by number or id
run:63          a run of the training log
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import StudyError
from results.evidence import Decision, decisions_of
from results.gather import Tables, gather
from results.journal import Parameter
from results.log_records import LogRun
from results.provenance import code_words
from results.ranking import BASE, RankedTrial, chosen, rank
from results.roles import setting_text
from results.samples import is_log_benchmark, works_of
from results.schema import ERROR_CLASSES
from results.study import StudyRecord, find_study, read_study
from results.training_log import find_run, read_log
from results.winner import winner

TRAINED_WITH = ("model", "loss", "optimizer", "train")
"""The groups of a configuration that a training depends on; the others say how was searched, and where."""
SEED = "train.seed"  # told as a figure: it is no setting that would be chosen

_RUN = re.compile(r"run:(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class OpenStudy:
    """A study's folder as it stands now."""

    folder: Path
    record: StudyRecord
    tables: Tables
    ranking: tuple[RankedTrial, ...]
    decisions: tuple[Decision, ...]

    @classmethod
    def open(cls, folder: Path) -> OpenStudy:
        """Gather it.

        Raises:
            StudyError: no study, or a damaged one.
        """
        record, tables = read_study(folder), gather(folder)
        return cls(folder, record, tables, tuple(rank(tables.trials)), tuple(decisions_of(record, tables)))

    def winner(self) -> RankedTrial:
        """The trial that it ends with.

        Raises:
            StudyError: no trial was completed.
        """
        try:
            return winner(self.ranking, self.decisions)
        except StudyError as error:
            raise StudyError(f"{self.record.name}: {error}; name one of them: {self.record.name}/NUMBER") from None

    def row(self, trial: RankedTrial) -> dict[str, Any]:
        """A trial's row of `trials`."""
        row: dict[str, Any] = self.tables.trials.filter(pc.field("trial_id") == trial.trial_id).to_pylist()[0]
        return row

    def last_epoch(self, trial: RankedTrial) -> dict[str, Any]:
        """Its last row of `epochs`; empty before the first has ended."""
        own = (pc.field("trial_id") == trial.trial_id) & (pc.field("epoch") == trial.epochs)
        return next(iter(self.tables.epochs.filter(own).to_pylist()), {})

    def read_last(self, trial: RankedTrial) -> pa.Table:
        """Its rows of `samples` after its last epoch, ordered by staff; none where they are lost."""
        return self.tables.samples.of(trial.trial_id, trial.epochs).sort_by(
            [("staff_id", "ascending"), ("source", "ascending")]
        )

    def repeats(self, trial: RankedTrial) -> list[RankedTrial]:
        """The trainings of a trial's setting with other seeds, in their order."""
        return sorted((one for one in self.ranking if one.repeats == trial.number), key=lambda one: one.number)

    def counted(self, trial: RankedTrial) -> list[pa.Table]:
        """What the runs of a trial's setting read, as far as they count (`results.evidence`); none without repeats.

        The first run of what was trained again was picked for its luck, and is left out; that of the base was not.
        """
        runs = [one for one in self.repeats(trial) if (one.state, one.epochs) == ("completed", trial.epochs)]
        first = [trial] if trial.origin == BASE and runs else []
        return [table for table in map(self.read_last, [*first, *runs]) if len(table)]

    def rates_over_seeds(self) -> list[list[float]]:
        """SER of each run that counts, of every setting that was trained again."""
        again = {trial.repeats for trial in self.ranking}
        settings = [trial for trial in self.ranking if trial.number in again]
        return [rates for trial in settings if (rates := [_rate(table) for table in self.counted(trial)])]

    def codes(self) -> list[str]:
        """The versions of the code that drove it, in words; uncommitted ones with the beginning of their digest."""
        code = self.record.provenance.code
        first = f"{code} ({code.digest[:8]})" if code.dirty and code.digest else str(code)
        later = [words for session in self.tables.sessions if (words := code_words(session.code)) != str(code)]
        return list(dict.fromkeys([first, *later]))


@dataclass(frozen=True)
class Figures:
    """What stands side by side; None is not known.

    Attributes:
        ser, low, high: of its own run, with the 95 % interval (bootstrap over works).
        mean_ser, seeds: mean over the seeds that count (`results.evidence`), and how many these are.
        log_ser: the SER as the training log measured it, on its own photographs.
        epochs, staves, works: that it was trained for, and was validated on.
        hours, gpu_hours: of the training; `search_hours` of the whole search.
        seed: of the training.
        manual: a person's rating of whole pages, in differences from the true score.
        by_class: the part of the SER that is errors of each class.
    """

    ser: float | None = None
    low: float | None = None
    high: float | None = None
    mean_ser: float | None = None
    seeds: int | None = None
    log_ser: float | None = None
    epochs: int | None = None
    staves: int | None = None
    works: int | None = None
    hours: float | None = None
    gpu_hours: float | None = None
    search_hours: float | None = None
    seed: int | None = None
    manual: float | None = None
    by_class: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class TrialContestant:
    """A trial; `name` is as it was asked for."""

    name: str
    study: OpenStudy
    trial: RankedTrial

    @cached_property
    def settings(self) -> dict[str, Parameter]:
        """By place in the configuration: the study's own, with what the trial has of its parameters over it."""
        flat = dict(_leaves({group: self.study.record.config.get(group, {}) for group in TRAINED_WITH}))
        flat |= {target: value for target, value in self.trial.params.items() if value is not None}
        return {place: value for place, value in flat.items() if place != SEED}

    @cached_property
    def samples(self) -> pa.Table:
        """What its own run read last, ordered by staff."""
        return self.study.read_last(self.trial)

    @cached_property
    def counted(self) -> list[pa.Table]:
        """What its runs with several seeds read (`OpenStudy.counted`)."""
        return self.study.counted(self.trial)

    @cached_property
    def figures(self) -> Figures:
        """See there."""
        row, epoch, seconds = self.study.row(self.trial), self.study.last_epoch(self.trial), self.study.tables.seconds
        rates = [_rate(table) for table in self.counted]
        return Figures(
            ser=row["ser"],
            low=row["ser_low"],
            high=row["ser_high"],
            mean_ser=sum(rates) / len(rates) if rates else None,
            seeds=len(rates) or None,
            log_ser=row["log_ser"] if is_log_benchmark(self.samples) else None,
            epochs=row["epochs"],
            staves=len(self.samples) or None,
            works=works_of(self.samples) or None,
            hours=_hours(row["seconds"]),
            gpu_hours=_hours(row["gpu_seconds"]),
            search_hours=_hours(seconds or None),
            seed=row["seed"],
            manual=row["manual"],
            by_class={name: epoch.get(f"ser_class_{name}") for name in ERROR_CLASSES},
        )


@dataclass(frozen=True)
class RunContestant:
    """A run of the training log: a few facts, and no counts by staff."""

    name: str
    run: LogRun

    @property
    def settings(self) -> dict[str, Parameter]:
        """Those that the log knows."""
        return self.run.settings

    @property
    def figures(self) -> Figures:
        """Those that the log has."""
        return Figures(log_ser=self.run.ser, hours=self.run.hours, manual=self.run.manual)


Contestant: TypeAlias = TrialContestant | RunContestant


def find(name: str, studies: Path | str, log: Path, opened: dict[Path, OpenStudy] | None = None) -> Contestant:
    """The trial or the run of a name (see the module).

    Args:
        name: of it.
        studies: folder of the studies.
        log: the training log.
        opened: studies that are open already, by folder; what is opened is added.

    Raises:
        StudyError: no such study or trial, or no trial of it was completed; the message names those there are.
        LogError: no such run, or no log.
    """
    if found := _RUN.fullmatch(name):
        return RunContestant(name, find_run(read_log(log), int(found[1])))
    study_name, _, number = name.partition("/")
    folder, known = find_study(studies, study_name), {} if opened is None else opened
    if folder not in known:
        known[folder] = OpenStudy.open(folder)
    study = known[folder]
    return TrialContestant(name, study, chosen(study.ranking, number) if number else study.winner())


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """Every value by its place; a list is the text that the `trials` table has for it."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", setting_text(value) if isinstance(value, list) else value


def _rate(samples: pa.Table) -> float:
    return float(pc.sum(samples["distance"]).as_py() / max(pc.sum(samples["reference_length"]).as_py(), 1))


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600
