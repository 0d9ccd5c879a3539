"""A plan's arithmetic on cases done by hand, what is measured, and what is said where measuring fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import pytest

from datasets.errors import ConfigError, CorpusError, OmrError
from datasets.manifest import Leakage, Manifest, Settings, ShardRecord, SplitCounts
from datasets.shards import PreparedCorpus
from omr_model.trainer import EpochRecord, Trainer
from search import measure as measuring
from search.compose import compose
from search.config import ClusterConfig, SchedulerConfig, SearchConfig, TrialConfig
from search.corpus import whole_of
from search.cost import Measurement, Schedule, cost, trials_within
from search.engine.trial import TrialJob, learn
from search.measure import Job, batches_for, gpu_of, measure, scored_for
from search.plan import _seconds, _trials, plan, schedule_of, settings_to_measure
from search.plan_text import between, duration, durations, limits, search_text, size
from search.resources import Machine, concurrent_trials, slots_of, trial_resources
from search.rungs import Epochs, average_epochs, halving_rungs
from search.space import SearchSpace
from tests.models import SMALL, training

ROOT = Path(__file__).resolve().parents[2]


def scheduler(name: str, grace: int = 4, factor: int = 2) -> SchedulerConfig:
    return SchedulerConfig(name=name, grace_epochs=grace, reduction_factor=factor)


def measurement(**changed: Any) -> Measurement:
    """Epochs of 24 + 2 + 1 = 27 seconds, after 3 seconds of a trial's start and 5 of a process's."""
    one = Measurement(
        label="base",
        staves_per_epoch=2400,
        validation_staves=300,
        staves_per_second=100.0,
        scored_per_second=150.0,
        start_seconds=3.0,
        process_seconds=5.0,
        checkpoint_seconds=1.0,
        memory_bytes=1_000,
        memory_limit_bytes=10_000,
        kept_bytes=10,
        resume_bytes=20,
    )
    return replace(one, **changed)


def schedule(epochs: Epochs | None = None, **changed: Any) -> Schedule:
    """Four trials of ten epochs, two at a time, none of them stopped."""
    four = Schedule(trials=4, epochs=epochs or Epochs(10, 10, 10), starts=1, abreast=2, gpus=0.0, hours=None)
    return replace(four, **changed)


# how long trials are trained


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        (scheduler("none"), 9, 9),
        (scheduler("pbt"), 9, 9),
        # rungs 4 and 8: 4 epochs, half go on for 4 more, a quarter for 1 more; and the base to the end
        (scheduler("asha"), (9 + 7 * (4 + 4 / 2 + 1 / 4)) / 8, (9 + 7 * (4 + 4 / 2 + 1 / 4)) / 8),
        (scheduler("promotion"), (9 + 7 * (4 + 4 / 2 + 1 / 4)) / 8, (9 + 7 * (4 + 4 / 2 + 1 / 4)) / 8),
        (scheduler("asha", grace=1, factor=3), (9 + 7 * (1 + 2 / 3 + 6 / 9)) / 8, (9 + 7 * (1 + 2 / 3 + 6 / 9)) / 8),
        # the second bracket begins at rung 8
        (scheduler("hyperband"), (9 + 7 * (6.25 + 8.5) / 2) / 8, (9 + 7 * (6.25 + 8.5) / 2) / 8),
        (scheduler("median"), (9 + 7 * 4) / 8, 9),
        (scheduler("asha", grace=9), 9, 9),
        (scheduler("median", grace=20), 9, 9),
    ],
)
def test_epochs_of_a_trial_on_the_average(config: SchedulerConfig, low: float, high: float) -> None:
    assert average_epochs(config, 9, trials=8) == Epochs(pytest.approx(low), pytest.approx(high), 9)


def test_the_base_alone_is_trained_to_the_end() -> None:
    assert average_epochs(scheduler("asha"), 9, trials=1) == Epochs(9, 9, 9)


def test_rungs_end_before_the_last_epoch() -> None:
    assert halving_rungs(scheduler("asha"), 9) == [4, 8]
    assert halving_rungs(scheduler("asha"), 8) == [4]


# what a machine has room for


@pytest.mark.parametrize(("device", "machine", "gpus"), [("cpu", Machine(16, 2), 0), ("cuda", Machine(16, 2), 1)])
def test_the_device_that_is_asked_for_is_the_one_that_trials_get(device: str, machine: Machine, gpus: float) -> None:
    config = compose(["model=tiny", f"train.device={device}"])
    assert trial_resources(config, machine)[1] == gpus


@pytest.mark.parametrize(
    ("device", "machine", "message"),
    [
        ("cuda", Machine(2, 0), "train.device=cuda: there is no CUDA GPU for trials"),
        ("cuda:1", Machine(16, 2), "train.device=cuda:1: Ray gives trials their GPUs"),
    ],
)
def test_a_device_that_trials_would_not_get_is_refused(device: str, machine: Machine, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trial_resources(compose(["model=tiny", f"train.device={device}"]), machine)


def resources(machine: Machine, **trial: Any) -> tuple[int, float, int]:
    cpus, gpus = trial_resources(SearchConfig(trial=TrialConfig(**trial)), machine)
    return cpus, gpus, concurrent_trials(machine, cpus, gpus)


@pytest.mark.parametrize(
    ("machine", "trial", "expected"),
    [
        (Machine(2, 0), {}, (1, 0, 2)),
        (Machine(8, 0), {"cpus": 3}, (3, 0, 2)),
        (Machine(16, 2), {}, (8, 1, 2)),
        (Machine(16, 2), {"gpus": 0.5}, (4, 0.5, 4)),
        (
            Machine(16, 2),
            {"gpus": 0.4, "cpus": 1},
            (1, 0.4, 4),
        ),  # two on each: the rest of both is no place for a fifth
        (Machine(12, 1), {"gpus": 1 / 3}, (4, 1 / 3, 3)),
        (Machine(16, 4), {"gpus": 2}, (8, 2, 2)),
        (Machine(16, 2), {"gpus": 0}, (1, 0, 16)),
        (Machine(3, 2), {"cpus": 2}, (2, 1, 1)),
    ],
)
def test_trials_at_a_time(machine: Machine, trial: dict[str, Any], expected: tuple[int, float, int]) -> None:
    assert resources(machine, **trial) == expected


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"gpus": 3}, "trial.gpus=3: there are 2 GPUs"),
        ({"gpus": 1.5}, "trial.gpus=1.5: it is a part of one GPU, or a whole number"),
        ({"cpus": 17}, "trial.cpus=17: there are 16 cores"),
    ],
)
def test_what_no_machine_can_place_is_refused(trial: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resources(Machine(16, 2), **trial)


def test_a_configuration_says_what_there_is_and_no_more_trials_run_than_there_are() -> None:
    config = replace(compose(["model=tiny", "budget.trials=3"]), cluster=ClusterConfig(cpus=8, gpus=0))
    slots = slots_of(config, Machine(2, 0))
    assert (slots.allowed, slots.abreast, slots.beside) == (Machine(8, 0), 3, 3)
    assert slots_of(compose(["model=tiny", "budget.trials=9"]), Machine(6, 0)).beside == 4


@pytest.mark.parametrize(
    ("gpus", "visible", "expected"),
    [
        (0.5, ["0", "1"], ["0", "0", "1", "1"]),
        (1, ["2", "3"], ["2", "3"]),
        (2, ["0", "1", "2", "3"], ["0,1", "2,3"]),
        (0, ["0"], [None, None]),
    ],
)
def test_measurements_share_gpus_as_trials_will(gpus: float, visible: list[str], expected: list[str | None]) -> None:
    assert [gpu_of(slot, gpus, visible) for slot in range(len(expected))] == expected


# what a search takes


def test_a_search_that_stops_nobody() -> None:
    found = cost([measurement()], schedule())
    assert found.trial_seconds.likely == 3 + 10 * 27
    assert found.seconds.low == found.seconds.likely == found.seconds.high == found.most_seconds == 5 + 2 * 273
    assert (found.gpu_seconds, found.most_gpu_seconds) == (0, 0)


@pytest.mark.parametrize(("abreast", "rounds"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_more_trials_at_a_time_take_fewer_rounds(abreast: int, rounds: int) -> None:
    assert cost([measurement()], schedule(abreast=abreast)).seconds.likely == 5 + rounds * 273


def test_stopping_early_saves_time_but_not_that_of_the_base() -> None:
    stopped = Epochs(5, 5, 10)
    found = cost([measurement()], schedule(stopped))
    assert found.seconds.likely == 5 + 4 * (3 + 5 * 27) / 2
    assert found.most_seconds == 5 + 2 * 273
    assert cost([measurement()], schedule(stopped, abreast=4)).seconds.likely == 5 + 273


def test_gpu_hours_count_the_gpus_that_trials_hold() -> None:
    slots = slots_of(compose(["model=tiny", "trial.gpus=0.5"]), Machine(16, 2))
    found = cost([measurement()], schedule(abreast=slots.abreast, gpus=slots.gpus))
    assert found.gpu_seconds == 2 * found.seconds.likely == 2 * (5 + 273)
    assert cost([measurement()], schedule(trials=1, abreast=2, gpus=1)).gpu_seconds == 5 + 273


def test_a_plan_and_a_budget_count_the_same_gpu_hours(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of trials that share GPUs each counts its share; one that has gone on alone counts all of its own."""
    slots = slots_of(compose(["model=tiny", "trial.gpus=0.5"]), Machine(16, 2))
    job = TrialJob(training(), corpus.path, 1, tmp_path, share=slots.gpus)
    fit = Trainer.fit

    def on_a_gpu(trainer: Trainer, tell: Any) -> list[EpochRecord]:
        return fit(trainer, lambda record: tell(replace(record, gpu_seconds=27.0)))

    def counted(**given: Any) -> float:
        seconds: list[float] = []
        config = {"settings": {}, "seed": 1, **given}
        learn(config, job, [], lambda result, _: seconds.append(result["metrics"]["gpu_seconds"]))
        return sum(seconds)

    monkeypatch.setattr(Trainer, "fit", on_a_gpu)
    epochs = training().train.epochs
    planned = cost(
        [measurement(start_seconds=0.0, process_seconds=0.0)],
        schedule(Epochs(epochs, epochs, epochs), trials=slots.abreast, abreast=slots.abreast, gpus=slots.gpus),
    )
    assert slots.abreast * counted() == planned.gpu_seconds == slots.abreast * 27 * epochs / 2
    assert counted(alone=True) == 27 * epochs


