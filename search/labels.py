"""How a trial is called where people see it: `0007 dropout=0.1 depth=6`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 100  # characters; a folder has that name, too


def short_names(targets: Sequence[str]) -> dict[str, str]:
    """The targets without what they all begin with."""
    distinct = list(dict.fromkeys(targets))
    common = min((target.count(".") for target in distinct), default=0)
    skip = 0
    while skip < common and len({target.split(".")[skip] for target in distinct}) == 1:
        skip += 1
    return {target: ".".join(target.split(".")[skip:]) for target in distinct}


def value_text(value: Any) -> str:
    """A value as it is read."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """`decoder.dropout 0.1  encoder.depth 6`."""
    names = short_names(list(settings))
    return "  ".join(f"{name} {value_text(settings[target])}" for target, name in names.items())


def trial_label(number: int, settings: Mapping[str, Any]) -> str:
    """A trial's number and settings in one line that can be a file's name."""
    values = (f"{last_name(target, settings)}={value_text(value)}" for target, value in settings.items())
    text = " ".join([f"{number:04d}", *values]).replace("/", "-")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def last_name(target: str, others: Iterable[str]) -> str:
    """The last parts of a target, as many as tell it from all others."""
    parts = target.split(".")
    ends = (".".join(parts[-count:]) for count in range(1, len(parts)))
    return next((end for end in ends if sum(f".{one}".endswith(f".{end}") for one in others) == 1), target)
