"""What a scheduler hands on to its rule, and how a population exchanges; without a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from omr_model.config import OptimizerConfig, TrainConfig
from search.config import ParameterConfig, SchedulerConfig, SearchConfig, SpaceConfig
from search.engine import population
from search.engine.schedulers import build_scheduler
from search.rules import build_rule
from search.space import SearchSpace
from tests.models import SMALL

EPOCHS = 9
RATE = "optimizer.learning_rate"


def built(name: str, early: bool = False, seed: int = 0, **fields: int) -> Any:
    config = SearchConfig(
        seed=seed,
        model=SMALL,
        optimizer=OptimizerConfig(learning_rate=1e-3),
        train=TrainConfig(epochs=EPOCHS),
        space=SpaceConfig(parameters={"rate": ParameterConfig(target=RATE, low=1e-5, high=1e-1, log=True)}),
        scheduler=SchedulerConfig(name=name, **fields),
    )
    stop: Any = SimpleNamespace(early=early)
    rule = build_rule(config.scheduler, EPOCHS)
    return build_scheduler(config, SearchSpace(config.space, config.training()), stop, rule)


@dataclass(eq=False)
class FakeTrial:
    """What a scheduler asks of Tune's."""

    number: int
    ser: float
    origin: str = ""
    status: str = Trial.RUNNING
    settings: dict[str, Any] = field(default_factory=lambda: {RATE: 1e-3})
    repeats: int | None = None

    def __post_init__(self) -> None:
        self.trial_id = f"id{self.number}"
        self.config: dict[str, Any] = {
            "number": self.number,
            "settings": self.settings,
            "origin": self.origin,
            "repeats": self.repeats,
        }

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


class FakeTune:
    """Tune's controller, with a population that is complete or not."""

    def __init__(self, trials: list[FakeTrial], complete: bool = True) -> None:
        self.trials = trials
        self.search_alg = SimpleNamespace(is_finished=lambda: complete)
        self.stopped: list[int] = []

    def get_trials(self) -> list[FakeTrial]:
        return self.trials

    def stop_trial(self, trial: FakeTrial) -> None:
        trial.status = Trial.TERMINATED
        self.stopped.append(trial.number)


