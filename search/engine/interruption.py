"""Who may end a search from outside, and how soon.

    Ctrl-C, SIGUSR1    each trial ends with its epoch; told again by SIGUSR1 (`stop=NAME`), it is as told once
    SIGTERM, SIGHUP    the same, but an epoch has so many seconds of grace: a cluster's scheduler sends SIGKILL soon;
                       SIGHUP comes of a closed terminal, and is left alone under `nohup`
    a second Ctrl-C    at once; so do SIGUSR2 (`stop=NAME now=true`) and the end of the grace (SIGALRM)

All of them may come to this process alone or to its whole group: Ray's processes are in sessions of their own
(`search.engine.cluster`).

`stop=NAME` on another machine leaves a file in the study's folder, which is looked for between two steps of Tune.

A signal may come in the middle of anything, a line to the terminal included: it only sets flags, and what there is to
say is said between two steps of Tune.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from datasets.command_line import lead_away
from search.engine.stop import Stop

SOON = (signal.SIGTERM, signal.SIGHUP)
GENTLE = (signal.SIGINT, signal.SIGUSR1, *SOON)
AT_ONCE = (signal.SIGUSR2, signal.SIGALRM)
SECONDS_BETWEEN_LOOKS = 2.0


class Interruption(tune.Callback):
    """Handles those signals while a search runs; Tune's callback, as Tune takes SIGUSR1 for itself when it begins.

    Args:
        stop: ends the search.
        grace: seconds for an epoch after SIGTERM or SIGHUP.
        say: tells the person.
        word: the file that `stop=NAME` leaves on another machine.
    """

    def __init__(self, stop: Stop, grace: float, say: Callable[[str], None], word: Path | None = None) -> None:
        self.word = word
        self._looked = 0.0
        self.stop = stop
        self.grace = grace
        self.say = say
        self._told = False  # SIGTERM or SIGHUP was received, and the grace runs
        self._unsaid: list[str] = []
        self._closing = False

    def __getstate__(self) -> dict[str, Any]:
        """Tune would keep its callbacks with the experiment, which nobody ever reads."""
        return {}

    @contextmanager
    def handled(self) -> Iterator[None]:
        """As long as the block lasts, signals mean what they mean here."""
        before = {number: signal.getsignal(number) for number in (*GENTLE, *AT_ONCE)}
        self._install()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, old in before.items():
                signal.signal(number, old)

    def closing(self) -> None:
        """The search has ended and is being put in order: only Ctrl-C still ends that."""
        self._closing = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._speak()

    def setup(self, *_: Any, **info: Any) -> None:
        """Tune begins."""
        self._install()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._look()
        self._speak()

    def _look(self) -> None:
        if self.word is None or time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        with suppress(OSError, ValueError):  # there is none, as a rule
            now = json.loads(self.word.read_bytes())["now"]
            self.word.unlink()
            os.kill(os.getpid(), signal.SIGUSR2 if now else signal.SIGUSR1)

    def _install(self) -> None:
        for number in (*GENTLE, *AT_ONCE):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # else `nohup` has begun it
                signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._closing:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        again, self.stop.interrupted = self.stop.interrupted, True
        if number in AT_ONCE or (number == signal.SIGINT and again):
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            lead_away(1)  # a word to a terminal that is gone would be an error
            lead_away(2)
        if number in SOON:
            if not self._told:
                self._told = True
                signal.setitimer(signal.ITIMER_REAL, max(self.grace, 1e-3))
                self._unsaid.append(f"stopping: trials get {self.grace:g} s to finish their epoch")
        elif not again:
            self._unsaid.append("stopping: each trial ends with its epoch; Ctrl-C again stops at once")

    def _speak(self) -> None:
        while self._unsaid:
            self.say(self._unsaid.pop(0))
