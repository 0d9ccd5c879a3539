"""Optuna's study as the journal tells it.

The journal is the truth, and Optuna's storage is made anew out of it whenever a search is taken up again: whatever
became of the storage, the sampler sees each trial as what it was.

    trained to the end       COMPLETE with its SER; PRUNED if that is no number
    stopped early            PRUNED with its intermediate values
    changed on the way       PRUNED with the values until then: what came later is of other settings
    diverged                 PRUNED with the values until then
    crashed                  FAIL
    not ended                RUNNING with the values so far

What was shown of a trial that has ended (`search.optuna_view`) is kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from results.ranking import BASE
from results.replay import TrialHistory
from search.prior import PRIOR
from search.samplers import WAITS
from search.space import ORIGIN, OUTSIDE, SearchSpace, Values

OPTUNA_JOURNAL = "optuna.journal"
NUMBER = "number"  # user attribute: the trial's number in the study, where repeats have numbers, too
SHOWN = ("state", "ser", "ser_low", "ser_high")  # user attributes of a trial, once the search has ended
ARTIFACT = "artifacts:"  # what Optuna's system attributes of artifacts begin with
QUEUED = "fixed_params"  # Optuna's system attribute of a trial from its queue
STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


Known: TypeAlias = Mapping[int, FrozenTrial]
"""The trials of an earlier storage, by their number: samplers remember things of them."""


def optuna_study(
    folder: Path, sampler: BaseSampler, space: SearchSpace, trials: Sequence[TrialHistory], waiting: Collection[int]
) -> optuna.Study:
    """The study in `folder`: the trials of the search that have begun, and after them the space's first points.

    Args:
        trials: by number; repeats are left out, as a sampler takes each trial for a setting of its own.
        waiting: numbers of the trials that were paused at a rung and may be promoted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / OPTUNA_JOURNAL
    before = _known(path, folder.name)
    for leftover in folder.glob(f"{OPTUNA_JOURNAL}*"):  # its lock, too, if the process that held it was killed
        leftover.unlink()
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(study_name=folder.name, storage=storage, sampler=sampler, direction="minimize")
    for trial in trials:
        if trial.start.repeats is None:
            study.add_trial(_frozen(trial, space, trial.start.number in waiting, before))
    space.queue(study)
    return study


def numbers(study: optuna.Study) -> dict[int, optuna.trial.FrozenTrial]:
    """The trials that have begun, by their number in the study."""
    return {one.user_attrs[NUMBER]: one for one in study.get_trials(deepcopy=False) if NUMBER in one.user_attrs}


def _frozen(trial: TrialHistory, space: SearchSpace, waits: bool, before: Known) -> FrozenTrial:
    """A trial as Optuna would have it."""
    first = trial.first
    outside = first.origin == BASE and (space.resolution is not None or space.base_values is None)
    values: Values = {} if outside else space.values_of(first.params) or {}
    until = math.inf if trial.changed_after is None else trial.changed_after
    known = {
        epoch: ser for epoch, ser in zip(trial.epochs, trial.sers, strict=True) if epoch <= until and math.isfinite(ser)
    }
    state = TrialState.RUNNING if waits else STATES.get(trial.state, TrialState.RUNNING)
    if state == TrialState.COMPLETE and (not known or max(known) != trial.epochs[-1]):
        state = TrialState.PRUNED
    old = before.get(first.number)
    attributes = {} if old is None else dict(old.system_attrs)
    if first.origin and QUEUED not in attributes and first.origin != PRIOR:
        attributes[QUEUED] = _asked_for(space, first.origin, values)
    shown = {} if old is None or not state.is_finished() else old.user_attrs
    frozen = create_trial(
        state=state,
        value=known[max(known)] if known and state in (TrialState.COMPLETE, TrialState.PRUNED) else None,  # as `tell`
        params=values,
        distributions=_distributions(space, values),
        user_attrs={NUMBER: first.number, ORIGIN: first.origin, WAITS: waits}
        | ({} if values else {OUTSIDE: True})
        | {name: shown[name] for name in SHOWN if name in shown},
        system_attrs=attributes,
        intermediate_values=known,
    )
    frozen.datetime_start = datetime.fromtimestamp(first.time)  # in local time, as Optuna has it
    if state.is_finished():
        frozen.datetime_complete = datetime.fromtimestamp(trial.heard)
    return frozen


def _asked_for(space: SearchSpace, origin: str, values: Values) -> Values:
    """What was queued: a point may leave values to the sampler, and is not to be queued again without them."""
    points = (given for given, named in space.points if named == origin and given.items() <= values.items())
    return next(points, values)


def _distributions(space: SearchSpace, values: Values) -> dict[str, optuna.distributions.BaseDistribution]:
    if not values:
        return {}
    fixed = FixedTrial(values)
    space.draw(fixed)
    return fixed.distributions


def _known(path: Path, name: str) -> Known:
    """The trials of an earlier storage; none if it is missing or damaged."""
    if not path.exists():
        return {}
    try:
        study = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))
        return numbers(study)
    except Exception:  # a storage that was cut or changed raises anything; what it knew can be done without
        return {}