@pytest.fixture
def adopted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Who took over whose checkpoint after which epoch."""
    found: list[tuple[int, int, int]] = []

    def adopt(trial: FakeTrial, donor: FakeTrial, epoch: int) -> None:
        found.append((trial.number, donor.number, epoch))

    monkeypatch.setattr(population, "_adopt_checkpoint", adopt)
    return found


def report(scheduler: TrialScheduler, trial: Any, epoch: int, **more: Any) -> str:
    """A trial reports, and Tune does what the scheduler says."""
    action = scheduler.on_trial_result(None, trial, {"epoch": epoch, "ser": trial.ser, **more})
    if action == TrialScheduler.PAUSE:
        trial.status = Trial.PAUSED
    return action


def test_a_trial_that_a_rule_stops_or_has_wait_leaves_tune() -> None:
    asha, promotion = built("asha"), built("promotion")
    for scheduler in (asha, promotion):
        assert report(scheduler, FakeTrial(0, 0.5), 3) == "CONTINUE"
    assert [report(asha, FakeTrial(*trial), 4) for trial in ((0, 0.5), (1, 0.6))] == ["CONTINUE", "STOP"]
    assert [report(promotion, FakeTrial(*trial), 4) for trial in ((0, 0.5), (1, 0.6))] == ["STOP", "STOP"]
    assert promotion.rule.waiting == {0, 1}


def test_a_rule_hears_nothing_of_repeats_and_of_what_is_no_epoch() -> None:
    scheduler = built("asha")
    assert report(scheduler, FakeTrial(0, 0.5), 4) == "CONTINUE"
    assert report(scheduler, FakeTrial(1, 0.6, repeats=0), 4) == "CONTINUE"
    assert report(scheduler, FakeTrial(2, 10.0), 4, diverged="the loss is no longer finite") == "CONTINUE"
    assert report(scheduler, FakeTrial(3, 10.0), 4, failed="out of memory") == "CONTINUE"
    assert report(scheduler, FakeTrial(4, 0.5), 4) == "CONTINUE"  # as good as the first, and with it alone
    assert report(scheduler, FakeTrial(5, 0.6), 4) == "STOP"


def test_a_population_waits_for_all_that_live(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(number, ser) for number, ser in enumerate((0.1, 0.2, 0.3, 0.4))]
    scheduler, tune = built("pbt"), FakeTune(trials)
    assert [report(scheduler, trials[0], epoch) for epoch in (1, 2, 3, 4)] == ["CONTINUE"] * 3 + ["PAUSE"]
    report(scheduler, trials[1], 4)
    report(scheduler, trials[3], 4)
    assert scheduler.choose_trial_to_run(tune) is None  # trial 2 is on its way
    assert adopted == []
    trials[2].status = Trial.ERROR  # it will never come, and nobody waits for it any more
    assert scheduler.choose_trial_to_run(tune) is trials[0]
    assert adopted == [(3, 0, 4)]
    assert trials[3].config["origin"] == "trial 0 after epoch 4"
    assert (trials[3].config["number"], trials[3].config["adopted"]) == (3, 0)


def test_a_population_waits_until_it_is_complete(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(0, 0.1), FakeTrial(1, 0.9)]
    scheduler = built("pbt")
    for trial in trials:
        report(scheduler, trial, 4)
    assert scheduler.choose_trial_to_run(FakeTune(trials, complete=False)) is None
    assert adopted == []


def test_a_checkpoint_that_is_still_on_its_way_is_waited_for(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(0, 0.1), FakeTrial(1, 0.9)]
    scheduler = built("pbt")
    for trial in trials:
        report(scheduler, trial, 4)
    trials[0].status = Trial.RUNNING  # told to pause, and saving
    assert scheduler.choose_trial_to_run(FakeTune(trials)) is None
    assert adopted == []


@pytest.mark.parametrize("sers", [(0.9, 0.1), (0.5, 0.5)], ids=["the base is worst", "none is better"])
def test_who_takes_from_nobody(adopted: list[tuple[int, int, int]], sers: tuple[float, float]) -> None:
    trials = [FakeTrial(0, sers[0], origin="base"), FakeTrial(1, sers[1])]
    scheduler, tune = built("pbt"), FakeTune(trials)
    for trial in trials:
        report(scheduler, trial, 4)
    assert scheduler.choose_trial_to_run(tune) is trials[0]
    assert adopted == []


def test_the_base_gives_like_any_other(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(0, 0.1, origin="base"), FakeTrial(1, 0.9)]
    scheduler = built("pbt")
    for trial in trials:
        report(scheduler, trial, 4)
    scheduler.choose_trial_to_run(FakeTune(trials))
    assert adopted == [(1, 0, 4)]
    assert trials[0].config == {"number": 0, "settings": {RATE: 1e-3}, "origin": "base", "repeats": None}


def test_the_best_quarter_gives_and_the_worst_takes(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(number, 0.1 * number) for number in range(8)]
    scheduler = built("pbt")
    for trial in reversed(trials):  # in whichever order they come
        report(scheduler, trial, 4)
    scheduler.choose_trial_to_run(FakeTune(trials))
    assert {number for number, _, _ in adopted} == {6, 7}
    assert {donor for _, donor, _ in adopted} <= {0, 1}


@pytest.mark.usefixtures("adopted")
def test_what_is_exchanged_does_not_depend_on_who_was_quicker() -> None:
    def exchanged(order: list[int], seed: int = 0) -> list[dict[str, Any]]:
        trials = [FakeTrial(number, 0.1 * number, settings={RATE: 1e-3 * (1 + number)}) for number in range(8)]
        scheduler, tune = built("pbt", seed=seed), FakeTune([trials[number] for number in order])
        for epoch in (4, 8):
            for number in order:
                report(scheduler, trials[number], epoch)
            scheduler.choose_trial_to_run(tune)
        return [trial.config for trial in trials]

    first = exchanged([0, 1, 2, 3, 4, 5, 6, 7])
    assert first == exchanged([7, 0, 6, 1, 5, 2, 4, 3])
    assert first != exchanged([0, 1, 2, 3, 4, 5, 6, 7], seed=1)


def test_trials_that_stand_at_different_epochs_are_not_compared(adopted: list[tuple[int, int, int]]) -> None:
    trials = [FakeTrial(0, 0.1), FakeTrial(1, 0.9)]
    scheduler, tune = built("pbt"), FakeTune(trials)
    report(scheduler, trials[0], 8)
    report(scheduler, trials[1], 4)
    assert scheduler.choose_trial_to_run(tune) is trials[1]
    assert adopted == []
    report(scheduler, trials[1], 8)
    scheduler.choose_trial_to_run(tune)
    assert adopted == [(1, 0, 8)]


def test_a_trial_that_has_diverged_or_is_done_does_not_wait() -> None:
    scheduler = built("pbt", grace_epochs=3)
    assert report(scheduler, FakeTrial(0, 10.0), 3, diverged="the loss is no longer finite") == "CONTINUE"
    assert report(scheduler, FakeTrial(1, 0.1), EPOCHS) == "CONTINUE"


@pytest.mark.parametrize("end", ["failed", "disk_full", "cut_off", "out_of_memory"])
def test_a_trial_that_ends_without_an_epoch_keeps_no_population_waiting(end: str) -> None:
    scheduler = built("pbt")
    assert report(scheduler, FakeTrial(0, 10.0), 0, **{end: "it has melted"}) == "CONTINUE"
    assert scheduler.waiting == {}


def test_a_search_that_ends_ends_those_that_do_not_run() -> None:
    statuses = (Trial.RUNNING, Trial.PAUSED, Trial.PENDING, Trial.TERMINATED)
    tune = FakeTune([FakeTrial(number, 0.5, status=status) for number, status in enumerate(statuses)])
    assert built("pbt", early=True).choose_trial_to_run(tune) is None
    assert tune.stopped == [1, 2]
