"""The how-to's two machines, by hand: each a namespace with its own address, name and processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.engine.cluster import OPEN_TO_THE_NETWORK
from tests.attached import EPOCHS, PATIENCE, TRIALS, Search, searching
from tests.end_to_end.commands import ROOT
from tests.hosts import Host, hindrance, two_hosts

HOW_TO = ROOT / "docs" / "how-to" / "cluster.md"
SOON = {"health_check_period_ms": 1000, "health_check_timeout_ms": 3000}  # five times in a row; Ray's are 3 s and 10 s


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """With the addresses of the how-to."""
    if why := hindrance():
        pytest.skip(f"no machines of their own can be made here: {why}")
    with two_hosts("10.0.0.1", "10.0.0.2") as made:
        yield made


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of 'Two machines, by hand', with what they export in the environment, and a home without a token."""
    [block] = re.findall(r"## Two machines, by hand\n.*?```bash\n(.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL)
    lines = block.splitlines()
    monkeypatch.delenv(OPEN_TO_THE_NETWORK, raising=False)  # as a search in this process would leave it
    for name, value in re.findall(r"(\w+)=(\S+)", " ".join(line for line in lines if line.startswith("export "))):
        monkeypatch.setenv(name, value)
    for name, value in SOON.items():
        monkeypatch.setenv(f"RAY_{name}", str(value))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return [line for line in lines if not line.startswith("export ")]


def test_a_machine_falls_silent_and_comes_back_and_nothing_is_lost_or_twice(
    documented: list[str], hosts: tuple[Host, Host], corpora: Path, tmp_path: Path
) -> None:
    """Against the same search on one machine."""
    (token, head, node), (one, other) = documented, hosts
    type_in(one, token)
    type_in(one, f"{head} --num-cpus=1")
    type_in(other, f"{node} --num-cpus=1")
    with searching(Search(tmp_path / "many", corpora, 0.05, one.command)) as search:
        search.hold((0, 4), (1, 4), (TRIALS - 1, EPOCHS))  # the last one, or it would be over too soon
        search.begin("cluster=attach", "cluster.address=10.0.0.1:6379", "cluster.upload=false")
        search.until(lambda: {(0, 4), (1, 4)} <= set(search.trained()))  # one on each machine
        other.unplug()
        search.until(lambda: "node lost" in search.words())
        search.go_on(0, 1)  # both copies of a trial: the one that nobody hears goes on as well
        search.until(lambda: len({number for number, _ in search.trained()}) > 2)
        other.plug_in()
        search.until(lambda: not other.runs("raylet"))  # it hears that it was given up
        type_in(other, f"{node} --num-cpus=1")
        search.until(lambda: "2 trials at a time" in search.words().split("node lost")[-1])
        search.go_on(TRIALS - 1)
        assert search.wait() == 0, search.words()[-3000:]
    with searching(Search(tmp_path / "alone", corpora, 0.05)) as alone:
        alone.begin("cluster.cpus=1", "cluster.gpus=0", "cluster.dashboard=false")
        assert alone.wait() == 0, alone.words()[-3000:]
    assert search.tables() == alone.tables()
    assert [row["state"] for row in search.tables()[0]] == ["completed"] * TRIALS
    again = len(search.trained()) - TRIALS * EPOCHS
    assert 1 <= again <= 2  # the epoch that fell silent; the copy that nobody hears waits for an answer after it


def type_in(host: Host, line: str) -> None:
    done = subprocess.run(host.command(line.split()), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