def test_a_trial_compiles_on_its_own_cores(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of them starts a worker for every core of the machine."""
    name, seen = "TORCHINDUCTOR_COMPILE_THREADS", []
    monkeypatch.setattr(Trainer, "fit", lambda *_: seen.append(os.environ[name]))
    job, config = TrialJob(training(), corpus.path, 1, tmp_path, cores=3), {"settings": {}, "seed": 1}
    for said in ("", "5"):
        monkeypatch.setenv(name, said)
        if not said:
            monkeypatch.delenv(name)
        learn(config, job, [], lambda *_: None)
    assert seen == ["3", "5"]


def test_a_search_is_ended_by_its_hours() -> None:
    found = cost([measurement()], schedule(hours=0.1, gpus=1))
    assert (found.seconds.likely, found.most_seconds, found.gpu_seconds) == (360, 360, 2 * 360)
    assert found.unlimited_seconds == 5 + 2 * 273
    assert cost([measurement()], schedule(hours=1)).seconds.likely == 5 + 2 * 273


def test_cheap_and_dear_settings_give_a_range() -> None:
    dear = measurement(staves_per_second=50.0, start_seconds=13.0, process_seconds=7.0)  # epochs of 51 seconds
    found = cost([measurement(), dear], schedule())
    assert found.seconds.low == 7 + 2 * 273
    assert found.seconds.high == found.most_seconds == 7 + 2 * (13 + 510)
    assert found.seconds.likely == 7 + (273 + 523)
    assert (found.trial_seconds.low, found.trial_seconds.high) == (273, 523)


def test_trials_that_take_turns_start_again_and_all_of_them_can_go_on() -> None:
    found = cost([measurement()], schedule(starts=3))
    assert found.trial_seconds.likely == 3 * 3 + 270
    assert found.disk_bytes == 5 * 10 + 4 * 20


def test_repeats_come_round_after_round_in_the_most_alone() -> None:
    repeated = schedule(rounds=4, again=3)
    found, without = cost([measurement()], repeated), cost([measurement()], schedule())
    assert repeated.repeats == 12
    assert found.seconds == without.seconds
    assert found.most_seconds == without.most_seconds + 4 * 2 * 273
    assert found.disk_bytes == without.disk_bytes + 12 * 10


@pytest.mark.parametrize(
    ("words", "repeats"),
    [
        (["budget.trials=8"], 8),  # four rounds of the best and the base
        (["budget.trials=8", "confirm.top=3", "confirm.rounds=2"], 8),
        (["budget.trials=2", "confirm.top=3", "confirm.rounds=2"], 4),
        (["budget.trials=1"], 0),
        (["budget.trials=8", "confirm.top=0"], 0),
        (["budget.trials=8", "scheduler=pbt"], 0),
    ],
)
def test_how_many_trainings_with_other_seeds_there_may_be(words: list[str], repeats: int) -> None:
    config = compose(["model=tiny", "space=dropout", *words])
    space = SearchSpace(config.space, config.training())
    assert schedule_of(config, space, slots_of(config, Machine(2, 0))).repeats == repeats


def test_of_trials_as_many_are_planned_as_end_in_time() -> None:
    """Two at a time, each in 3 + 10 * 27 = 273 seconds, after 5 of a process's."""
    dear = measurement(staves_per_second=50.0)  # epochs of 51 seconds, so 513 a trial
    within = trials_within(3600, [measurement(), dear], lambda trials: schedule(trials=trials))
    assert (within.low, within.likely, within.high) == (2 * 7, 2 * 9, 2 * 13)
    assert trials_within(1, [measurement()], lambda trials: schedule(trials=trials)).low == 1


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["budget.hours=2"], 7200),
        (["budget.gpu_hours=3"], 3 * 3600 / 2),
        (["budget.hours=1", "budget.gpu_hours=3"], 3600),
    ],
)
def test_the_time_that_trials_have(words: list[str], seconds: float) -> None:
    config = compose(["model=tiny", *words])
    assert _trials(config) is None
    assert _seconds(config, slots_of(config, Machine(16, 2))) == seconds


