"""A study that died after any of its events goes on as if it had not: its own parts, without Ray."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.journal import EpochReported, SessionStarted, TrialEnded, TrialStarted
from results.replay import Replay
from search.config import ConfirmConfig, SamplerConfig, SchedulerConfig
from search.recovery import Ending, recover
from search.rules import build_rule
from tests.driven import EPOCHS, Session, cut, events, search_config, steps, stories, told, trained

CASES: dict[str, dict[str, Any]] = {
    "asha and random": {"sampler": SamplerConfig(name="random")},
    "asha and tpe": {"sampler": SamplerConfig(name="tpe", startup_trials=3)},
    "promotion and tpe": {
        "sampler": SamplerConfig(name="tpe", startup_trials=3),
        "scheduler": SchedulerConfig(name="promotion", grace_epochs=2),
    },
    "hyperband and qmc": {
        "sampler": SamplerConfig(name="qmc"),
        "scheduler": SchedulerConfig(name="hyperband", grace_epochs=2),
    },
    "median and grid": {
        "sampler": SamplerConfig(name="grid", resolution=2),
        "scheduler": SchedulerConfig(name="median", grace_epochs=2),
    },
}


@cache
def whole(case: str, slots: int = 1) -> Path:
    """The folder of a study that nobody disturbed."""
    session = Session(search_config(Path(tempfile.mkdtemp(prefix="omr-test-")), **CASES[case]))
    session.run(slots)
    return session.folder


@pytest.fixture(scope="module", autouse=True)
def _clean():  # type: ignore[no-untyped-def]
    yield
    for case in CASES:
        for slots in (1, 2):
            shutil.rmtree(whole(case, slots).parent)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), storage=st.sampled_from(["as it is", "deleted", "cut", "damaged"]))
def test_cut_after_any_event_it_ends_as_the_uncut_one(
    case: str, share: float, storage: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uncut = whole(case)
    config = search_config(tmp_path_factory.mktemp("cut"), **CASES[case])
    cut(uncut, config, int(share * len(events(uncut))))
    spoil(config.folder() / "optuna.journal", storage)
    session = Session(config)
    session.run()
    assert stories(config.folder()) == stories(uncut)
    assert len(trained(config.folder())) == len(trained(uncut))  # no epoch that was reported is trained again
    assert told(session.study) == told(Session(search_config(uncut.parent, **CASES[case])).study)


def spoil(path: Path, how: str) -> None:
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "damaged":
        path.write_bytes(b"\x00\xff no journal\n" + path.read_bytes())
