"""One command line for every tool: `python -m datasets.prepare data=engraved staff=full`.

A tool declares a frozen dataclass; this module fills it from `field=value` words, checks names and types with
OmegaConf, and turns every `OmrError` into one message and exit status 2. Types, defaults and help live in the
dataclass alone. (`search.run`, whose configuration is composed from YAML groups by Hydra, shares `typed` and
`main`.)
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import errno
import functools
import inspect
import os
import re
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
    UnsupportedValueType,
    ValidationError,
)

from datasets.errors import ChoiceError, ConfigError, OmrError
from datasets.field_help import field_helps, shown
from datasets.files import DISK_ERRORS

Config = TypeVar("Config")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141  # as of a program that SIGPIPE has ended
HELP = frozenset({"-h", "--help"})


def main(
    tool: Callable[[Config], None],
    default: Config | Callable[[list[str]], Config],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Run `tool` on its default with the `field=value` words of the command line laid over it, then exit.

    `--help` prints the tool's docstring and the fields.

    Args:
        default: what the words are laid over, or a function that chooses it by the words.
    """
    words = list(sys.argv[1:] if argv is None else argv)

    def run() -> None:
        fields = [word for word in words if word not in HELP]
        base: Config = default(fields) if callable(default) else default
        if fields != words:
            print(help_text(tool, base))
        else:
            tool(parse(base, fields))

    guarded(run)


def guarded(run: Callable[[], None]) -> NoReturn:
    """Call `run` and exit: 0, or 2 with one message for what a user can mend, 130 for Ctrl-C."""
    try:
        run()
        sys.stdout.flush()
    except OmrError as error:
        fail(str(error))
    except BrokenPipeError:
        if not lead_away(sys.stdout.fileno()):  # else it is another pipe, and a fault
            raise
        sys.exit(EXIT_NOBODY_READS)
    except OSError as error:
        if error.errno not in (*DISK_ERRORS, errno.EACCES):
            raise
        where = f" ({error.filename})" if error.filename else ""
        fail(f"{os.strerror(error.errno)}{where}; what was finished before is kept, and the command can be repeated")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


def lead_away(output: int) -> bool:
    """Whether whoever read an output has gone, as `| head` or a closed terminal; what is still written goes nowhere.

    Args:
        output: its file descriptor.
    """
    poll = select.poll()
    poll.register(output, 0)  # that it is broken is told unasked
    broken = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return broken


def fail(message: str) -> NoReturn:
    """Print `error: message` on standard error and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def parse(default: Config, words: Sequence[str]) -> Config:
    """Lay `field=value` words (dotted for nested fields) over a dataclass instance.

    Folders may be named as a search names them: `paths.studies=` is `studies=` where there are no `paths`.

    Raises:
        ConfigError: a word without `=`, an unknown field, or a value of the wrong type or out of range.
    """
    tree = OmegaConf.create()
    leaves = flat_fields(default)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name.startswith("-"):
            fields = ", ".join(f"{field.name}=..." for field in dataclasses.fields(default))  # type: ignore[arg-type]
            raise ConfigError(f"'{word}' is not of the form field=value; the fields are {fields}")
        if name not in leaves and (bare := name.removeprefix("paths.")) in leaves:
            name, word = bare, f"{bare}={value}"
        if isinstance(leaves.get(name), str):  # a text stays as it is typed: YAML would read 2024_05_01 as a number
            OmegaConf.update(tree, name, value)
        elif isinstance(leaves.get(name), (tuple, list)) and not value.startswith("["):  # a shell has its own brackets
            tree.merge_with_dotlist([f"{name}=[{value}]"])
        else:
            tree.merge_with_dotlist([word])
    return typed(default, tree)


def typed(default: Config, overrides: DictConfig | dict[str, Any]) -> Config:
    """Lay a configuration tree over a dataclass instance: the one place where untyped becomes typed.

    Raises:
        ConfigError: a field the dataclass does not have, or a value it does not allow.
    """
    try:
        return OmegaConf.to_object(OmegaConf.merge(_tree(_written(default)), overrides))  # type: ignore[return-value]
    except ConfigKeyError as error:
        raise ConfigError(_unknown_field(default, str(error.full_key))) from None
    except InterpolationKeyError as error:
        raise ConfigError(f"{error.full_key}: {error.msg}") from None
    except (ValidationError, UnsupportedValueType) as error:
        raise ConfigError(f"{error.full_key}: {plainly(str(error.msg).splitlines()[0])}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from None


_KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}
_NOT_CONVERTED = re.compile(r"Value '(.*?)'(?: of type '\w+')? (?:could not be converted to|is not a valid) (\w+)")


def plainly(message: str) -> str:
    """OmegaConf's words for a value that its field cannot have: `'13,7' is not a number; write 13.7`."""
    found = _NOT_CONVERTED.match(message)
    if found is None or found.group(2) not in _KINDS:
        return message
    value, kind = found.group(1), _KINDS[found.group(2)]
    better = f"; write {value.replace(',', '.')}" if re.fullmatch(r"-?\d+,\d+", value) else ""
    return f"'{value}' is not {kind}{better}"