def test_what_ends_a_search_in_words() -> None:
    config = compose(["model=tiny", "budget.hours=1", "budget.gpu_hours=2.5", "budget.trials=20"])
    assert limits(config.budget) == ["20 trials", "1 hour", "2.5 GPU hours"]


def test_gpu_hours_alone_end_nothing_where_no_gpu_is_used() -> None:
    config = compose(["model=tiny", "budget.gpu_hours=3"])
    with pytest.raises(ConfigError, match=r"name budget\.trials or budget\.hours"):
        _seconds(config, slots_of(config, Machine(16, 0)))


def test_the_disk_holds_all_weights_the_best_ones_twice_and_the_resume_states_of_those_that_run() -> None:
    assert cost([measurement(), measurement(kept_bytes=30)], schedule()).disk_bytes == 5 * 30 + 2 * 20


@pytest.mark.parametrize(
    ("words", "trials", "starts"),
    [
        (["scheduler=pbt", "budget.trials=5"], 5, 3),  # 9 epochs, an exchange every 4
        (["scheduler=pbt", "budget.trials=2"], 2, 1),
        (["sampler.name=grid", "space=vocabulary", "budget.trials=50"], 3, 1),  # two vocabularies, and the base
        (["sampler.name=grid", "space=vocabulary", "budget.trials=2"], 2, 1),
        (["budget.trials=50"], 50, 1),
    ],
)
def test_what_is_to_be_run(words: list[str], trials: int, starts: int) -> None:
    config = compose(["model=tiny", *words])
    space = SearchSpace(config.space, config.training(), 3 if config.sampler.name == "grid" else None)
    planned = schedule_of(config, space, slots_of(config, Machine(2, 0)))
    assert (planned.trials, planned.starts) == (trials, starts)


