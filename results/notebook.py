"""A study in a notebook: typed tables, the best trial, and how it compares.

    import results

    study = results.load("dropout-1")
    study                                   # what it found, in short
    study.trials                            # a pandas table; the columns are those of `results.schema`
    study.best.ser, study.best.interval
    study.best.samples.nlargest(5, "distance")
    study.figure("best-so-far")             # a figure of its page; `study.figures` names them
    study.compare("depth-2")                # another study, a trial as "depth-2/3", or a run of the log as "run:63"

All of it is read by `load`, and then stays as it was: load again for what a running search has added. Columns of whole
numbers, truths and texts are pandas' own types that know missing values; states are categories; moments are in UTC.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa
import pyarrow.compute as pc

from datasets.addresses import place_of
from datasets.command_line import check_choice
from omr_model.metrics import percent
from results.comparison import Comparison, compared
from results.contestants import Contestant, OpenStudy, TrialContestant, find
from results.findings import Findings, findings_of, importance_table, rungs_table
from results.journal import EndState, Parameter
from results.page.blocks import Block, Chart, Grid, Prose, Section
from results.page.plain import fragment, text
from results.page.subject import Subject
from results.ranking import RankedTrial, base, chosen
from results.roles import value_text
from results.samples import LoadedSamples
from results.schema import MOMENT
from results.study import DEFAULT_LOG, StudyRecord
from results.verdict import interval_text
from results.winner import winner_if_any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

STATES = (*get_args(EndState), "running")
SHOWN = 10  # trials in a study's display
NO_TRIAL = "No trial was completed yet."


class Study:
    """One study, as its folder stood when it was loaded.

    Attributes:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        opened = OpenStudy.open(folder)
        loaded = LoadedSamples(opened.tables.samples.table())  # a notebook's study stays as it was
        self._open = replace(opened, tables=replace(opened.tables, samples=loaded))

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def record(self) -> StudyRecord:
        """What `study.json` says: configuration, corpus, code, machine."""
        return self._open.record

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial, by number."""
        return _frame(self._open.tables.trials)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row an epoch of a trial."""
        return _frame(self._open.tables.epochs)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row a validation staff, as each trial's latest checkpoint read it."""
        return _frame(self._open.tables.samples.table())

    @cached_property
    def importance(self) -> pd.DataFrame:
        """A row a parameter and kind of error."""
        return _frame(importance_table(self.record, self.findings))

    @cached_property
    def rungs(self) -> pd.DataFrame:
        """A row an epoch after which trials are, or could have been, compared."""
        return _frame(rungs_table(self.record, self.findings))

    @cached_property
    def findings(self) -> Findings:
        """What the study has shown: decisions, importance, fidelity, cautions."""
        return findings_of(self.record, self._open.tables)

    @property
    def verdict(self) -> str:
        """What was decided, in words; empty as long as no trial was completed."""
        return self.findings.verdict

    @property
    def best(self) -> Trial:
        """The trial that the study ends with (`results.winner`).

        Raises:
            StudyError: no trial was completed.
        """
        return Trial(self._open, self._open.winner())

    @property
    def base(self) -> Trial | None:
        """The trial of the setting that all others vary; None in a study that trained none."""
        foundation = base(self._open.ranking)
        return None if foundation is None else Trial(self._open, foundation)

    def trial(self, name: int | str) -> Trial:
        """The trial of a number or an id.

        Raises:
            StudyError: there is none; the message names those there are.
        """
        return Trial(self._open, chosen(self._open.ranking, str(name)))

    def predictions(self, name: int | str) -> pd.DataFrame:
        """What a trial's latest checkpoint read, a row a staff, the worst first; `ser` is the staff's own."""
        return self.trial(name).predictions

    def compare(self, *others: Study | Trial | str, log: str | Path = DEFAULT_LOG) -> Comparison:
        """The trial that this study ends with beside others, each held against it (`results.comparison`).

        Args:
            others: studies, trials, or names as `python -m results.compare` takes them: a study that lies beside this
                one, a trial of it as `depth-2/3`, or a run of the training log as `run:63`.
            log: the training log.

        Raises:
            ConfigError: no others.
            StudyError, LogError: there is none of a name, or no trial of a study was completed.
        """
        return self.best.compare(*others, log=log)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of its figures, as the study's page has them (`results.report`)."""
        return tuple(self._charts)

    def figure(self, name: str, dark: bool = False) -> alt.TopLevelMixin:
        """One of `figures` as an Altair chart, which a notebook draws and `chart.save("ranking.svg")` keeps.

        Args:
            name: of the figure.
            dark: for a dark background.

        Raises:
            ConfigError: there is no such figure; the message names those there are.
        """
        from results.page.figure import datasets_of, standalone

        check_choice("figure", name, self.figures)
        return standalone(self._charts[name], datasets_of(self._subject), dark)

    @cached_property
    def _charts(self) -> dict[str, Chart]:
        from results.page.figure import charts_of  # Altair is slow to import, and not always needed

        return charts_of(self._subject)

    @cached_property
    def _subject(self) -> Subject:
        ranking = list(self._open.ranking)
        return Subject(
            folder=self.folder,
            study=self.record,
            tables=self._open.tables,
            ranking=ranking,
            findings=self.findings,
            base=base(ranking),
            winner=winner_if_any(ranking, self._open.decisions),
        )

    def __repr__(self) -> str:
        return text([self._section(), *self._ranking()])

    def _repr_html_(self) -> str:
        return fragment([self._section(), *self._ranking()])

    def _section(self) -> Section:
        states = self._open.tables.trials["state"].value_counts().to_pylist()
        counts = ", ".join(f"{one['counts']} {one['values']}" for one in states) or "none yet"
        head = f"{len(self._open.ranking)} trials ({counts}) on {self.record.corpus.name}."
        words = Prose(paragraphs=[head, self.verdict or NO_TRIAL])
        return Section(name="study", title=f"Study {self.name}", blocks=[words])

    def _ranking(self) -> list[Section]:
        """The first of the ranking."""
        shown = [trial for trial in self._open.ranking if trial.repeats is None][:SHOWN]
        rows = [
            [
                "-" if trial.rank is None else str(trial.rank),
                f"{trial.number} ({trial.origin})" if trial.origin else str(trial.number),
                trial.state,
                str(trial.epochs),
                percent(trial.ser),
                interval_text(trial) or "-",
            ]
            for trial in shown
        ]
        header = ["rank", "trial", "state", "epochs", "SER", "95 % interval"]
        table: list[Block] = [Grid(name="ranking", title="", header=header, rows=rows)]
        return [Section(name="ranking", title="Ranking", blocks=table)] if rows else []