def unlocked(default: object) -> DictConfig:
    """A dataclass instance as a typed tree that can be laid over; OmegaConf makes frozen ones read-only."""
    return copy.deepcopy(_tree(_written(default)))


@dataclasses.dataclass(frozen=True)
class _Written:
    """A dataclass instance as the key of a cache: what is written the same is the same, and mappings have no hash."""

    kind: type
    text: str
    value: object = dataclasses.field(compare=False)


def _written(value: object) -> _Written:
    return _Written(type(value), repr(value), value)


@functools.lru_cache(maxsize=64)
def _tree(default: _Written) -> DictConfig:
    """The typed tree of an instance, for nobody to change: OmegaConf takes four times as long to build as to copy."""
    tree: DictConfig = OmegaConf.structured(default.value)
    _unlock(tree)
    return tree


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise ConfigError unless `low <= value <= high`."""
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise ConfigError(f"`{name}` must be {allowed}, but got {value:g}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ChoiceError unless `value` is one of `choices`; the message names the nearest one."""
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ChoiceError(f"unknown {name} '{value}'; choose {', '.join(choices)}{hint}", choices)


def check_target(name: str, path: Path, *, folder: bool) -> None:
    """Raise ConfigError unless a folder, or else a file, can be at `path`, as far as that shows before it is written.

    Args:
        name: of the field that has it.
    """
    there = next((one for one in (path, *path.parents) if os.path.lexists(one)), path)
    if there != path or folder:
        if os.path.lexists(there) and not there.is_dir():
            raise ConfigError(f"{name}={path}: {there} is no folder")
    elif there.is_dir():
        raise ConfigError(f"{name}={path}: this is a folder; name a file")


def check_ending(name: str, value: str, endings: Sequence[str]) -> None:
    """Raise ConfigError unless a file's name, if there is one, ends in one of `endings`."""
    if value and not value.endswith(tuple(endings)):
        raise ConfigError(f"{name}={value}: the file's name must end in {' or '.join(endings)}")


def help_text(tool: Callable[..., None], default: object) -> str:
    """The tool's docstring and its fields with their defaults, with what they may be and what they are."""
    lines = [inspect.cleandoc(tool.__doc__ or ""), "", "fields (field=value):"]
    return "\n".join([*lines, *shown(list(field_helps(default)))])


def flat_fields(config: object, prefix: str = "") -> dict[str, object]:
    """Every leaf of a dataclass tree by its dotted name."""
    leaves: dict[str, object] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            leaves |= flat_fields(value, f"{name}.")
        else:
            leaves[name] = value
    return leaves


def _unknown_field(default: object, full_key: str) -> str:
    known = flat_fields(default)
    parent = full_key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent] or list(known)
    near = difflib.get_close_matches(full_key, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{full_key}: no such field; there are {', '.join(siblings)}{hint}"


def _unlock(node: Any) -> None:
    if OmegaConf.is_config(node):
        OmegaConf.set_readonly(node, False)
        for key in node if OmegaConf.is_dict(node) else ():
            if not OmegaConf.is_missing(node, key):
                _unlock(node._get_node(key))