# the corpus


def manifest(staves: int, seconds: float, size: int) -> Manifest:
    return Manifest(
        format=1,
        settings=Settings(data="engraved", staff="short", seed=0, limit=staves, recipe=1, root=None, options={}),
        height=64,
        width=256,
        content_hash="",
        splits={"train": SplitCounts(staves=staves, works=1)},
        sources={},
        rejects={},
        leakage=Leakage(labels=0, music=0),
        pieces=staves,
        remarks=(),
        shards=(ShardRecord(file="train-0000.arrow", split="train", rows=staves, bytes=size, sha256=""),),
        versions={},
        seconds=seconds,
    )


def test_a_corpus_by_two_samples_does_not_count_what_any_preparation_takes_first() -> None:
    whole = whole_of(manifest(20, 2.0, 200), manifest(120, 4.0, 1200), staves=7120)
    assert (whole.staves, whole.sampled, whole.bytes) == (7120, 120, 71200)
    assert whole.seconds == pytest.approx(4.0 + 7000 * 0.02)


def test_a_sample_that_is_the_whole_corpus_needs_no_guess() -> None:
    same = manifest(24, 1.5, 240)
    assert whole_of(same, same, staves=24).seconds == 1.5


# what is measured


def test_the_base_and_others_fill_whole_rounds() -> None:
    config = compose(["model=tiny", "space=depth"])
    space = SearchSpace(config.space, config.training())
    counts = {beside: len(settings_to_measure(space, beside, seed=0)) for beside in (1, 2, 3, 4)}
    assert counts == {1: 3, 2: 4, 3: 3, 4: 4}
    chosen = settings_to_measure(space, 2, seed=0)
    assert [one.label for one in chosen] == ["base", "drawn", "drawn", "training log, run 76"]
    assert chosen[0].training == space.base
    assert chosen[3].training.model.encoder.depth == 4
    assert chosen == settings_to_measure(space, 2, seed=0) != settings_to_measure(space, 2, seed=1)