class Trial:
    """One trial of a study; `Study.best`, `Study.base` and `Study.trial` make it."""

    def __init__(self, study: OpenStudy, ranked: RankedTrial) -> None:
        self._study, self._ranked = study, ranked

    @property
    def number(self) -> int:
        """Position in the study, from 0."""
        return self._ranked.number

    @property
    def trial_id(self) -> str:
        """The engine's name of it; unique in its study."""
        return self._ranked.trial_id

    @property
    def name(self) -> str:
        """As `results.compare` calls it."""
        return f"{self._study.record.name}/{self.number}"

    @property
    def state(self) -> str:
        """How it ended; `running` as long as no end is recorded."""
        return self._ranked.state

    @property
    def rank(self) -> int | None:
        """From 1; None where it cannot be compared (`results.ranking`)."""
        return self._ranked.rank

    @property
    def setting(self) -> dict[str, Parameter]:
        """The searched values by place in the configuration, without those that a condition left out."""
        return {target: value for target, value in self._ranked.params.items() if value is not None}

    @property
    def ser(self) -> float | None:
        """Corpus-level symbol error rate after the last epoch reached, a fraction."""
        return self._ranked.ser

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval (bootstrap over works); None where the samples of that epoch are lost."""
        low, high = self._ranked.ser_low, self._ranked.ser_high
        return None if low is None or high is None else (low, high)

    @property
    def checkpoint(self) -> Path | None:
        """The folder of its latest checkpoint, which the search may have removed since; None if it saved none."""
        return None if self._ranked.checkpoint is None else self._study.folder / self._ranked.checkpoint

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Its rows of `Study.epochs`."""
        return _frame(self._own(self._study.tables.epochs))

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Its rows of `Study.samples`."""
        return _frame(self._study.tables.samples.of(self.trial_id))

    @property
    def predictions(self) -> pd.DataFrame:
        """What it read, a row a staff, the worst first; `ser` is the staff's own, missing where there is no music."""
        columns = ["staff_id", "work", "source", "distance", "reference_length", "prediction", "reference"]
        staves = self.samples[columns]
        rate = staves["distance"] / staves["reference_length"].where(staves["reference_length"] > 0)
        return staves.assign(ser=rate).sort_values(
            ["ser", "distance"], ascending=False, ignore_index=True, na_position="last"
        )

    def compare(self, *others: Study | Trial | str, log: str | Path = DEFAULT_LOG) -> Comparison:
        """This trial beside others, each held against this one; the arguments are those of `Study.compare`."""
        opened = {self._study.folder: self._study}
        studies = place_of(self._study.folder.parent)

        def contestant(other: Study | Trial | str) -> Contestant:
            if isinstance(other, str):
                return find(other, studies, Path(log), opened)
            return (other.best if isinstance(other, Study) else other)._contestant()

        return compared([self._contestant(), *map(contestant, others)])

    def _contestant(self) -> TrialContestant:
        return TrialContestant(self.name, self._study, self._ranked)

    def _own(self, table: pa.Table) -> pa.Table:
        return table.filter(pc.field("trial_id") == self.trial_id)

    def __repr__(self) -> str:
        return text([self._section()])

    def _repr_html_(self) -> str:
        return fragment([self._section()])

    def _section(self) -> Section:
        interval = interval_text(self._ranked)
        ser = percent(self.ser) + (f" (95 % interval {interval})" if interval else "")
        rank = "" if self.rank is None else f", rank {self.rank}"
        head = f"{self.state.capitalize()}{rank}: SER {ser} after epoch {self._ranked.epochs}."
        blocks: list[Block] = [Prose(paragraphs=[head])]
        if self.setting:
            rows = [[target, value_text(value)] for target, value in self.setting.items()]
            blocks.append(Grid(name="setting", title="", header=["setting", "value"], rows=rows))
        return Section(name="trial", title=f"Trial {self.number} of study {self._study.record.name}", blocks=blocks)


def _frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table in pandas' types that know missing values."""
    import pandas as pd

    kinds: dict[pa.DataType, Any] = {
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(types_mapper=kinds.get)
    for field in table.schema:
        if field.type == MOMENT:
            frame[field.name] = frame[field.name].dt.tz_localize("UTC")
    if "state" in frame:
        frame["state"] = pd.Categorical(frame["state"], categories=STATES)
    return frame
