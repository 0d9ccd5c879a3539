"""What is trained next: budgets, more of them, trials that wait, repeats; the driver's own parts, without Ray."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from results.journal import TrialStarted
from search import agenda, chronicle
from search.config import BudgetConfig, ConfirmConfig, SamplerConfig, SchedulerConfig, SearchConfig
from search.outcome import Outcome
from tests.driven import EPOCHS, RATE, Session, curve, cut, events, search_config, steps, stories, told, trained

PROMOTION = SchedulerConfig(name="promotion", grace_epochs=2)
NONE = SchedulerConfig(name="none")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_is_given_more_ends_as_one_that_had_it_from_the_start(sampler: str, tmp_path: Path) -> None:
    config = search_config(tmp_path / "long", sampler=SamplerConfig(name=sampler, startup_trials=3))
    assert Session(config).run() == Outcome.FINISHED
    short = search_config(tmp_path / "short", sampler=config.sampler, budget=BudgetConfig(trials=3))
    assert Session(short).run() == Outcome.FINISHED
    assert len(stories(short.folder())) == 3
    longer = replace(short, budget=config.budget)
    Session(longer).run()
    assert stories(longer.folder()) == stories(config.folder())
    assert told(Session(longer).study) == told(Session(config).study)


def test_a_finished_search_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    config = search_config(tmp_path, budget=BudgetConfig(trials=2))
    Session(config).run()
    before = stories(config.folder())
    assert Session(config).run() == Outcome.FINISHED
    assert stories(config.folder()) == before


def test_epochs_are_a_budget_and_more_of_them_go_on_where_it_ended(tmp_path: Path) -> None:
    config = search_config(tmp_path, scheduler=NONE, budget=BudgetConfig(trials=None, epochs=8))
    assert Session(config).run() == Outcome.OUT_OF_EPOCHS
    assert trained(config.folder()) == [*(("0000", one) for one in range(1, 7)), ("0001", 1), ("0001", 2)]
    assert [story.state for story in stories(config.folder()).values()] == ["completed", "paused"]
    more = replace(config, budget=BudgetConfig(trials=None, epochs=12))
    assert Session(more).run() == Outcome.OUT_OF_EPOCHS
    assert trained(config.folder())[8:] == [("0001", one) for one in range(3, 7)]


def test_gpu_hours_are_a_budget(tmp_path: Path) -> None:
    four_epochs = BudgetConfig(trials=None, gpu_hours=3.5 / 60)  # each takes a minute
    config = search_config(tmp_path, scheduler=NONE, budget=four_epochs)
    assert Session(config).run() == Outcome.OUT_OF_GPU_TIME
    assert len(trained(config.folder())) == 4


def test_hours_are_a_budget_over_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(chronicle.time, "monotonic", lambda: clock[0])

    def an_hour_an_epoch(config: Mapping[str, Any], epoch: int) -> float:
        clock[0] += 3600
        return curve(config, epoch)

    config = search_config(tmp_path, scheduler=NONE, budget=BudgetConfig(trials=None, hours=8))
    session = Session(config, curve=an_hour_an_epoch)
    assert session.run() == Outcome.OUT_OF_TIME
    assert len(trained(config.folder())) == 8
    assert session.chronicle.used.seconds == 8 * 3600
    clock[0] = -1e6  # the machine was switched off
    again = Session(replace(config, budget=BudgetConfig(trials=None, hours=10)), curve=an_hour_an_epoch)
    assert again.run() == Outcome.OUT_OF_TIME
    assert len(trained(config.folder())) == 10


def test_who_waits_is_promoted_before_anybody_new_begins(tmp_path: Path) -> None:
    config = search_config(tmp_path, scheduler=PROMOTION, budget=BudgetConfig(trials=6))
    Session(config).run()
    happened = steps(events(config.folder()))
    paused = [step[1] for step in happened if step[0] == "end" and step[2] == "paused"]
    starts = [step[1] for step in happened if step[0] == "start"]
    promoted = [one for one in dict.fromkeys(starts) if starts.count(one) > 1]
    assert promoted
    assert set(promoted) <= set(paused)
    end = stories(config.folder())
    assert "completed" in {end[int(one)].state for one in promoted}
    assert end[0].state == "completed"
    assert len(set(trained(config.folder()))) == len(trained(config.folder()))  # from its checkpoint
    # a promotion comes as soon as there is room: at no time do two of four wait at the first rung of which one may go
    first = next(one for one, step in enumerate(happened) if step[0] == "start" and step[1] in happened[one - 1])
    assert starts.index(happened[first][1]) < 4


def test_trials_that_fail_and_diverge_count_and_the_search_goes_on(tmp_path: Path) -> None:
    def breaks(config: Mapping[str, Any], epoch: int) -> float:
        if epoch == 3 and config["number"] in (1, 2):
            return math.nan if config["number"] == 1 else -1.0
        return curve(config, epoch)

    config = search_config(tmp_path, scheduler=NONE, budget=BudgetConfig(trials=4))
    session = Session(config, curve=breaks)
    assert session.run(slots=2) == Outcome.FINISHED
    assert [one.state for one in stories(config.folder()).values()] == ["completed", "diverged", "failed", "completed"]
    assert [state.name for state, *_ in told(session.study)] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert told(Session(config).study) == told(session.study)


CONFIRMED: dict[str, Any] = {
    "scheduler": NONE,
    "budget": BudgetConfig(trials=3),
    "confirm": ConfirmConfig(top=1, rounds=4, worthwhile=0.01),
}


def base_is_bad(config: Mapping[str, Any], epoch: int) -> float:
    return 0.95 if config["settings"][RATE] == 0.05 else curve(config, epoch)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    """A search of three trials of which one is far better than the base."""
    config = search_config(tmp_path_factory.mktemp("confirmed"), **CONFIRMED)
    session = Session(config, curve=base_is_bad, samples=True)
    assert session.run() == Outcome.FINISHED
    assert len(told(session.study)) == 3  # Optuna hears of no repeat
    return config


def test_the_best_and_the_base_are_trained_again_until_it_is_clear(confirmed: SearchConfig) -> None:
    end = stories(confirmed.folder())
    best = min((0, 1, 2), key=lambda number: end[number].sers[-1])
    assert best != 0
    repeats = [(one.repeats, one.seed) for one in end.values() if one.repeats is not None]
    seeds = {seed for _, seed in repeats}
    assert [number for number, _ in repeats] == [0, best] * 2  # of four rounds: after two it was clear
    assert len(seeds) == len(repeats)
    assert {end[number].settings[RATE] for number in end if end[number].repeats == best} == {end[best].settings[RATE]}
    assert confirmed.train.seed not in seeds


@settings(max_examples=3, phases=[Phase.generate])
@given(share=st.floats(0.5, 1))
def test_repeats_that_were_cut_off_go_on(
    share: float, confirmed: SearchConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = search_config(tmp_path_factory.mktemp("cut"), **CONFIRMED)
    cut(confirmed.folder(), config, int(share * len(events(confirmed.folder()))), samples=True)
    Session(config, curve=base_is_bad, samples=True).run()
    assert stories(config.folder()) == stories(confirmed.folder())
    assert len(trained(config.folder())) == len(trained(confirmed.folder()))


@pytest.fixture
def unread(confirmed: SearchConfig, tmp_path: Path) -> tuple[Session, Path]:
    """That search before its first repeat, and where the samples of a trial should be: they are still at an address."""
    config = search_config(tmp_path, **CONFIRMED)
    begun = [isinstance(one, TrialStarted) and one.repeats is not None for one in events(confirmed.folder())]
    cut(confirmed.folder(), config, begun.index(True), samples=True)
    samples = next(config.folder().glob("tune/*/trial-0000/checkpoint_*6/samples.parquet"))
    samples.rename(tmp_path / samples.name)
    shutil.rmtree(config.folder() / "reports")  # which are of the end, and have them
    return Session(config, curve=base_is_bad, samples=True), samples


def test_a_store_that_fails_for_a_moment_costs_no_verdict(
    unread: tuple[Session, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session, samples), clock, tries = unread, [1000.0], []

    def settle() -> None:
        tries.append(clock[0])
        if len(tries) == 3:
            (tmp_path / samples.name).rename(samples)

    session.agenda.settle = settle
    monkeypatch.setattr(agenda.time, "monotonic", lambda: clock[0])
    while (assignment := session.agenda.next()) is None:
        assert not session.agenda.over
        clock[0] += 1.0
        assert clock[0] < 1000.0 + agenda.SECONDS_FOR_SAMPLES
    assert assignment.repeats == 0
    assert len(tries) == 3
    assert clock[0] == 1000.0 + 2 * agenda.SECONDS_BETWEEN_TRIES, "Tune asks all the time, and the store is not"


def test_samples_that_are_gone_are_not_waited_for_without_end(
    unread: tuple[Session, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (session, _), clock = unread, [1000.0]
    session.agenda.settle = lambda: None
    monkeypatch.setattr(agenda.time, "monotonic", lambda: clock[0])
    assert session.agenda.next() is None
    assert not session.agenda.over
    clock[0] += agenda.SECONDS_FOR_SAMPLES
    assert session.agenda.next() is None
    assert session.agenda.over


def test_what_a_rule_changes_about_itself_is_said(tmp_path: Path) -> None:
    """Who leads after two epochs is behind in the end, so the first rung misleads."""

    def crossing(config: Mapping[str, Any], epoch: int) -> float:
        place = config["number"] / 10
        return 0.9 - place if epoch < 4 else 0.1 + place  # each is better at the rung, and ends worse

    adapting = SchedulerConfig(name="asha", grace_epochs=3, adapt=True)
    config = search_config(tmp_path, scheduler=adapting, budget=BudgetConfig(trials=6))
    session = Session(config, curve=crossing)
    session.run()
    assert session.stream.getvalue().count("after epoch 3 trials are compared no more") == 1
    again = Session(replace(config, budget=BudgetConfig(trials=8)), curve=crossing)
    assert again.rule is not None
    assert again.rule.rungs == session.rule.rungs  # type: ignore[union-attr]  # it knows it still
    again.run()
    assert "compared no more" not in again.stream.getvalue()


def test_without_candidates_nothing_is_repeated(tmp_path: Path) -> None:
    config = search_config(tmp_path, **{**CONFIRMED, "budget": BudgetConfig(trials=1)})
    assert Session(config, samples=True).run() == Outcome.FINISHED
    assert list(stories(config.folder())) == [0]


@settings(max_examples=4, phases=[Phase.generate])
@given(count=st.integers(1, 40), name=st.sampled_from(["asha", "promotion"]))
def test_killed_with_two_at_a_time_nothing_is_lost_or_trained_twice(
    count: int, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Which of two comes first may change then, so the decisions may; what must hold holds."""
    fields = {"scheduler": SchedulerConfig(name=name, grace_epochs=2), "budget": BudgetConfig(trials=5)}
    whole = search_config(tmp_path_factory.mktemp("whole"), **fields)
    Session(whole).run(slots=2)
    config = search_config(tmp_path_factory.mktemp("cut"), **fields)
    cut(whole.folder(), config, count)
    assert Session(config).run(slots=2) == Outcome.FINISHED
    end = stories(config.folder())
    assert list(end) == list(range(5))
    assert len(set(trained(config.folder()))) == len(trained(config.folder()))
    assert {one.state for one in end.values()} <= {"completed", "pruned", "paused"}
    assert all(len(one.sers) == EPOCHS for one in end.values() if one.state == "completed")
    assert end[0].state == "completed"
    assert [one.settings for one in end.values()] == [one.settings for one in stories(whole.folder()).values()]
