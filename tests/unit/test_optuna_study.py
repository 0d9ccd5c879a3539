"""Optuna's study, made anew out of the journal, is the one that there was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.config import BudgetConfig, PointConfig, SamplerConfig, SchedulerConfig, SearchConfig
from search.optuna_study import _asked_for
from tests.driven import EPOCHS, Session, curve, cut, events, search_config, told

SCHEDULERS = {"asha": 2, "promotion": 2, "median": 2}


def halfway(studies: Path, sampler: str, scheduler: str) -> tuple[Session, list[object]]:
    """A session in which some trials have ended and two are in the middle, and what Optuna knows of it."""
    config = search_config(
        studies,
        budget=BudgetConfig(trials=20),
        sampler=SamplerConfig(name=sampler, startup_trials=3, resolution=3),
        scheduler=SchedulerConfig(name=scheduler, grace_epochs=2),
    )
    session = Session(config)
    running = [session.begin(), session.begin()]
    for _ in range(14):
        running = [trial for trial in running if session.epoch(trial)]
        running += [session.begin() for _ in range(2 - len(running))]
    return session, list(told(session.study))


def again(session: Session, studies: Path) -> Session:
    """Taken up after the process was killed, on a copy."""
    config: SearchConfig = search_config(
        studies, budget=session.config.budget, sampler=session.config.sampler, scheduler=session.config.scheduler
    )
    cut(session.folder, config, len(events(session.folder)))
    return Session(config)


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("tpe", "asha"), ("tpe", "promotion"), ("random", "median"), ("qmc", "asha"), ("grid", "asha"), ("cmaes", "asha")],
)
def test_it_equals_the_live_one_and_suggests_the_same(sampler: str, scheduler: str, tmp_path: Path) -> None:
    live, knew = halfway(tmp_path / "live", sampler, scheduler)
    rebuilt = again(live, tmp_path / "rebuilt")
    assert told(rebuilt.study) == knew
    states = {state for state, *_ in told(rebuilt.study)}
    assert states >= {TrialState.COMPLETE, TrialState.RUNNING}
    number = live.chronicle.next_number
    next_trials = [(one.study.ask(), one.space) for one in (live, rebuilt)]
    assert [trial.number for trial, _ in next_trials] == [number, number]
    settings = [space.suggest(trial) for trial, space in next_trials]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("damage", [None, b"", b"{}\n", b"\x00\xff\n", b'{"op_code": 99, "worker_id": "x"}\n'])
def test_whatever_became_of_its_storage(damage: bytes | None, tmp_path: Path) -> None:
    live, knew = halfway(tmp_path / "live", "tpe", "asha")
    if damage is None:
        (live.folder / "optuna.journal").unlink()
    else:
        (live.folder / "optuna.journal").write_bytes(damage)
    (live.folder / "optuna.journal.lock").write_text("of a process that was killed")
    rebuilt = again(live, tmp_path / "rebuilt")
    assert told(rebuilt.study) == knew
    assert not (rebuilt.folder / "optuna.journal.lock").exists()


def test_what_is_queued_is_still_queued(tmp_path: Path) -> None:
    session = Session(search_config(tmp_path / "live"))
    session.begin()
    rebuilt = again(session, tmp_path / "rebuilt")
    assert [trial.state.name for trial in rebuilt.study.trials] == ["RUNNING", "WAITING"]
    assert rebuilt.study.trials[1].system_attrs["fixed_params"] == {"rate": 1e-2, "dropout": 0.1}


def test_a_point_that_leaves_values_to_the_sampler_is_queued_once(tmp_path: Path) -> None:
    space = search_config(tmp_path).space
    some = replace(space, points={"some": PointConfig(origin="run 51", values={"rate": 1e-2})})
    session = Session(search_config(tmp_path / "live", space=some))
    session.space.points[:] = [({"rate": 1e-2}, "run 51")]  # as where the base's own value is outside of the range
    fresh = _asked_for(session.space, "run 51", {"rate": 1e-2, "dropout": 0.3})
    assert fresh == {"rate": 1e-2}
    assert _asked_for(session.space, "run 51", {"rate": 2e-2, "dropout": 0.3}) == {"rate": 2e-2, "dropout": 0.3}


def test_a_trial_that_ends_with_no_number_is_pruned_then_and_after_a_resume(tmp_path: Path) -> None:
    def breaks(config: Mapping[str, Any], epoch: int) -> float:
        return math.inf if epoch == EPOCHS else curve(config, epoch)

    config = search_config(tmp_path / "live", budget=BudgetConfig(trials=1), scheduler=SchedulerConfig(name="none"))
    session = Session(config, curve=breaks)
    session.run()
    knew = told(session.study)
    assert [state for state, *_ in knew] == [TrialState.PRUNED]
    assert told(again(session, tmp_path / "rebuilt").study) == knew


def test_settings_that_changed_on_the_way_count_until_they_did(tmp_path: Path) -> None:
    import dataclasses

    from results.journal import TrialStarted

    session = Session(search_config(tmp_path / "live", scheduler=SchedulerConfig(name="none")))
    trial = session.begin()
    for _ in range(3):
        session.epoch(trial)
    start = session.chronicle.trial(0).start
    other = dataclasses.replace(start, params={**start.params, "model.decoder.dropout": 0.3}, origin="trial 1 after 3")
    assert isinstance(other, TrialStarted)
    session.chronicle.append(other)
    for _ in range(3):
        session.epoch(trial)
    [(state, _, _, values, *_)] = told(again(session, tmp_path / "rebuilt").study)
    assert (state, sorted(values)) == (TrialState.PRUNED, [1, 2, 3])
