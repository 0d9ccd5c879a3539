"""What `--help` says of the fields of a dataclass: default, what is allowed, and its words in the docstring.

Nothing is written twice: the words are the dataclass's `Attributes`, and what is allowed is asked of its own check
(`check_choice`), by offering that a value that nobody would choose.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping

from datasets.errors import ChoiceError, OmrError

NOT_A_CHOICE = "?"
COLUMN, WIDEST, NARROWEST = 44, 130, 80
_SECTION = re.compile(r"^Attributes[:.]?$", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)")


@dataclasses.dataclass(frozen=True)
class FieldHelp:
    """A field, as a command line takes it.

    Attributes:
        name: with dots.
        value: its default, as it is typed.
        choices: what it may be; nothing where that is no list.
        text: what it is, in words.
    """

    name: str
    value: str
    choices: tuple[str, ...]
    text: str


def field_helps(config: object, prefix: str = "") -> Iterator[FieldHelp]:
    """Every leaf of a dataclass tree."""
    texts = attribute_texts(type(config))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from field_helps(value, f"{name}.")
        else:
            yield FieldHelp(name, as_typed(value), choices_of(config, field.name), texts.get(field.name, ""))


def attribute_texts(kind: type) -> dict[str, str]:
    """What the `Attributes` of a class and of those that it is made of say, by field."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        docstring = inspect.cleandoc(one.__doc__ or "")
        section = _SECTION.search(docstring)
        if section is not None:
            texts |= _entries(textwrap.dedent(docstring[section.end() :].strip("\n")))
    return texts


def _entries(section: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        entry = _ENTRY.match(line)
        if entry is not None:
            names = entry.group(1).split(", ")
            texts |= dict.fromkeys(names, entry.group(2))
        elif line.startswith(" "):
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
        elif line:
            break
    return texts


def choices_of(config: object, name: str) -> tuple[str, ...]:
    """What a field of text, or of texts, may be."""
    value = getattr(config, name)
    if not isinstance(value, (str, tuple, list)):
        return ()
    wrong = NOT_A_CHOICE if isinstance(value, str) else type(value)([NOT_A_CHOICE])
    try:
        dataclasses.replace(config, **{name: wrong})  # type: ignore[type-var]
    except ChoiceError as error:
        return error.choices
    except (OmrError, TypeError, ValueError):  # numbers, or a check that is no choice
        pass
    return ()


def as_typed(value: object) -> str:
    """A default as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def shown(fields: list[FieldHelp], values: Mapping[str, str] | None = None) -> list[str]:
    """Fields in two columns: `name=default`, then what is allowed and what it is.

    Args:
        values: what to say in place of a field's default, where there is more than one.
    """
    width = min(max(shutil.get_terminal_size((WIDEST, 0)).columns, NARROWEST), WIDEST)
    lines = []
    for field in fields:
        left = f"  {field.name}={(values or {}).get(field.name, field.value)}"
        choices = ", ".join(choice or '""' for choice in field.choices)
        text = "; ".join(part for part in (choices, re.sub(r"\bNone\b", "null", field.text)) if part)
        right = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False) or [""]
        if len(left) >= COLUMN - 1 and text:
            lines.append(left)
            left = ""
        lines.append(f"{left:<{COLUMN}}{right[0]}".rstrip())
        lines += [f"{'':<{COLUMN}}{line}" for line in right[1:]]
    return lines
