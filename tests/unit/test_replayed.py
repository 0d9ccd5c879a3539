"""The stand-in for Tune's processes, against orders and decisions that were worked out by hand; and the counting."""

# ruff: noqa: ARG002 - signatures that Tune dictates

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from datasets.errors import ConfigError
from tests.benchmarks.contestants import (
    CONTESTANTS,
    Landscape,
    Report,
    Task,
    lowest_last,
    lowest_of_furthest,
    quiet,
)
from tests.benchmarks.record_curves import BASE, settings
from tests.benchmarks.replayed import Epoch, Replayed, replay
from tests.benchmarks.search_quality import needed


class Heard(tune.Callback):
    """What Tune hears, with the simulated time."""

    def __init__(self) -> None:
        self.epochs: list[tuple[float, str, int]] = []
        self.ended: list[str] = []

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self.epochs.append((result["timestamp"], trial.config["name"], result["epoch"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended.append(trial.config["name"])


def run(
    table: Mapping[str, tuple[float, list[float]]], scheduler: TrialScheduler | None = None, **options: Any
) -> Heard:
    """Trials in the order of the table: seconds of an epoch, and SER by epoch."""

    def curves(config: Mapping[str, Any]) -> list[Epoch]:
        seconds, sers = table[config["name"]]
        return [Epoch(seconds, {"epoch": epoch, "ser": ser}) for epoch, ser in enumerate(sers, start=1)]

    quiet()
    heard = Heard()
    with replay(curves, slots=2) as folder:
        tune.Tuner(
            Replayed,
            param_space={"name": tune.grid_search(list(table))},
            tune_config=tune.TuneConfig(metric="ser", mode="min", scheduler=scheduler, **options),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[heard]),
        ).fit()
    return heard


@pytest.mark.parametrize("reuse_actors", [False, True])
def test_trials_overlap_and_overtake_each_other_as_their_epochs_last(reuse_actors: bool) -> None:
    heard = run({"a": (5, [1, 1, 1]), "b": (2, [1, 1]), "c": (2, [1, 1, 1])}, reuse_actors=reuse_actors)
    assert heard.epochs == [
        *((2, "b", 1), (4, "b", 2), (5, "a", 1)),  # b ends after 4 seconds, and c begins
        *((6, "c", 1), (8, "c", 2), (10, "a", 2), (10, "c", 3), (15, "a", 3)),
    ]
    assert heard.ended == ["b", "c", "a"]
    assert not ray.is_initialized()


def test_tunes_own_asha_stops_whom_it_should() -> None:
    """Rungs after epoch 1 and 2; a trial goes on if it is not behind the median of those that came there before."""
    table = {
        "first": (10, [0.5, 0.4, 0.3, 0.2]),  # nobody was there before
        "worse": (11, [0.6, 0.1, 0.1, 0.1]),  # behind 0.5
        "better": (10, [0.4, 0.5, 0.1, 0.1]),  # before the median of 0.5 and 0.6; then behind 0.4
        "between": (10, [0.45, 0.3, 0.2, 0.1]),  # before 0.5, the median of 0.5, 0.6, 0.4; then before 0.4 and 0.5
    }
    scheduler = ASHAScheduler(time_attr="epoch", max_t=4, grace_period=1, reduction_factor=2)
    heard = run(table, scheduler)
    assert heard.ended == ["worse", "better", "first", "between"]
    reached = {name: max(epoch for _, heard_of, epoch in heard.epochs if heard_of == name) for name in table}
    assert reached == {"first": 4, "worse": 1, "better": 2, "between": 4}


class PausesOnce(FIFOScheduler):
    """Every trial waits after its first epoch, until none is left to be begun."""

    paused: frozenset[str] = frozenset()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        before, self.paused = self.paused, self.paused | {trial.trial_id}
        return TrialScheduler.CONTINUE if trial.trial_id in before else TrialScheduler.PAUSE

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in tune_controller.get_trials():
                if trial.status == status:
                    return trial
        return None


def test_a_paused_trial_goes_on_after_the_epoch_of_its_checkpoint() -> None:
    heard = run({"a": (2, [0.3, 0.2]), "b": (3, [0.3, 0.2]), "c": (2, [0.3, 0.2])}, PausesOnce())
    assert [(name, epoch) for _, name, epoch in heard.epochs] == [
        *(("a", 1), ("b", 1), ("c", 1)),
        *(("a", 2), ("b", 2), ("c", 2)),
    ]


class NeverGoesOn(PausesOnce):
    """It does not choose those that wait."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return None


def test_a_search_that_waits_for_ever_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        run({"a": (2, [0.3, 0.2])}, NeverGoesOn())


def recorded(path: Path) -> Path:
    """A small table of the recorder's form: the knobs' places add to SER, and every seed of the base is off by some."""
    rows = [
        {**setting, "seed": seed, "epoch": epoch, "ser": 0.5 - 0.05 * epoch + 0.02 * number + off, "seconds": 1.0 + off}
        for number, setting in enumerate(settings())
        for seed, off in ((0, 0.0), (1, 0.01), (2, -0.01))[: 3 if setting == BASE else 1]
        for epoch in (1, 2, 3)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_the_landscape_is_the_recorded_curves_with_deviations_of_the_bases_seeds(tmp_path: Path) -> None:
    landscape = Landscape.read(recorded(tmp_path / "curves.parquet"))
    assert landscape.epochs == 3
    assert landscape.curves[0, 0, 0, 0] == pytest.approx([0.45, 0.40, 0.35])
    assert [place for place in landscape.curves if landscape.near(place)] == [(0, 0, 0, 0)]
    assert {round(deviation[0], 6) for deviation in landscape.deviations} == {-0.01, 0.0, 0.01}
    trainings = [landscape.training((0, 0, 0, 1), seed) for seed in range(20)]
    assert landscape.training((0, 0, 0, 1), 7) == trainings[7]
    assert {round(training[-1].report["ser"], 6) for training in trainings} == {0.36, 0.37, 0.38}


def test_a_landscape_with_holes_is_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path / "curves.parquet")
    table = pd.read_parquet(path)
    table[table["rate"] < 2e-3].to_parquet(path)
    with pytest.raises(ConfigError, match="16 settings of the grid are missing"):
        Landscape.read(path)


GOOD, BAD = (0,), (1,)
TINY = Landscape({GOOD: [0.5, 0.2], BAD: [0.4, 0.3]}, {}, [])


def test_plain_tune_answers_with_the_lowest_ser_and_we_with_the_lowest_of_those_trained_furthest() -> None:
    reports = [Report(0, GOOD, 1, 0.5, 1), Report(0, GOOD, 2, 0.2, 1), Report(1, BAD, 1, 0.1, 2)]
    assert lowest_last(reports) == BAD
    assert lowest_of_furthest(reports) == GOOD
    overtaken = [*reports, Report(1, BAD, 2, 0.3, 2)]
    assert lowest_last(overtaken) == lowest_of_furthest(overtaken) == GOOD


def test_a_search_needs_what_it_took_until_its_answer_stays_near() -> None:
    lost = [Report(0, GOOD, 1, 0.5, 1), Report(1, BAD, 1, 0.4, 2)]
    found = [*lost, Report(0, GOOD, 2, 0.2, 2), Report(1, BAD, 2, 0.3, 2)]
    assert needed(found, lowest_last, TINY) == (2, 3)  # near at first, lost, and found again
    assert needed(lost, lowest_last, TINY) == (math.inf, math.inf)
    assert needed(lost[:1], lowest_last, TINY) == (1, 1)


@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_contestant_ends_after_its_trials_or_epochs_and_does_the_same_every_time(name: str, tmp_path: Path) -> None:
    quiet()
    landscape = Landscape.read(recorded(tmp_path / "curves.parquet"))
    task = Task(landscape=landscape, seed=3, trials=6, epochs=None, slots=2, grace=1, factor=2)
    search = CONTESTANTS[name].search
    reports = search(task)
    assert {report.trial for report in reports} == set(range(6))
    assert search(task) == reports
    assert len(search(dataclasses.replace(task, trials=None, epochs=10))) in (
        10,
        11,
    )  # what runs beside the last one ends its epoch, too
    of_trials = [[report.epoch for report in reports if report.trial == trial] for trial in range(6)]
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in of_trials)  # none lost, none twice
    assert max(map(len, of_trials)) == 3
    shortest = min(map(len, of_trials))
    assert shortest == 3 if "end" in name or "none" in name else shortest < 3


def test_a_trial_that_waits_goes_on_from_its_checkpoint_once_others_are_worse(tmp_path: Path) -> None:
    quiet()
    landscape = Landscape.read(recorded(tmp_path / "curves.parquet"))
    task = Task(landscape=landscape, seed=4, trials=8, epochs=None, slots=2, grace=1, factor=2)
    reports = CONTESTANTS["ours: promotion"].search(task)
    begun = [[report.begun for report in reports if report.trial == trial] for trial in range(8)]
    assert begun[0] == [2, 3, 4]  # the base never waits
    assert max(later - before for counts in begun for before, later in itertools.pairwise(counts)) >= 3
