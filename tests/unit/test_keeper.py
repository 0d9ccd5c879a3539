"""Which checkpoints stay: by a trial's state, under a cap, after a crash, and with a journal that lies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.journal import EndState, EpochReported, TrialEnded, TrialStarted
from results.replay import Replay
from search.config import ConfirmConfig, DiskConfig, SearchConfig
from search.engine.keeper import SCRATCH, Keeper

SIZES = {"model.safetensors": 1000, "resume.pt": 2000, "checkpoint.json": 10, "samples.parquet": 100}
WHOLE, WEIGHTS, SAMPLES = set(SIZES), set(SIZES) - {"resume.pt"}, {"checkpoint.json", "samples.parquet"}
WHOLE_SIZE, WEIGHTS_SIZE = sum(SIZES.values()), sum(SIZES[name] for name in WEIGHTS)


class Study:
    """A study whose trials report, with the keeper that looks after it."""

    def __init__(self, folder: Path, cap: float | None = None, best: int = 2) -> None:
        self.folder = folder
        self.replay = Replay()
        self.keeper = Keeper(folder, cap, best)

    def start(self, number: int, origin: str = "", repeats: int | None = None) -> None:
        self.replay.add(TrialStarted(str(number), number, 0, {}, 0.0, origin=origin, repeats=repeats))

    def report(self, number: int, epoch: int, ser: float, session: int = 1) -> list[str]:
        name = f"tune/{session}/trial-{number}/checkpoint_{epoch:06d}"
        checkpoint(self.folder / name)
        self.replay.add(EpochReported(str(number), {"epoch": float(epoch), "ser": ser}, name, 0.0))
        return self.keeper.tidy(self.replay.trial(str(number)))

    def end(self, number: int, state: EndState) -> list[str]:
        self.replay.add(TrialEnded(str(number), state, "", 0.0))
        return self.keeper.tidy(self.replay.trial(str(number)))

    def trial(self, number: int, sers: list[float], state: EndState | None = "completed", **start: object) -> list[str]:
        """A trial from its start to its end; all that the keeper said."""
        self.start(number, **start)  # type: ignore[arg-type]
        said = [line for epoch, ser in enumerate(sers, 1) for line in self.report(number, epoch, ser)]
        return said + (self.end(number, state) if state else [])

    def files(self, number: int) -> dict[int, set[str]]:
        """What lies on the disk, by the number of the checkpoint."""
        folders = self.folder.glob(f"tune/*/trial-{number}/checkpoint_*")
        return {int(one.name[-6:]): {file.name for file in one.iterdir()} for one in folders}

    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


def checkpoint(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        (folder / name).write_bytes(bytes(size))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, {2: WEIGHTS, 4: WHOLE, 5: WHOLE}),
        ("paused", {2: WEIGHTS, 4: WHOLE, 5: WHOLE}),
        ("completed", {2: WEIGHTS, 5: WEIGHTS}),
        ("pruned", {5: SAMPLES}),
        ("failed", {5: SAMPLES}),
        ("diverged", {5: SAMPLES}),
    ],
)
def test_what_stays_of_a_trial(tmp_path: Path, state: EndState | None, expected: dict[int, set[str]]) -> None:
    study = Study(tmp_path)
    study.trial(0, [0.9, 0.3, 0.5, math.nan, 0.4], state)
    assert study.files(0) == expected
    assert study.keeper.total == study.bytes()


def test_the_best_of_the_last_two_is_whole_as_long_as_the_trial_runs(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.trial(0, [0.9, 0.5, 0.4], None)
    assert study.files(0) == {2: WHOLE, 3: WHOLE}
    study.end(0, "completed")
    assert study.files(0) == {3: WEIGHTS}


def test_epochs_that_are_trained_again_replace_the_others(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.trial(0, [0.9, 0.5, 0.4], None)
    study.start(0)
    study.report(0, 3, 0.6, session=2)
    assert not (tmp_path / "tune/1/trial-0/checkpoint_000003").exists()
    assert study.files(0) == {2: WHOLE, 3: WHOLE}
    study.report(0, 3, 0.6, session=2)  # into the same folder: it stays
    assert study.files(0) == {2: WHOLE, 3: WHOLE}
    assert study.keeper.total == study.bytes()


def test_under_a_cap_the_least_needed_go_first(tmp_path: Path) -> None:
    samples_size = SIZES["checkpoint.json"] + SIZES["samples.parquet"]
    study = Study(tmp_path, cap=1e9, best=2)
    study.trial(0, [0.5, 0.8], origin="base")
    for number, ser in ((1, 0.4), (2, 0.3), (3, 0.6), (4, 0.2)):
        study.trial(number, [0.1, ser])
    study.trial(5, [0.2, 0.1], repeats=4)
    assert [len(study.files(number)) for number in range(6)] == [2, 2, 2, 2, 2, 1]
    weights = 1e9, *(11 * WEIGHTS_SIZE - 1 - one * WEIGHTS_SIZE for one in range(5))
    for cap in weights:  # epochs that are not the last go, one trial after the other
        study.keeper.cap_bytes = cap
        assert study.end(5, "completed") == []
        assert study.bytes() == study.keeper.total <= cap
    assert [study.files(number) for number in range(6)] == [{2: WEIGHTS}] * 6
    study.keeper.cap_bytes = 6 * WEIGHTS_SIZE - 1  # the repetition before the worst
    assert study.end(5, "completed") == []
    assert set(*study.files(5).values()) == SAMPLES
    assert set(*study.files(3).values()) == WEIGHTS
    study.keeper.cap_bytes = 3 * WEIGHTS_SIZE + 3 * samples_size
    assert study.end(5, "completed") == []
    assert [set(*study.files(number).values()) for number in range(5)] == [WEIGHTS, SAMPLES, WEIGHTS, SAMPLES, WEIGHTS]
    study.keeper.cap_bytes = 1000
    [message] = study.end(5, "completed")
    assert message.startswith("disk.cap=1e-06: what must stay takes")
    assert study.end(5, "completed") == []  # it is said once
    assert set(*study.files(0).values()) == set(*study.files(4).values()) == WEIGHTS


def test_trials_that_may_go_on_are_spared_by_the_cap(tmp_path: Path) -> None:
    study = Study(tmp_path, cap=1)
    [message] = study.trial(0, [0.5, 0.4], "paused")
    assert "disk.cap" in message
    assert study.files(0) == {1: WHOLE, 2: WHOLE}


def test_what_a_crash_has_left_is_gone_when_the_study_is_taken_up_again(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.trial(0, [0.9, 0.3, 0.5, 0.4])
    study.trial(1, [0.9, 0.3], None)
    before = study.files(0), study.files(1)
    checkpoint(tmp_path / "tune/1/trial-0/checkpoint_000001")  # killed before it was deleted
    checkpoint(tmp_path / "tune/1/trial-1/checkpoint_000003")  # killed before it was in the journal
    checkpoint(tmp_path / "tune/2/trial-7/checkpoint_000001")
    (tmp_path / "tune/1/trial-1/error.txt").write_text("kept")
    config = SearchConfig(disk=DiskConfig(cap=1e-3), confirm=ConfirmConfig(top=3))
    again = Keeper.of(config, tmp_path, study.replay)
    assert (study.files(0), study.files(1), study.files(7)) == (*before, {})
    assert (tmp_path / "tune/1/trial-1/error.txt").exists()
    assert again.total == study.bytes() - len("kept")
    assert (again.cap_bytes, again.best) == (1e6, 4)


def test_what_killed_processes_were_writing_is_gone_when_the_study_is_taken_up_again(tmp_path: Path) -> None:
    checkpoint(tmp_path / SCRATCH / "tmp1")
    Keeper.of(SearchConfig(), tmp_path, Replay())
    assert not (tmp_path / SCRATCH).exists()


def test_folders_that_are_gone_do_no_harm(tmp_path: Path) -> None:
    study = Study(tmp_path, cap=1e4)
    study.start(0)
    for epoch in range(1, 5):
        study.replay.add(EpochReported("0", {"epoch": float(epoch), "ser": 0.5}, f"tune/checkpoint_{epoch}", 0.0))
        assert study.keeper.tidy(study.replay.trial("0")) == []
    assert study.end(0, "completed") == []
    assert study.keeper.total == 0


def test_nothing_outside_of_the_study_is_touched_whatever_the_journal_says(tmp_path: Path) -> None:
    """A study's folder may come from somebody else."""
    study = Study(tmp_path / "study")
    (tmp_path / "study" / "tune").mkdir(parents=True)
    checkpoint(tmp_path / "checkpoint_mine")
    checkpoint(tmp_path / "study" / "tune" / "kept")
    (tmp_path / "study" / "tune" / "checkpoint_link").symlink_to(tmp_path / "checkpoint_mine")
    names = ["../checkpoint_mine", str(tmp_path / "checkpoint_mine"), "tune/kept", "tune", "tune/checkpoint_link", "."]
    study.start(0)
    for epoch, name in enumerate(names, 1):
        study.replay.add(EpochReported("0", {"epoch": float(epoch), "ser": 0.5}, name, 0.0))
        study.keeper.tidy(study.replay.trial("0"))
    study.end(0, "failed")
    Keeper.of(SearchConfig(), tmp_path / "study", study.replay)
    for folder in (tmp_path / "checkpoint_mine", tmp_path / "study" / "tune" / "kept"):
        assert {file.name for file in folder.iterdir()} == WHOLE


