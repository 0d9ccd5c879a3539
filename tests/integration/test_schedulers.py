"""Each scheduler in the real Ray Tune, through a whole small study whose trials only pretend to train.

A trial has an error that shrinks every epoch, the quicker the nearer its learning rate is to 1e-3, and that goes
along with its checkpoint. The base is bad, and in the studies where trials can be stopped it is slow too, so that it
is compared with better ones.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from datasets.errors import ConfigError
from datasets.shards import PreparedCorpus
from omr_model import checkpoint
from omr_model.config import OptimizerConfig, TrainConfig, TrainingConfig, replace_fields
from results.gather import gather
from results.journal import SessionEnded, SessionStarted, TrialEnded, TrialStarted, read
from results.provenance import collect
from results.study import CorpusRecord, StudyRecord, write_study
from search.config import (
    BudgetConfig,
    ClusterConfig,
    ConfirmConfig,
    ParameterConfig,
    PathsConfig,
    PointConfig,
    SchedulerConfig,
    SearchConfig,
    SpaceConfig,
    TrialConfig,
)
from search.console import Console
from search.engine.cluster import Cluster, local_cluster
from search.engine.trial import TrialJob
from search.engine.tuning import run_trials
from search.outcome import Outcome
from search.rules import RULES, rungs
from search.space import SearchSpace
from tests.models import SMALL, training
from tests.pretended import (
    DEPTH,
    DIES_ONCE,
    DROPOUT,
    RAISES,
    RATE,
    pretend,
    pretend_and_interrupt,
    pretend_with_slow_base,
    shrinks,
    train_and_pretend_ser,
)

EPOCHS = 6
SPACE = {
    "rate": ParameterConfig(target=RATE, low=1e-7, high=1e-1, log=True),
    "depth": ParameterConfig(target=DEPTH, kind="int", low=1, high=3),
    "dropout": ParameterConfig(target=DROPOUT, low=0.0, high=0.5),
}
BASE_RATE = 0.09
BASE = TrainingConfig(model=SMALL, optimizer=OptimizerConfig(learning_rate=BASE_RATE), train=TrainConfig(epochs=EPOCHS))


@dataclass
class TrialStory:
    """What the journal says of one trial."""

    starts: list[TrialStarted] = field(default_factory=list)
    sers: dict[int, float] = field(default_factory=dict)
    reports: list[int] = field(default_factory=list)
    state: str = "running"


@dataclass
class Story:
    """What is left of a study."""

    folder: Path
    outcome: Outcome
    said: str
    trials: dict[int, TrialStory]

    @property
    def states(self) -> dict[int, str]:
        return {number: trial.state for number, trial in sorted(self.trials.items())}

    @property
    def last_epochs(self) -> dict[int, int]:
        return {number: trial.reports[-1] for number, trial in sorted(self.trials.items()) if trial.reports}


def points(*rates: float, **more: Mapping[str, float]) -> dict[str, PointConfig]:
    """First trials: a learning rate and a depth each."""
    plain = {f"rate_{rate}": {"rate": rate, "depth": 1 + index % 3} for index, rate in enumerate(rates)}
    return {name: PointConfig(origin=name, values=dict(values)) for name, values in {**plain, **more}.items()}


def run(
    cluster: Cluster,
    studies: Path,
    scheduler: str,
    first: dict[str, PointConfig],
    trainable: Callable[[Mapping[str, Any], TrialJob], None],
    base: TrainingConfig = BASE,
    interval: int = 2,
    corpus: Path | None = None,
    cpus: int | None = None,
) -> Story:
    config = SearchConfig(
        study=scheduler,
        model=base.model,
        optimizer=base.optimizer,
        train=base.train,
        space=SpaceConfig(parameters=SPACE, points=first),
        budget=BudgetConfig(trials=1 + len(first)),
        confirm=ConfirmConfig(top=0),
        scheduler=SchedulerConfig(name=scheduler, grace_epochs=interval),
        trial=TrialConfig(retries=1, cpus=cpus),
        paths=PathsConfig(studies=str(studies)),
    )
    space = SearchSpace(config.space, config.training())
    epochs = base.train.epochs
    record = StudyRecord(
        name=scheduler,
        created="2026-01-01T00:00:00+00:00",
        provenance=collect(),
        config={},
        space=(),
        roles=space.roles,
        corpus=CorpusRecord("none", "none", "0"),
        seed=0,
        max_epochs=epochs,
    )
    write_study(config.folder(), record)
    (config.folder() / "driver").write_text(str(os.getpid()))
    stream = io.StringIO()
    with Console(1 + len(first), epochs, rungs(config.scheduler, epochs), stream=stream) as console:
        where = corpus or config.folder()
        outcome = run_trials(config, space, cluster, where, console, record.provenance, trainable=trainable)
    return Story(config.folder(), outcome, stream.getvalue(), told(config.folder() / "events.jsonl"))


def told(path: Path) -> dict[int, TrialStory]:
    events = [event for event in read(path) if not isinstance(event, (SessionStarted, SessionEnded))]
    numbers = {event.trial_id: event.number for event in events if isinstance(event, TrialStarted)}
    trials = {number: TrialStory() for number in numbers.values()}
    for event in events:
        trial = trials[numbers[event.trial_id]]
        if isinstance(event, TrialStarted):
            trial.starts.append(event)
        elif isinstance(event, TrialEnded):
            trial.state = event.state
        else:
            epoch = int(event.metrics["epoch"])
            trial.reports.append(epoch)
            trial.sers[epoch] = event.metrics["ser"]
    return trials


def optuna_trials(story: Story) -> dict[int, optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(story.folder / "optuna.journal")))
    return {trial.number: trial for trial in optuna.load_study(study_name=story.folder.name, storage=storage).trials}


@pytest.fixture(scope="module")
def cluster():  # type: ignore[no-untyped-def]
    with local_cluster(ClusterConfig(cpus=2, gpus=0, dashboard=False)) as running:
        yield running


BETTER_TO_WORSE = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


@pytest.fixture(scope="module")
def stories(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """A study of six trials for each scheduler that may stop some; the base is the worst of them."""
    studies = tmp_path_factory.mktemp("studies")
    return {
        name: run(cluster, studies, name, points(*BETTER_TO_WORSE), pretend_with_slow_base)
        for name in sorted(RULES)
        if name != "pbt"
    }


@pytest.fixture(scope="module")
def population(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A population of eight on two cores, of which one fails and one crashes once."""
    return run(cluster, tmp_path_factory.mktemp("population"), "pbt", EIGHT, pretend)


