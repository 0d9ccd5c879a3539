"""One process at a time drives a study, and a killed one does not go on doing so."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.errors import StudyError
from search import lock
from search.lock import LOCK_FILE, TRIES, driver, driving

HOLDS = "import sys, time; from pathlib import Path; from search.lock import driving\n"
HOLDS += "with driving(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def holder(study: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that drives the study."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(study)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_has_it(study: Path, holder: subprocess.Popen[str]) -> None:
    before = (study / LOCK_FILE).read_text()
    with (
        pytest.raises(StudyError, match=f"study=mine is running already .process {holder.pid} on .*stop=mine"),
        driving(study),
    ):
        pass
    found = driver(study)
    assert found is not None
    assert found.pid == holder.pid
    assert (study / LOCK_FILE).read_text() == before
    assert driver(study) == found  # to ask takes nothing away


def test_a_killed_process_leaves_a_file_and_no_lock(study: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((study / LOCK_FILE).read_text())["pid"] == holder.pid
    assert driver(study) is None
    with driving(study):
        assert json.loads((study / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert driver(study) is None


def test_nobody_drives_what_nobody_has_driven(study: Path) -> None:
    assert driver(study) is None
    assert list(study.iterdir()) == []


def test_a_process_that_has_not_signed_yet_has_the_lock_all_the_same(study: Path) -> None:
    with driving(study):
        (study / LOCK_FILE).write_text("")
        found = driver(study)
    assert found is not None
    assert found.host == "an unknown host"


def test_one_that_only_asks_is_waited_for(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study / LOCK_FILE).touch()
    waited: list[float] = []
    with (study / LOCK_FILE).open() as asks:
        fcntl.flock(asks, fcntl.LOCK_SH)

        def later(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == TRIES - 1:
                fcntl.flock(asks, fcntl.LOCK_UN)

        monkeypatch.setattr(lock.time, "sleep", later)
        with driving(study):
            found = driver(study)
    assert found is not None
    assert found.pid == os.getpid()
    assert len(waited) == TRIES - 1