def test_no_setting_is_measured_twice() -> None:
    config = compose(["model=tiny", "space=vocabulary"])
    chosen = settings_to_measure(SearchSpace(config.space, config.training()), 4, seed=0)
    assert sorted(one.training.model.vocabulary for one in chosen) == ["full", "reduced"]


def test_a_measurement_is_as_long_as_the_pace_allows() -> None:
    assert batches_for(0.1, accumulation=1) == 40
    assert batches_for(0.1, accumulation=3) == 39
    assert batches_for(1e-6, accumulation=1) == 100
    assert batches_for(50.0, accumulation=2) == 2
    assert scored_for(0.1, "cpu") == 64
    assert scored_for(4.0, "cpu") == 12
    assert scored_for(60.0, "cpu") == 4
    assert scored_for(60.0, "cuda") == 64


def short_epochs(corpus: PreparedCorpus) -> tuple[Trainer, int, int]:
    trainer = Trainer(training(epochs=3, accumulation=2, validation_staves=None), corpus)
    first, last = measuring._short_epochs(trainer)
    assert first.epoch == 1
    assert first.samples_seen == 2 * trainer.config.train.batch_size
    return trainer, last.epoch, len(last.evaluation.staves)


def test_the_first_epochs_are_short_and_the_last_one_is_measured(corpus: PreparedCorpus) -> None:
    trainer, epochs, scored = short_epochs(corpus)
    assert epochs == 3
    assert trainer.order.batches > 2
    assert trainer.order.batches % 2 == 0
    assert scored == min(64, len(corpus.staves("validation")))