EIGHT = points(
    *(1e-3, 2e-3, 4e-3, 8e-3, 0.05),
    raises={"rate": 3e-3, "depth": 1, "dropout": RAISES},
    dies={"rate": 3e-3, "depth": 2, "dropout": DIES_ONCE},
)


class TestOfAllSchedulers:
    @pytest.fixture(params=sorted(RULES))
    def story(self, request: pytest.FixtureRequest) -> Story:
        if request.param == "pbt":
            return request.getfixturevalue("population")  # type: ignore[no-any-return]
        return request.getfixturevalue("stories")[request.param]  # type: ignore[no-any-return]

    def test_the_base_is_trained_to_the_end_as_it_is(self, story: Story) -> None:
        base = story.trials[0]
        assert {start.origin for start in base.starts} == {"base"}
        assert {start.params[RATE] for start in base.starts} == {BASE_RATE}
        assert (base.state, base.reports) == ("completed", list(range(1, EPOCHS + 1)))
        assert all(base.sers[epoch] == pytest.approx(shrinks(BASE_RATE) ** epoch) for epoch in base.reports)

    def test_the_study_is_finished_and_every_trial_has_ended(self, story: Story) -> None:
        assert story.outcome == Outcome.FINISHED
        waits = {"paused"} if story.folder.name == "promotion" else set()  # at a rung that has no room for it
        assert set(story.states.values()) <= {"completed", "pruned", "failed"} | waits
        assert list(story.states) == list(range(len(story.states)))
        told = {trial.state for trial in optuna_trials(story).values()}
        assert told <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}

    def test_the_tables_gather(self, story: Story) -> None:
        tables = gather(story.folder)
        assert tables.trials.num_rows == len(story.states)
        assert tables.epochs.num_rows == sum(len(set(trial.reports)) for trial in story.trials.values())

    def test_nothing_to_go_on_from_is_kept_of_a_trial_that_has_ended(self, story: Story) -> None:
        for number, trial in story.trials.items():
            kept = [path.name for path in story.folder.glob(f"tune/1/trial-{number:04d}-*/checkpoint_*/resume.pt")]
            assert len(kept) == (2 if trial.state == "paused" else 0)


def test_asha_stops_trials_at_its_rungs(stories: dict[str, Story]) -> None:
    story = stories["asha"]
    # One after the other they come to epoch 2, each worse than the one before.
    assert story.last_epochs == {0: 6, 1: 6, 2: 2, 3: 2, 4: 2, 5: 2}
    assert [state for number, state in story.states.items() if number > 1] == ["pruned"] * 4


def test_hyperband_compares_every_other_trial_one_rung_later(stories: dict[str, Story]) -> None:
    # Even numbers meet each other after epoch 2 and after epoch 4, odd ones after epoch 4 alone.
    assert stories["hyperband"].last_epochs == {0: 6, 1: 6, 2: 6, 3: 4, 4: 2, 5: 4}


def test_median_stops_those_behind_it_once_there_are_three_to_compare_with(stories: dict[str, Story]) -> None:
    story = stories["median"]
    assert all(story.last_epochs[number] == EPOCHS for number in (1, 2, 3))
    assert story.states[5] == "pruned"
    assert 2 <= story.last_epochs[5] < EPOCHS


def test_none_stops_nobody(stories: dict[str, Story]) -> None:
    assert set(stories["none"].states.values()) == {"completed"}
    assert set(stories["none"].last_epochs.values()) == {EPOCHS}