def test_copies_that_a_trial_began_from_go_when_it_no_longer_needs_them(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.trial(0, [0.5, 0.4], None)
    copy = tmp_path / "tune/1/trial-0/checkpoint_of_trial_3_after_2"
    checkpoint(copy)
    study.report(0, 3, 0.4)
    assert copy.exists()
    study.report(0, 4, 0.4)
    assert not copy.exists()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 2) | st.just(math.nan), max_size=5),
            st.sampled_from([None, "completed", "pruned", "paused", "failed", "diverged"]),
        ),
        max_size=6,
    ),
    st.integers(0, 20 * WHOLE_SIZE),
)
def test_whatever_happened_to_go_on_is_possible_and_the_books_are_right(
    tmp_path_factory: pytest.TempPathFactory, trials: list[tuple[list[float], EndState | None]], cap: int
) -> None:
    study = Study(tmp_path_factory.mktemp("study"), cap=float(cap), best=1)
    said = [line for number, (sers, state) in enumerate(trials) for line in study.trial(number, sers, state)]
    assert study.keeper.total == study.bytes()
    assert len(said) <= 1
    assert said or study.bytes() <= cap
    for number, (sers, state) in enumerate(trials):
        if sers:  # what reports and a resume need
            assert "samples.parquet" in study.files(number)[len(sers)]
            if state in (None, "paused"):
                assert study.files(number)[len(sers)] == WHOLE
