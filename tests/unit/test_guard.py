"""An error of our own ends the search as itself: of the journal, of the observer, of the sampler; without Ray."""

from __future__ import annotations

import dataclasses
import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from datasets.errors import StudyError
from results.journal import Journal
from search.config import BudgetConfig, SchedulerConfig
from search.console import Console
from search.engine import observer
from search.engine.observer import FAILURES_IN_A_ROW
from search.engine.tuning import _outcome
from search.engine.watchdog import RayDiedError
from search.outcome import Outcome
from tests.driven import EPOCHS, Session, search_config, stories, trained

NONE = SchedulerConfig(name="none")
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(search_config(tmp_path, scheduler=NONE, budget=BudgetConfig(trials=3)))


def quiet() -> Console:
    return Console(3, EPOCHS, [], stream=io.StringIO())


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [FULL, KeyError("a mistake")])
def test_the_first_error_ends_the_search_and_nothing_is_recorded_after_it(
    session: Session, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = session.begin()
    session.epoch(trial)
    with monkeypatch.context() as context:
        context.setattr(Journal, "append", raising(error))
        session.epoch(trial)
    session.epoch(trial)
    assert trained(session.folder) == [("0000", 1)]
    assert session.stop.error is error
    assert session.stopper.stop_all()
    assert session.searcher.suggest("another") == Searcher.FINISHED
    session.observer.finish()
    session.agenda.close()
    assert [story.state for story in stories(session.folder).values()] == ["paused"]
    if error is FULL:
        assert _outcome(session.stop, quiet()) == Outcome.DISK_FULL
    else:
        with pytest.raises(KeyError, match="a mistake"):
            _outcome(session.stop, quiet())
    again = Session(session.config)
    assert again.run() == Outcome.FINISHED
    assert trained(again.folder)[:EPOCHS] == [("0000", epoch) for epoch in range(1, EPOCHS + 1)]


def test_an_error_at_a_trials_end_does_not_reach_tune(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = session.begin()
    while trial.epoch < EPOCHS - 1:
        session.epoch(trial)
    monkeypatch.setattr(session.agenda, "ended", raising(FULL))
    session.epoch(trial)  # Tune would begin the trial again if this raised
    assert session.stop.reason == Outcome.DISK_FULL


def test_a_sampler_that_fails_ends_the_search(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.agenda, "next", raising(ValueError("no such distribution")))
    assert session.searcher.suggest("one") == Searcher.FINISHED
    with pytest.raises(ValueError, match="no such distribution"):
        _outcome(session.stop, quiet())


def test_whoever_interrupted_it_hears_that_it_was_interrupted(session: Session) -> None:
    session.stop.interrupted = True
    session.stop.error = RayDiedError("SIGTERM came to Ray, too")
    assert _outcome(session.stop, quiet()) == Outcome.INTERRUPTED


def died(session: Session, trial: Any) -> None:
    """Its process died, and Tune does not begin it again."""
    session.searcher.on_trial_complete(trial.trial_id, error=True)
    session.observer.on_trial_error(0, [], trial)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_process_that_the_end_of_the_search_took_with_it_may_go_on(session: Session, interrupted: bool) -> None:
    trial = session.begin()
    session.epoch(trial)
    session.stop.interrupted = interrupted
    died(session, trial)
    assert stories(session.folder)[0].state == ("paused" if interrupted else "failed")


def test_a_process_that_ray_took_with_it_may_go_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = session.begin()
    session.epoch(trial)
    monkeypatch.setattr(observer, "check_ray", raising(RayDiedError("Ray died")))
    died(session, trial)
    session.observer.finish()
    assert stories(session.folder)[0].state == "paused"
    with pytest.raises(RayDiedError):
        _outcome(session.stop, quiet())


def test_a_machine_that_fails_a_trial_ends_the_search_and_not_the_trial(session: Session) -> None:
    trial = session.begin()
    session.epoch(trial)
    session._told(trial, {"epoch": 0, "ser": 10.0, "cut_off": "OSError: [Errno 30] Read-only file system"}, last=True)
    session.observer.finish()
    assert stories(session.folder)[0].state == "paused"
    with pytest.raises(StudyError, match=r"trial 0: OSError: .*Read-only.*resume=driven"):
        _outcome(session.stop, quiet())


def test_a_machine_that_fails_every_trial_ends_the_search(tmp_path: Path) -> None:
    count = [0]

    def fails(*_: object) -> float:
        count[0] += 1
        return 0.5 if count[0] == 3 else -1.0  # an epoch in between: it is not the machine

    config = search_config(tmp_path, scheduler=NONE, budget=BudgetConfig(trials=20))
    session = Session(config, curve=fails)
    assert session.run() == Outcome.BROKEN_OFF
    assert len(stories(session.folder)) == 3 - 1 + FAILURES_IN_A_ROW
    with pytest.raises(StudyError, match="5 trials in a row failed without an epoch, the last one with: RuntimeError"):
        _outcome(session.stop, quiet())


def test_a_trial_goes_back_to_no_checkpoint_of_before_an_exchange(session: Session) -> None:
    trial = session.begin()
    session.epoch(trial)
    session.epoch(trial)
    start = session.chronicle.trial(0).start
    session.chronicle.append(dataclasses.replace(start, origin="trial 1 after epoch 2", params={**start.params}))
    session.epoch(trial)
    assignment = session.agenda._resumed(0)
    assert [Path(folder).name for folder in assignment.checkpoints] == ["checkpoint_000003"]