def exchanges(story: Story) -> list[tuple[int, int, int, TrialStarted, TrialStarted]]:
    """Who took over from whom, after which epoch, and the settings before and after."""
    found = []
    for number, trial in story.trials.items():
        for before, after in zip(trial.starts, trial.starts[1:], strict=False):
            if after.origin != before.origin:
                _, donor, _, _, epoch = after.origin.split()
                found.append((number, int(donor), int(epoch), before, after))
    return sorted(found, key=lambda one: (one[2], one[0]))


def settings_at(trial: TrialStory, epoch: int) -> dict[str, Any]:
    """The settings that a trial came to an epoch with."""
    settings = trial.starts[0].params
    for start in trial.starts:
        if start.origin.startswith("trial ") and int(start.origin.split()[-1]) < epoch:
            settings = start.params
    return settings


def test_pbt_trains_all_that_do_not_fail_to_the_end(population: Story) -> None:
    states = list(population.states.values())
    assert states == ["completed"] * 6 + ["failed", "completed"]
    finished = [trial for trial in population.trials.values() if trial.state == "completed"]
    assert all(trial.reports == list(range(1, EPOCHS + 1)) for trial in finished)


def test_pbt_gives_the_worst_what_the_best_have(population: Story) -> None:
    found = exchanges(population)
    assert {epoch for _, _, epoch, _, _ in found} <= {2, 4}
    # After epoch 2 the base is the worst of eight and is spared; trial 5 is the next.
    number, donor, epoch, _, after = found[0]
    assert (number, epoch) == (5, 2)
    assert donor in (1, 2)
    for number, donor, epoch, before, after in found:
        taken, given = population.trials[number], population.trials[donor]
        assert after.params[DEPTH] == settings_at(given, epoch)[DEPTH]  # or `pretend` had failed
        assert after.params != before.params
        error = given.sers[epoch] * shrinks(after.params[RATE])  # type: ignore[arg-type]
        assert taken.sers[epoch + 1] == pytest.approx(error)
        assert f"trial {number:>3}  goes on from trial {donor}'s checkpoint: " in population.said


def test_pbt_keeps_changed_values_in_their_range(population: Story) -> None:
    for trial in population.trials.values():
        for start in trial.starts:
            assert 1e-7 <= start.params[RATE] <= 1e-1  # type: ignore[operator]
            assert start.params[DEPTH] in (1, 2, 3)
            assert 0 <= start.params[DROPOUT] <= 0.5  # type: ignore[operator]


def test_pbt_tells_optuna_nothing_of_settings_that_it_did_not_suggest(population: Story) -> None:
    changed = {number: epoch for number, _, epoch, _, _ in reversed(exchanges(population))}
    assert changed
    for number, trial in optuna_trials(population).items():
        if population.states[number] == "failed":
            assert trial.state == TrialState.FAIL
        elif number in changed:
            assert trial.state == TrialState.PRUNED
            assert max(trial.intermediate_values) == changed[number]
        else:
            assert trial.state == TrialState.COMPLETE


def test_pbt_wants_to_know_how_many_it_has() -> None:
    with pytest.raises(ConfigError, match="scheduler=pbt: its trials are one population; say how many"):
        SearchConfig(scheduler=SchedulerConfig(name="pbt"), budget=BudgetConfig(trials=None, hours=1.0))


def test_pbt_starts_a_trial_once_on_the_terminal(population: Story) -> None:
    for number in population.trials:
        assert population.said.count(f"trial {number:>3}  starts") == 1


def test_pbt_that_is_interrupted_ends_those_that_wait_as_they_are(cluster: Cluster, tmp_path: Path) -> None:
    story = run(cluster, tmp_path, "pbt", points(1e-3, 2e-3, 4e-3, 8e-3, 16e-3), pretend_and_interrupt)
    assert story.outcome == Outcome.INTERRUPTED
    assert set(story.states.values()) == {"paused"}
    assert {0, 1} <= set(story.states) <= {0, 1, 2, 3, 4, 5}
    assert max(story.last_epochs.values()) <= 2  # nobody went on over the exchange
    assert TrialState.FAIL not in {trial.state for trial in optuna_trials(story).values()}
    assert TrialState.RUNNING not in {trial.state for trial in optuna_trials(story).values()}


def test_pbt_goes_on_with_the_real_trainer(cluster: Cluster, corpus: PreparedCorpus, tmp_path: Path) -> None:
    base = training(epochs=2, learning_rate=3e-3)
    worse = points(1e-7)
    worse["rate_1e-07"].values["depth"] = 2
    story = run(
        cluster, tmp_path, "pbt", worse, train_and_pretend_ser, base=base, interval=1, corpus=corpus.path, cpus=2
    )  # one after the other, in one process that imports torch
    assert set(story.states.values()) == {"completed"}
    [(number, donor, epoch, _, after)] = exchanges(story)
    assert (number, donor, epoch) == (1, 0, 1)
    assert after.params[DEPTH] == 1
    assert after.params[RATE] not in (1e-7, 3e-3)
    description = checkpoint.describe(max(story.folder.glob("tune/1/trial-0001-*/checkpoint_0*")))
    assert description.epoch == 2
    assert dataclasses.replace(description.config, train=base.train) == replace_fields(base, after.params)
