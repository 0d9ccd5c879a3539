"""The data of a page's charts, each table once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.seeds import seed_from
from results.page.blocks import Dataset
from results.page.subject import COMPLETED, PARTS, STOPPED, Subject
from results.ranking import RankedTrial
from results.roles import Range, in_thirds, value_text

TRIALS, CURVES, PARALLEL = "trials", "curves", "parallel"
MOST_CURVES, MOST_MARKS = 300, 2000  # trials that are drawn, as a line or as a mark
BEST_DRAWN = 100  # of them chosen for their rank, where not all are
MOST_POINTS = 15_000  # of all curves together
HOUR = 3600
SER_AXIS = "SER"


def trials_data(subject: Subject) -> Dataset:
    """A row a drawn trial, what matters most last, so that it lies above the others.

    `value_N` is its value of the Nth of `subject.parameters`; times are in hours.
    """
    trials = sorted(
        drawn_trials(subject, MOST_MARKS), key=lambda trial: (-PARTS.index(subject.part(trial)), trial.number)
    )
    hours = ended_at(subject)
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in trials],
        "trial": [f"trial {trial.number}" for trial in trials],
        "part": [subject.part(trial) for trial in trials],
        "again": [trial.repeats is not None for trial in trials],
        "state": [trial.state for trial in trials],
        "rank": [trial.rank for trial in trials],
        "epochs": [trial.epochs for trial in trials],
        "ser": [trial.ser for trial in trials],
        "low": [trial.ser_low for trial in trials],
        "high": [trial.ser_high for trial in trials],
        "hours": [hours.get(trial.trial_id) for trial in trials],
    }
    for place, (target, *_) in enumerate(subject.parameters):
        columns[f"value_{place}"] = [drawable(trial.params.get(target)) for trial in trials]
    return Dataset(name=TRIALS, columns=columns)


def drawable(value: Any) -> Any:
    """A parameter's value where numbers are drawn as such, and the rest by its name."""
    return value if value is None or is_number(value) else value_text(value)


def ended_at(subject: Subject) -> dict[str, float]:
    """By trial_id, the hours that all trials together had trained when the trial reported its last epoch."""
    epochs = subject.tables.epochs
    column = "gpu_seconds" if subject.on_gpu else "seconds"
    spent = np.nan_to_num(epochs[column].to_numpy())
    when = epochs["time"].cast("int64").to_numpy(zero_copy_only=False).astype(np.float64)
    order = np.argsort(np.nan_to_num(when, nan=-math.inf), kind="stable")
    total = np.cumsum(spent[order]) / HOUR
    ids = epochs["trial_id"].take(order).to_pylist()
    return dict(zip(ids, total.tolist(), strict=True))


def drawn_trials(subject: Subject, most: int) -> list[RankedTrial]:
    """The trials that are drawn: all that were trained, or of very many the best, the judged, and a seeded sample.

    Args:
        subject: the study.
        most: `MOST_MARKS`, or `MOST_CURVES` where a trial is a line.
    """
    trained = [trial for trial in subject.ranking if trial.epochs > 0]
    if len(trained) <= most:
        return trained
    kept = [
        trial
        for trial in trained
        if subject.part(trial) not in (COMPLETED, STOPPED) or (trial.rank is not None and trial.rank <= BEST_DRAWN)
    ]
    names = {trial.trial_id for trial in kept}
    rest = [trial for trial in trained if trial.trial_id not in names]
    rng = np.random.default_rng(seed_from(subject.study.seed, "drawn on the page"))
    wanted = min(max(most - len(kept), 0), len(rest))
    return kept + [rest[place] for place in sorted(rng.choice(len(rest), size=wanted, replace=False).tolist())]


def compared_trials(subject: Subject) -> list[RankedTrial]:
    """Those of them that were trained to the end, which are compared with each other."""
    return [trial for trial in drawn_trials(subject, MOST_CURVES) if trial.rank is not None]


def left_out(subject: Subject, most: int) -> str:
    """In words, which trials a chart of `drawn_trials` does not show; "" where it shows all."""
    trained = sum(trial.epochs > 0 for trial in subject.ranking)
    if trained <= most:
        return ""
    return (
        f"Drawn are {len(drawn_trials(subject, most)):,} of {trained:,} trials: the best {BEST_DRAWN}, the base, those "
        "that were trained again, and a random sample of the others."
    )


def curves_data(subject: Subject) -> Dataset:
    """A row an epoch of the drawn trials, in their order in `trials_data`.

    Of very long trainings it is every so many epochs, the first and the last.
    """
    drawn = {trial.trial_id: trial for trial in drawn_trials(subject, MOST_CURVES)}
    rows = subject.tables.epochs.filter(pc.field("trial_id").isin(pa.array(drawn, pa.string()))).to_pylist()
    step = max(1, math.ceil(len(rows) / MOST_POINTS))
    rows = [row for row in rows if row["epoch"] % step == 0 or row["epoch"] in (1, drawn[row["trial_id"]].epochs)]
    parts = {name: subject.part(trial) for name, trial in drawn.items()}
    rows.sort(key=lambda row: -PARTS.index(parts[row["trial_id"]]))
    return Dataset(
        name=CURVES,
        columns={
            "number": [drawn[row["trial_id"]].number for row in rows],
            "part": [parts[row["trial_id"]] for row in rows],
            "last": [row["epoch"] == drawn[row["trial_id"]].epochs for row in rows],
            **{name: [row[name] for row in rows] for name in ("epoch", "ser", "train_loss", "validation_loss")},
        },
    )


def parallel_data(subject: Subject, names: Sequence[str]) -> Dataset:
    """A row a drawn trial of the search and axis: a parameter's, under the `names` of `subject.parameters`, or SER's.

    `place` is where on its axis a value lies, from 0 to 1; what a trial does not use has none.
    """
    trials = compared_trials(subject)
    columns: dict[str, list[Any]] = {name: [] for name in ("number", "part", "axis", "place", "value", "ser", "order")}
    axes: list[tuple[str, list[Any], Range | None]] = [
        (name, [trial.params.get(target) for trial in trials], in_thirds(subject.study, target, 1))
        for name, (target, *_) in zip(names, subject.parameters, strict=True)
    ]
    for order, (name, values, drawn_from) in enumerate([*axes, (SER_AXIS, [trial.ser for trial in trials], None)]):
        for trial, value, place in zip(trials, values, places(values, drawn_from), strict=True):
            text = f"{100 * value:.1f} %" if name == SER_AXIS else value_text(value)
            row = (trial.number, subject.part(trial), name, place, text, trial.ser, order)
            for column, cell in zip(columns.values(), row, strict=True):
                column.append(cell)
    return Dataset(name=PARALLEL, columns=columns)


def places(values: Sequence[Any], drawn_from: Range | None) -> list[float | None]:
    """Where values lie between the least and the greatest, from 0 to 1, on the scale of their range; names in order."""
    told = [value for value in values if value is not None]
    if all(is_number(value) for value in told):
        log = drawn_from is not None and drawn_from.log and min(told, default=1) > 0
        scaled = [None if value is None else math.log(value) if log else float(value) for value in values]
    else:
        names = sorted(set(map(value_text, told)))
        scaled = [None if value is None else float(names.index(value_text(value))) for value in values]
    finite = [value for value in scaled if value is not None and math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return [
        None if value is None or not math.isfinite(value) else (value - low) / (high - low) if high > low else 0.5
        for value in scaled
    ]


def is_number(value: Any) -> bool:
    """Whether a parameter's value is drawn as a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
