"""Every field of a search, with its defaults and its meaning, as the page `docs/reference/configuration.md`.

    python -m search.reference                                      prints it
    python -m search.reference to=docs/reference/configuration.md   writes it

The texts are those of the dataclasses' docstrings; the defaults are composed as a command line is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

from datasets.command_line import check_ending, check_target, main
from datasets.field_help import FieldHelp, attribute_texts, field_helps
from datasets.files import write_atomically
from search.compose import compose
from search.config import ParameterConfig, SearchConfig

ROOT = Path(__file__).parents[1]
WITH_CUDA, WITHOUT = "paper", "tiny"
"""The presets that a machine with a CUDA GPU takes by itself, and one without."""

PAGE = f"""# Configuration

Every field of a search, as `field=value` on the command line of `python -m search.run`. Those of `model`, `loss`,
`optimizer` and `train` are fields of `python -m omr_model.train`, too, and can be searched. `null` is no value.

Two columns of defaults: with a CUDA GPU a search takes `model={WITH_CUDA}`, without one `model={WITHOUT}`; an empty
second column means the same. What a choice such as `sampler=grid` sets is in `search/conf/`.

<!-- Written by `python -m search.reference to=docs/reference/configuration.md`; a test holds it against the code. -->
"""


def as_markdown() -> str:
    """The page."""
    other = {field.name: _default(field) for field in _leaves(WITHOUT)}
    grouped = groupby(sorted(_leaves(WITH_CUDA), key=_place), _group)
    parts = [PAGE, *(_section(name, leaves, other) for name, leaves in grouped), _of_a_parameter()]
    return "\n".join(parts)


def _leaves(preset: str) -> list[FieldHelp]:
    """The fields with the defaults of a preset; those of the space depend on `space=`."""
    config = compose([f"model={preset}"])
    return [field for field in field_helps(config) if not field.name.startswith("space.")]


def _group(field: FieldHelp) -> str:
    """The heading that a field is under: its first part, and two of them under `model` and `train`."""
    parts = field.name.split(".")[:-1]
    return ".".join(parts[:2])


def _place(field: FieldHelp) -> tuple[int, str]:
    """The whole search first, then what a person sets most often, then the training."""
    order = ("", *(one.name for one in fields(SearchConfig)[4:]), *(one.name for one in fields(SearchConfig)[:4]))
    group = _group(field)
    return order.index(group.partition(".")[0]), group


def _section(name: str, leaves: Iterable[FieldHelp], other: dict[str, str]) -> str:
    rows = [_row(field, other[field.name]) for field in leaves]
    head = [f"## {name or 'The search'}", "", f"| field | `{WITH_CUDA}` | `{WITHOUT}` | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _row(field: FieldHelp, other: str) -> str:
    default = _default(field)
    choices = ", ".join(f"`{choice}`" for choice in field.choices if choice)
    meaning = "; ".join(part for part in (choices, field.text) if part)
    return f"| `{field.name}` | {default} | {other if other != default else ''} | {_cell(meaning)} |"


def _default(field: FieldHelp) -> str:
    """A default in backticks; a folder of the checkout is written from there, and an empty one is left out."""
    typed = field.value.removeprefix(f"{ROOT}/")
    return f"`{typed}`" if typed not in ("", "{}") else ""


def _cell(text: str) -> str:
    """A text as a command line would say it, and safe in a table."""
    return re.sub(r"\bNone\b", "`null`", text).replace("|", "\\|")


def _of_a_parameter() -> str:
    about = inspect.cleandoc(ParameterConfig.__doc__ or "").splitlines()[0]
    rows = [f"| `{name}` | {_cell(text)} |" for name, text in attribute_texts(ParameterConfig).items()]
    return "\n".join(["## space.parameters.NAME", "", about, "", "| field | meaning |", "|---|---|", *rows, ""])


@dataclass(frozen=True)
class ReferenceConfig:
    """Where the page goes.

    Attributes:
        to: a Markdown file to write; printed if empty.
    """

    to: str = ""

    def __post_init__(self) -> None:
        check_ending("to", self.to, [".md"])


def write(config: ReferenceConfig) -> None:
    """Write the page on the fields of a search, or print it."""
    if not config.to:
        print(as_markdown(), end="")
        return
    to = Path(config.to)
    check_target("to", to, folder=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, as_markdown().encode())
    print(to)


if __name__ == "__main__":
    main(write, ReferenceConfig())
