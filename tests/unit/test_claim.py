"""One driver at a time at an address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.errors import StudyError
from datasets.storage import Remote
from search.claim import HANDOVER, HEARTBEAT, STALE, Claim, driver_at
from search.driver import Driver

FAR = Driver(7, "another-host", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote.of(f"file://{tmp_path}/studies/mine")


def claims(remote: Remote) -> list[str]:
    return sorted(remote.at("claims").files())


def age(remote: Remote, claim: Claim, seconds: float) -> None:
    """Make a claim older, by the store's clock."""
    then = time.time() - seconds
    os.utime(remote.path(f"claims/{claim.name}"), (then, then))


def test_a_claim_is_seen_and_given_back(remote: Remote) -> None:
    assert driver_at(remote) is None
    claim = Claim(remote, Driver.this())
    claim.take()
    assert driver_at(remote) == claim.driver
    claim.renew()
    claim.release()
    assert (driver_at(remote), claims(remote)) == (None, [])


def test_another_is_refused_and_told_what_to_do(remote: Remote) -> None:
    Claim(remote, FAR).take()
    with pytest.raises(
        StudyError, match=r"study=mine is driven by process 7 on another-host, since 2026.*resume=mine force=true"
    ):
        Claim(remote, Driver.this()).take(sleep=lambda _: None)
    assert len(claims(remote)) == 1


def test_of_two_that_see_each_other_both_withdraw_and_try_again(remote: Remote) -> None:
    mine = Claim(remote, FAR)
    other = Claim(remote, Driver(8, "third-host", FAR.since))
    other._write()
    slept: list[float] = []

    def withdraw(seconds: float) -> None:
        slept.append(seconds)
        assert claims(remote) == [other.name]  # this one withdrew
        other.release()

    mine.take(sleep=withdraw)
    assert len(slept) == 1
    assert claims(remote) == [mine.name]


@pytest.fixture
def dead() -> Driver:
    """A process of this machine that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return replace(Driver.this(), pid=ended.pid)


def test_a_dead_process_of_this_host_holds_nothing(remote: Remote, dead: Driver) -> None:
    before = Claim(remote, dead)
    before.take()
    assert driver_at(remote) is None
    claim = Claim(remote, Driver.this())
    claim.take()
    assert claims(remote) == [claim.name]
    assert claim.over == (before.name,)


@pytest.mark.parametrize("field", ["boot", "pids", "host"])
def test_a_process_that_cannot_be_seen_from_here_is_not_taken_for_dead(dead: Driver, field: str) -> None:
    """Two containers may have one name and each a list of processes of its own."""
    assert dead.is_gone
    other = replace(dead, **{field: "another"})
    assert not other.is_here
    assert not other.is_gone


def test_one_that_slept_and_writes_its_claim_again_finds_out(remote: Remote) -> None:
    far, claim = Claim(remote, FAR), Claim(remote, Driver.this())
    far.take()
    age(remote, far, STALE + 60)
    claim.take()
    far._write()
    with pytest.raises(StudyError, match="has taken the study over"):
        far.renew()


def test_a_claim_that_nobody_renews_lapses(remote: Remote) -> None:
    far = Claim(remote, FAR)
    far.take()
    age(remote, far, STALE - 60)
    assert driver_at(remote) == FAR
    age(remote, far, STALE + 60)
    assert driver_at(remote) is None
    Claim(remote, Driver.this()).take()


def test_force_takes_it_and_the_other_finds_out(remote: Remote) -> None:
    far, claim = Claim(remote, FAR), Claim(remote, Driver.this())
    far.take()
    slept: list[float] = []
    said: list[str] = []

    def wait(seconds: float) -> None:
        slept.append(seconds)
        with pytest.raises(StudyError, match="has taken the study over"):
            far.renew()

    claim.take(force=True, sleep=wait, say=said.append)
    assert slept == [HANDOVER]
    assert HANDOVER > HEARTBEAT
    assert said == [f"study=mine is taken from {FAR}; going on in 25 s, when it knows"]
    claim.renew()
    with pytest.raises(StudyError, match="has taken the study over"):
        far.renew()
    far._write()  # it was about to renew when its claim was deleted
    with pytest.raises(StudyError, match=rf"process {os.getpid()} on .* has taken the study over"):
        far.renew()
    claim.renew()


def test_a_claim_is_plain_json(remote: Remote) -> None:
    Claim(remote, FAR).take()
    text = remote.read(f"claims/{claims(remote)[0]}")
    assert text is not None
    assert json.loads(text) == {
        "pid": 7,
        "host": "another-host",
        "since": FAR.since,
        "boot": "",
        "pids": "",
        "over": [],
    }
