"""The `trials` and `epochs` tables of a replayed journal, built column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from results.journal import Parameter
from results.replay import Floats, Replay, TrialHistory
from results.schema import EPOCHS, MOMENT, PARAMETER_PREFIX, TRIALS, extra_column, parameter_column
from results.statistics import NO_INTERVAL, Interval


class StandingEpochs:
    """The epochs that stand, by trial number and epoch, and what they come to for each trial."""

    def __init__(self, replay: Replay) -> None:
        self.trials = replay.trials()
        self.trial_ids = pa.array([trial.trial_id for trial in self.trials], pa.string())
        counts = [len(trial.rows) for trial in self.trials]
        self.owner = np.repeat(np.arange(len(self.trials)), counts)
        self.names = replay.number_names
        self._rows = np.fromiter((row for trial in self.trials for row in trial.rows), np.int64, len(self.owner))
        self._replay = replay

    def number(self, name: str) -> Floats:
        """A metric at each epoch; NaN where it was not reported."""
        return self._replay.number(name)[self._rows]

    def last(self, name: str) -> Floats:
        """A metric at each trial's last epoch; NaN before the first."""
        values = np.full(len(self.trials), np.nan)
        values[self.owner] = self.number(name)  # epochs ascend: the last one written stays
        return values

    def total(self, name: str) -> Floats:
        """A metric summed over each trial's epochs."""
        return np.bincount(self.owner, weights=np.nan_to_num(self.number(name)), minlength=len(self.trials)).astype(
            np.float64
        )

    def total_if_known(self, name: str) -> Floats:
        """The same; NaN where any epoch has no number."""
        return np.bincount(self.owner, weights=self.number(name), minlength=len(self.trials)).astype(np.float64)

    def largest(self, name: str) -> Floats:
        """A metric's largest value over each trial's epochs; NaN before the first."""
        values = np.full(len(self.trials), np.nan)
        np.fmax.at(values, self.owner, self.number(name))
        return values


def epochs_table(standing: StandingEpochs, study: str) -> pa.Table:
    """`EPOCHS`, and a column for each metric beyond it; by trial number, then epoch."""
    schema = pa.schema([*EPOCHS, *(extra_column(name) for name in standing.names if name not in EPOCHS.names)])
    said = {
        "study": pa.repeat(study, len(standing.owner)),
        "trial_id": standing.trial_ids.take(pa.array(standing.owner)),
    }
    numbers = {
        field.name: _arrow(standing.number(field.name), field.type) for field in schema if field.name not in said
    }
    return pa.table(said | numbers, schema=schema)


def trials_table(
    standing: StandingEpochs,
    study: str,
    parameters: Sequence[str],
    intervals: Mapping[str, Interval],
    manual: Mapping[str, float] | None = None,
) -> pa.Table:
    """`TRIALS`, and a column for each searched parameter; by number.

    Args:
        standing: the trials and their epochs.
        study: its name.
        parameters: the searched targets; those that only trials name follow them.
        intervals: of the last epoch's SER, by trial_id.
        manual: a person's ratings, by trial_id.
    """
    trials = standing.trials
    interval = np.array([intervals.get(trial.trial_id, NO_INTERVAL) for trial in trials]).reshape(-1, 2)
    ratings = manual or {}
    ended = [trial.end.time if trial.end else np.nan for trial in trials]
    values = {
        "study": [study] * len(trials),
        "trial_id": standing.trial_ids,
        "number": [trial.start.number for trial in trials],
        "state": [trial.state for trial in trials],
        "ser": _arrow(standing.last("ser")),
        "ser_low": _arrow(interval[:, 0]),
        "ser_high": _arrow(interval[:, 1]),
        "log_ser": _arrow(standing.last("log_ser")),
        "manual": [ratings.get(trial.trial_id) for trial in trials],
        "epochs": [trial.epochs[-1] if trial.epochs else 0 for trial in trials],
        "seconds": _arrow(standing.total("seconds")),
        "gpu_seconds": _arrow(standing.total("gpu_seconds")),
        "peak_memory_bytes": _arrow(standing.largest("peak_memory_bytes"), pa.int64()),
        "energy_joules": _arrow(standing.total_if_known("energy_joules")),
        "seed": [trial.start.seed for trial in trials],
        "origin": [trial.start.origin for trial in trials],
        "repeats": pa.array([trial.start.repeats for trial in trials], pa.int64()),
        "message": [trial.end.message if trial.end else None for trial in trials],
        "checkpoint": [trial.checkpoint for trial in trials],
        "started": _arrow(np.array([trial.first.time for trial in trials]), MOMENT),
        "ended": _arrow(np.array(ended), MOMENT),
    }
    targets = dict.fromkeys([*parameters, *(target for trial in trials for target in trial.start.params)])
    searched = {PARAMETER_PREFIX + target: _parameter_values(trials, target) for target in targets}
    fields = [parameter_column(target, searched[PARAMETER_PREFIX + target].type) for target in targets]
    return pa.table(values | searched, schema=pa.schema([*TRIALS, *fields]))


def _parameter_values(trials: Sequence[TrialHistory], target: str) -> pa.Array:
    """A parameter's value in each trial; null where its condition left it out."""
    values = [trial.start.params.get(target) for trial in trials]
    kind = _parameter_type(values)
    if kind == pa.string():
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(values, kind)


def _parameter_type(values: Sequence[Parameter]) -> pa.DataType:
    """The narrowest type that holds all values; text if they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def _arrow(values: Floats, kind: pa.DataType = pa.float64()) -> pa.Array:  # noqa: B008  (immutable)
    """Numbers as a column: NaN becomes null, seconds since 1970 become moments."""
    if kind == pa.float64():
        return pa.array(values, from_pandas=True)
    whole = np.rint(values * 1e6 if kind == MOMENT else values)
    return pa.array(whole, from_pandas=True).cast(pa.int64()).cast(kind)
