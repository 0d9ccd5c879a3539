"""What happened in a study, one line of JSON an event, in `events.jsonl`.

The process that drives a search appends; `results.gather` reads at any moment, also while it runs or after a
crash. Choices:

- One line is one `write`, followed by `fsync`: an event that was appended survives the death of the machine.
- A line counts once its newline is there. A last line without one was torn by a crash (or is being written
  right now): readers pass over it, and the next append removes it.
- The file is strict JSON, so that any tool reads it: NaN is `null`, the infinities are `"inf"` and `"-inf"`.
- Nothing is ever changed. A later start or end of a trial supersedes the earlier one, and so does an epoch
  that is reported again after a resume (`results.tables` does the superseding).
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import orjson

from datasets.errors import StudyError

Parameter: TypeAlias = float | int | str | bool | None
EndState: TypeAlias = Literal["completed", "pruned", "paused", "failed", "diverged"]


@dataclass(frozen=True)
class SessionStarted:
    """A process began to drive the study: the first one, or one that resumed it.

    Attributes:
        session: from 1.
        code: the version of the code, in words.
        command_line: the words that started the process, quoted for a shell.
        budget: what the study may use in all, as `search.config.BudgetConfig` names it.
        changes: what is not as it was when the study began, and was accepted with `force=true`.
        time: seconds since 1970, UTC.
        confirm: how the best are trained again, as `search.config.ConfirmConfig` names it; empty in older journals.
        packing: how trials share a GPU, as `search.packing.Packing` names it; empty where nobody measured it.
    """

    session: int
    code: str
    command_line: str
    budget: dict[str, float | int | None]
    changes: list[str]
    time: float
    confirm: dict[str, float | int] = field(default_factory=dict)
    packing: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionEnded:
    """That process ended of its own; one that was killed leaves none of these.

    Attributes:
        outcome: why the search ended.
        elapsed: seconds since the session began, by a clock that nobody sets.
        time: seconds since 1970, UTC.
    """

    outcome: str
    elapsed: float
    time: float


@dataclass(frozen=True)
class TrialStarted:
    """A trial began, or went on after a pause or a crash.

    Attributes:
        trial_id: the engine's name of the trial.
        number: position in the study, from 0.
        seed: of the training.
        params: the sampled values by target (`model.decoder.dropout`); finite.
        time: seconds since 1970, UTC.
        origin: where the setting comes from: `base`, a run of the training log, the `prior`, `trial 2 after epoch 4`
            in a population; or empty for the sampler.
        repeats: number of the trial whose setting is trained again with another seed; None for a trial of the search.
        alone: on a GPU of its own, where others share one, as it needs more memory than its share.
    """

    trial_id: str
    number: int
    seed: int
    params: dict[str, Parameter]
    time: float
    origin: str = ""
    repeats: int | None = None
    alone: bool = False


@dataclass(frozen=True)
class EpochReported:
    """A trial finished an epoch.

    Attributes:
        trial_id: a trial that has started.
        metrics: `epoch` (from 1) and the float columns of the `epochs` table; NaN where there is no number.
        checkpoint: the folder that was saved, relative to the study folder or absolute; None if none was.
        time: seconds since 1970, UTC.
        elapsed: seconds since the session began, by a clock that nobody sets.
    """

    trial_id: str
    metrics: dict[str, float]
    checkpoint: str | None
    time: float
    elapsed: float = 0.0


@dataclass(frozen=True)
class TrialEnded:
    """A trial stopped training. Until then, and from a later start on, it is `running`.

    Attributes:
        trial_id: a trial that has started.
        state: how it ended.
        message: why, for a person; may be empty.
        time: seconds since 1970, UTC.
        out_of_memory: of a GPU that it shared with others; it is to be gone on with alone.
    """

    trial_id: str
    state: EndState
    message: str
    time: float
    out_of_memory: bool = False

    def __post_init__(self) -> None:
        states = get_args(EndState)
        if self.state not in states:
            raise ValueError(f"`state` must be one of {', '.join(states)}, but got {self.state!r}")


Event: TypeAlias = SessionStarted | SessionEnded | TrialStarted | EpochReported | TrialEnded

_KINDS: dict[str, type[Event]] = {
    "session_started": SessionStarted,
    "session_ended": SessionEnded,
    "trial_started": TrialStarted,
    "epoch_reported": EpochReported,
    "trial_ended": TrialEnded,
}
_REPORT = b'{"event":"epoch_reported",'
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class Journal:
    """Appends to one journal file; a single process may do so at a time."""

    path: Path

    def append(self, event: Event) -> None:
        """Write one event, durably. The file is made with the first.

        Raises:
            ValueError: a parameter or a time that is not finite.
            OSError: the disk is full, say; the event is then not part of the journal.
        """
        line = to_line(event).encode()
        with self.path.open("ab+", buffering=0) as file:  # O_APPEND; unbuffered, so one write a line
            _remove_torn_line(file)
            end = file.seek(0, 2)
            try:
                if file.write(line) != len(line):  # where a disk has room for half a line, half a line is written
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # readers pass over half a line, too
                    file.truncate(end)
                raise


def to_line(event: Event) -> str:
    """One event as one line of strict JSON, with its newline."""
    fields = {"event": _NAMES[type(event)], **vars(event)}
    if isinstance(event, EpochReported):
        fields["metrics"] = {name: _encoded(value) for name, value in event.metrics.items()}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def read(path: Path) -> Iterator[Event]:
    """The events in the order they were appended; none if there is no file yet.

    A torn last line is passed over.

    Raises:
        StudyError: a line that is damaged; the message names the file and the line.
    """
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _parse(line)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise StudyError(
                    f"{path}, line {number}: damaged ({type(error).__name__}: {error}); "
                    "remove the line to read the rest"
                ) from None


def _parse(line: bytes) -> Event:
    loads = orjson.loads if line.startswith(_REPORT) else json.loads  # nearly all are; json knows integers of any size
    fields: dict[str, Any] = loads(line)
    kind = _KINDS[fields.pop("event")]
    if kind is EpochReported:
        metrics = fields["metrics"]
        if set(map(type, metrics.values())) != {float}:  # a look at the types spares decoding every number
            fields["metrics"] = {name: _decoded(value) for name, value in metrics.items()}
    return kind(**fields)


def _encoded(value: float) -> float | str | None:
    value = float(value)
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _decoded(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _remove_torn_line(file: BinaryIO) -> None:
    """Cut off what follows the last newline."""
    end = file.seek(0, 2)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