class _Barrier:
    """Counts who comes, and is broken by whoever is done."""

    def __init__(self) -> None:
        self.waits, self.broken = 0, False

    def wait(self) -> None:
        self.waits += 1
        raise BrokenBarrierError

    def abort(self) -> None:
        self.broken = True


def test_the_measured_epochs_begin_together(corpus: PreparedCorpus) -> None:
    barrier = _Barrier()
    trainer = Trainer(training(epochs=3, validation_staves=None), corpus)
    measuring._short_epochs(trainer, barrier)  # type: ignore[arg-type]
    assert (barrier.waits, barrier.broken) == (2, True)  # before the second and the third epoch, and nobody waits after


def test_where_a_step_takes_very_long_it_is_the_measurement(
    corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SLOW_SECONDS", 0.0)
    _, epochs, scored = short_epochs(corpus)
    assert (epochs, scored) == (1, 4)


class _Deadly:
    """Ends the process that unpickles it."""

    def __init__(self, function: Any, argument: int) -> None:
        self.reduced = (function, (argument,))

    def __reduce__(self) -> Any:
        return self.reduced


def job(corpus: Any, **changed: Any) -> Job:
    return Job(label="drawn", training=training(**changed), corpus=corpus, scale=1.0, threads=1, device=None)


def test_a_measurement_that_dies_is_said(corpus: PreparedCorpus) -> None:
    deadly = _Deadly(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(OmrError, match=r"measured a setting \(drawn\) was killed \(signal 9\)"):
        measure([job(corpus.path), job(deadly)])


def test_what_a_trial_would_refuse_is_said(corpus: PreparedCorpus) -> None:
    with pytest.raises(CorpusError, match=r"\(drawn\): .* holds staves of 64 x 256 pixels"):
        measure([job(corpus.path, model=replace(SMALL, width=512))])


def test_a_plan_refuses_at_once_what_the_search_would_refuse(tmp_path: Path) -> None:
    paths = [f"paths.corpora={tmp_path / 'corpora'}", f"paths.studies={tmp_path / 'studies'}"]
    with pytest.raises(ConfigError, match=r"trial.cpus=5000: there are"):
        plan(compose(["model=tiny", "trial.cpus=5000", *paths]), ["dropout"])
    assert list(tmp_path.iterdir()) == []


def test_a_plan_needs_no_ray_and_its_help_no_torch() -> None:
    code = "import sys, search.plan; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=False).returncode == 0


# what is said


def test_numbers_are_said_with_two_digits() -> None:
    assert [duration(12.4), duration(258), duration(9000)] == ["12 s", "4.3 minutes", "2.5 hours"]
    assert durations(200, 4000) == "0.056 to 1.1 hours"
    assert durations(119.9, 120) == "2 minutes"
    assert [size(240e6), size(1.08e9), size(2.5e5)] == ["240 MB", "1.1 GB", "0.25 MB"]
    assert [between(61.2, 98.4), between(30.1, 30.2)] == ["61 to 98", "30"]


def test_the_search_in_words() -> None:
    planned = schedule(Epochs(5, 5, 10), gpus=1.0)
    assert search_text(cost([measurement()], planned), planned, "asha stops weak trials after epoch 4") == (
        "0.078 hours likely (0.078 by setting; asha stops weak trials after epoch 4), 0.15 at most; "
        "0.16 GPU hours likely, 0.31 at most; 2 trials at a time"
    )
    ended = schedule(hours=0.1)
    assert search_text(cost([measurement()], ended), ended, "so").endswith(
        "budget.hours=0.1 will end it early (0.15 without it)"
    )
    perhaps = schedule(Epochs(5, 5, 10), hours=0.1)
    assert search_text(cost([measurement()], perhaps), perhaps, "so").endswith("budget.hours=0.1 may end it early")
    repeated = schedule(rounds=4, again=2)
    assert search_text(cost([measurement()], repeated), repeated, "so").endswith(
        "2 trials at a time; then at most 8 more trainings with other seeds (confirm), not in what is likely"
    )
