"""What each signal does to a search, sent to this process."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.chronicle import Chronicle
from search.config import BudgetConfig
from search.engine.interruption import AT_ONCE, GENTLE, Interruption
from search.engine.stop import Stop


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _not_under_nohup() -> Iterator[None]:
    """Who runs the tests with `nohup` has a closed terminal's signal ignored here, and in the processes begun here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def interruption(tmp_path: Path, said: list[str]) -> Iterator[Interruption]:
    made = Interruption(Stop(BudgetConfig(), Chronicle(tmp_path)), 600.0, said.append)
    with made.handled():
        yield made


def send(*signals: signal.Signals) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", GENTLE)
def test_the_first_ends_it_with_its_epochs_and_nothing_is_said_in_the_handler(
    number: signal.Signals, interruption: Interruption, said: list[str]
) -> None:
    send(number)
    assert interruption.stop.interrupted
    assert said == []
    interruption.on_step_end(0, [])
    assert len(said) == 1
    interruption.on_step_end(0, [])
    assert len(said) == 1


def test_stop_may_be_said_again_and_ends_nothing_at_once(interruption: Interruption) -> None:
    send(signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1)
    interruption.setup()  # Tune begins, and has taken SIGUSR1 for itself
    send(signal.SIGUSR1)
    assert interruption.stop.interrupted


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGUSR1, signal.SIGINT), *zip(AT_ONCE)])
def test_what_ends_it_at_once(signals: tuple[signal.Signals, ...], interruption: Interruption) -> None:
    with pytest.raises(KeyboardInterrupt):
        send(*signals)
    assert interruption.stop.interrupted


def test_who_is_begun_with_nohup_hears_of_no_closed_terminal(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    made = Interruption(Stop(BudgetConfig(), Chronicle(tmp_path)), 1.0, print)
    with made.handled():
        send(signal.SIGHUP)
    assert not made.stop.interrupted


CLOSED_TERMINAL = """
import sys, signal, time, pathlib
from search.chronicle import Chronicle
from search.config import BudgetConfig
from search.engine.interruption import Interruption
from search.engine.stop import Stop

folder = pathlib.Path(sys.argv[1])
one = Interruption(Stop(BudgetConfig(), Chronicle(folder)), 60.0, lambda text: print(text, flush=True))
with one.handled():
    (folder / "ready").touch()
    while not one.stop.interrupted:
        time.sleep(0.01)
    one.closing()
    print("to a terminal that is gone", file=sys.stderr, flush=True)
(folder / "ended").touch()
"""


def test_a_closed_terminal_ends_it_gently_and_words_to_it_are_no_error(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", CLOSED_TERMINAL, str(tmp_path)])
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "ended").exists()


@pytest.mark.usefixtures("interruption")
def test_a_second_sigterm_gives_no_new_grace() -> None:
    send(signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, 300.0)
    send(signal.SIGTERM)
    assert signal.getitimer(signal.ITIMER_REAL)[0] <= 300.0


@pytest.mark.parametrize(("now", "number"), [(False, signal.SIGUSR1), (True, signal.SIGUSR2)])
def test_word_from_another_machine_is_that_signal(
    now: bool, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr("search.engine.interruption.os.kill", lambda _, signum: sent.append(signum))
    word = tmp_path / "stop.json"
    made = Interruption(Stop(BudgetConfig(), Chronicle(tmp_path)), 1.0, print, word)
    word.write_text(json.dumps({"now": now}))
    made.on_step_end(0, [])
    assert sent == [number]
    assert not word.exists()
    word.write_text(json.dumps({"now": now}))
    made.on_step_end(0, [])
    assert sent == [number]  # it does not look at every step


def test_once_it_has_ended_it_is_put_in_order_undisturbed(interruption: Interruption) -> None:
    send(signal.SIGTERM)
    interruption.stop.interrupted = False
    interruption.closing()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    send(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGALRM)
    assert not interruption.stop.interrupted
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (*GENTLE, *AT_ONCE)]
    with Interruption(Stop(BudgetConfig(), Chronicle(tmp_path)), 1.0, print).handled():
        assert [signal.getsignal(number) for number in (*GENTLE, *AT_ONCE)] != before
    assert [signal.getsignal(number) for number in (*GENTLE, *AT_ONCE)] == before
