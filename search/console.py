"""What a person sees while a search runs: a calm table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

from rich.console import Console as Screen
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from omr_model.metrics import percent
from search.forecast import Planned, Tally, about, epochs_left
from search.labels import last_name, settings_text, value_text

ROWS = 24  # a terminal's height: of a longer study the running trials and the best are shown
STATE_STYLE = {"running": "cyan", "completed": "green", "failed": "red", "diverged": "yellow"}


@dataclass
class TrialRow:
    """What is known of a trial.

    `begun_after` is the epoch that it went on from, and `repeats` the trial whose setting it trains again.
    """

    number: int
    settings: Mapping[str, Any]
    repeats: int | None = None
    state: str = "running"
    begun_after: int = 0
    epoch: int = 0
    ser: float | None = None
    samples_per_second: float | None = None
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self, epochs: int) -> float | None:
        """If it is not stopped early: the epochs to come at the pace of those that were."""
        done = self.epoch - self.begun_after
        if self.state != "running" or done <= 0:
            return None
        return (time.monotonic() - self.started) / done * (epochs - self.epoch)


class Console:
    """Shows a search's trials.

    Args:
        trials: how many the search will have; None if something else ends it.
        epochs: of a trial that is trained to the end.
        rungs: epochs after which the scheduler compares.
        stream: where to; a table if it is a terminal.
        again: trainings with other seeds in a round, and rounds at the most.

    Attributes:
        deadline: when the search ends at the latest, by the monotonic clock; None is never.
    """

    def __init__(
        self,
        trials: int | None,
        epochs: int,
        rungs: list[int],
        stream: TextIO | None = None,
        again: tuple[int, int] = (0, 0),
    ) -> None:
        self.trials = trials
        self.epochs = epochs
        self.planned = Planned(trials, epochs, bool(rungs), *again)
        self.rows: dict[int, TrialRow] = {}
        self._tally = Tally()
        self._targets: dict[str, None] = {}  # that any trial sets, in the order they came
        self._best: TrialRow | None = None
        self.began = time.monotonic()
        self.deadline: float | None = None
        self._first: float | None = None  # when the first trial of this session began
        self._done = 0  # epochs of this session
        self.screen = Screen(file=stream or sys.stdout, highlight=False, soft_wrap=True)
        self.live = (
            Live(console=self.screen, get_renderable=self.table, refresh_per_second=1, transient=False)
            if self.screen.is_terminal
            else None
        )

    def __enter__(self) -> Console:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    @property
    def best(self) -> TrialRow | None:
        """The lowest SER among the trials that got furthest: early values do not compare with late ones."""
        return self._best

    @property
    def left(self) -> str:
        """How long the search will still take, in words; empty where nobody can know."""
        now = time.monotonic()
        epochs = epochs_left(self.planned, self._tally) if self._done else None
        limit = None if self.deadline is None else max(0.0, self.deadline - now)
        if epochs is None or self._first is None:
            return "" if limit is None else about(limit, limit)
        if not epochs[1]:
            return ""  # what is left is no training
        pace = (now - self._first) / self._done
        least, most = (count * pace for count in epochs)
        return about(least, most) if limit is None else about(min(least, limit), min(most, limit))

    def started(self, number: int, settings: Mapping[str, Any], repeats: int | None = None) -> None:
        """A trial begins, or goes on."""
        self._first = time.monotonic() if self._first is None else self._first
        if number in self.rows:
            row = self.rows[number]
            self._tally.forget(row)
        else:
            row = self.rows[number] = TrialRow(number, settings, repeats)
            self._targets |= dict.fromkeys(settings)
        row.state, row.begun_after, row.started = "running", row.epoch, time.monotonic()
        self._tally.count(row)
        what = f"goes on after epoch {row.epoch}" if row.epoch else "starts  "
        again = f"  (trial {repeats} with another seed)" if repeats is not None else ""
        self._line(f"trial {number:>3}  {what}  {settings_text(settings)}{again}")

    def known(self, row: TrialRow) -> None:
        """A trial of an earlier session."""
        self.rows[row.number] = row
        self._targets |= dict.fromkeys(row.settings)
        self._tally.count(row)
        self._compare(row)

    def epoch(self, number: int, epoch: int, ser: float, samples_per_second: float) -> None:
        """A trial has finished an epoch."""
        self._done += 1
        row = self.rows[number]
        row.epoch, row.ser, row.samples_per_second = epoch, ser, samples_per_second
        self._compare(row)
        left = row.seconds_left(self.epochs)
        done, pace = f"epoch {epoch:>2}/{self.epochs}", f"{samples_per_second:>4.0f} staves/s"
        self._line(
            f"trial {number:>3}  {done}  SER {percent(ser):>7}  {pace}" + (f"  {_clock(left)} left" if left else "")
        )

    def ended(self, number: int, state: str, message: str) -> None:
        """A trial has ended."""
        row, best = self.rows[number], self.best
        self._tally.forget(row)
        row.state = state
        self._tally.count(row)
        self._line(
            f"trial {number:>3}  {state}: {message}"
            + (f"; best so far {percent(best.ser)}, trial {best.number}" if best is not None else "")
            + (f"; {left}" if (left := self.left) else "")
        )

    def say(self, text: str) -> None:
        """Something that is no trial's progress, above the table or as a line."""
        if self.live is None:
            self._line(text)
        else:
            self.live.console.print(text, markup=False)

    def table(self, width: int | None = None) -> Group:
        """The trials as they stand, the best first among those that have ended.

        Args:
            width: of the terminal, in columns; None is that of this one.
        """
        width = width or self.screen.width
        shown = self._shown()
        names = {target: last_name(target, self._targets) for target in self._targets}
        rows = self._rows(shown, names, len(names))
        for columns in reversed(range(len(names))):
            if self.screen.measure(rows, options=self.screen.options.update(width=1000)).maximum <= width:
                break
            rows = self._rows(shown, names, columns)
        return Group(Text(self._title(width)), "", rows)

    def _rows(self, shown: list[TrialRow], names: Mapping[str, str], columns: int) -> Table:
        """A row a trial, with a column for each of the first so many parameters."""
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        for heading in ("trial", "state", "epoch", "SER %", "staves/s", "left"):
            justify: Literal["left", "right"] = "left" if heading in ("trial", "state") else "right"
            table.add_column(heading, justify=justify, vertical="bottom", no_wrap=True)
        for name in list(names.values())[:columns]:
            narrow = name.replace(".", "\n").replace("_", "\n")  # a word a line
            table.add_column(narrow, justify="right", vertical="bottom", no_wrap=True)
        if columns < len(names):
            table.add_column("…", vertical="bottom")
        best = self.best
        for row in shown:
            left = row.seconds_left(self.epochs)
            cells: list[str | Text] = [
                str(row.number) if row.repeats is None else f"{row.number} ({row.repeats} again)",
                Text(row.state, style=STATE_STYLE.get(row.state, "dim")),
                f"{row.epoch}/{self.epochs}",
                "" if row.ser is None else percent(row.ser).removesuffix(" %"),
                f"{row.samples_per_second:.0f}" if row.samples_per_second and row.state == "running" else "",
                _clock(left) if left else "",
                *(value_text(row.settings.get(target, "")) for target in list(names)[:columns]),
            ]
            table.add_row(*cells, style="bold" if row is best else None)
        return table

    def _shown(self) -> list[TrialRow]:
        running = [row for row in self.rows.values() if row.state == "running"][:ROWS]
        ended = (row for row in self.rows.values() if row.state != "running")
        return running + heapq.nsmallest(ROWS - len(running), ended, key=_rank)

    def _title(self, width: int) -> str:
        """What there is to say in a line, or in more where that is too long."""
        own, again = self._tally.searched, self._tally.again
        ended = own - len(self._tally.going)
        parts = [f"{_clock(time.monotonic() - self.began)}", f"{ended} of {self.trials or own} trials ended"]
        if again:
            parts.append(f"{again} trained again with other seeds")
        if self.best is not None:
            parts.append(f"best SER {percent(self.best.ser)} (trial {self.best.number})")
        if left := self.left:
            parts.append(left)
        lines = [parts[0]]
        for part in parts[1:]:
            joined = f"{lines[-1]}   {part}"
            lines[-1:] = [joined] if len(joined) <= width else [lines[-1], part]
        return "\n".join(lines)

    def _compare(self, row: TrialRow) -> None:
        """Keep the best up to date: all are looked at again only where the best one may have fallen back."""
        if row.ser is None or row.repeats is not None:
            return
        best = self._best
        if best is None or (best is not row and _rank(row) < _rank(best)):
            self._best = row
        elif best is row:
            scored = (one for one in self.rows.values() if one.ser is not None and one.repeats is None)
            self._best = min(scored, key=_rank)

    def _line(self, text: str) -> None:
        if self.live is None:
            self.screen.print(f"{_clock(time.monotonic() - self.began)}  {text}", markup=False)


def _rank(row: TrialRow) -> tuple[int, float, int]:
    """Those that got furthest first, of these the lowest SER, of equals the earliest, as `results.ranking` has it."""
    return -row.epoch, math.inf if row.ser is None or math.isnan(row.ser) else row.ser, row.number


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
