"""How far a long job is: a bar on a terminal, a plain line now and then elsewhere. Speaks on standard error."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Progress of one job, counted in whatever it is made of."""

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title = title
        self.quiet = quiet
        self._bar: tqdm[None] | None = None
        self._total = 0
        self._unit = ""
        self._last_line = time.monotonic()

    def start(self, total: int, unit: str) -> None:
        """Begin to count up to `total`."""
        self._total, self._unit = total, unit
        if not self.quiet and sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=self.title, unit=f" {unit}", leave=False)

    def reach(self, count: int, note: str = "") -> None:
        """Say that `count` are done in all; a note stands behind it."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count - self._bar.n)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"{self.title}: {count:,} of {self._total:,} {self._unit}" + (f", {note}" if note else ""))

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self.quiet:
            tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
