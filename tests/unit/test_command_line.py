"""The one command line: words into typed fields, mistakes into one message."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datasets.command_line import (
    check_choice,
    check_range,
    check_target,
    fail,
    flat_fields,
    guarded,
    help_text,
    main,
    parse,
)
from datasets.errors import ConfigError, CorpusError


@dataclass(frozen=True)
class Inner:
    depth: int = 4
    rate: float = 0.1


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    count: int | None = None
    fast: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count is not None:
            check_range("count", self.count, 1)


def test_words_are_laid_over_the_defaults() -> None:
    config = parse(Outer(), ["count=3", "inner.rate=0.5", "fast=true"])
    assert config == Outer(count=3, fast=True, inner=Inner(rate=0.5))
    assert type(config.inner) is Inner


def test_a_folder_may_be_named_as_a_search_names_it() -> None:
    assert parse(Outer(), ["paths.name=/shared/x"]) == Outer(name="/shared/x")
    with pytest.raises(ConfigError, match="paths"):
        parse(Outer(), ["paths.nam=/shared/x"])


@dataclass(frozen=True)
class Listed:
    names: tuple[str, ...] = ("x", "y")
    counts: tuple[int, ...] = (1,)


@pytest.mark.parametrize("word", ["names=a,b", "names=[a,b]", "names=[a, b]"])
def test_a_list_needs_no_brackets(word: str) -> None:
    assert list(parse(Listed(), [word]).names) == ["a", "b"]
    assert list(parse(Listed(), ["names=a"]).names) == ["a"]
    assert list(parse(Listed(), ["counts=2,3"]).counts) == [2, 3]
    assert list(parse(Listed(), ["names="]).names) == []


def test_a_list_is_shown_as_it_is_typed() -> None:
    assert "  names=x,y" in help_text(check_range, Listed())


@pytest.mark.parametrize(
    ("path", "folder", "message"),
    [
        ("file", True, "to=.*file: .*file is no folder"),
        ("file/a/b", True, "to=.*file/a/b: .*file is no folder"),
        ("file/a", False, "to=.*file/a: .*file is no folder"),
        ("folder", False, "to=.*folder: this is a folder; name a file"),
        ("file", False, ""),
        ("folder", True, ""),
        ("folder/a/b", True, ""),
        ("folder/a", False, ""),
    ],
)
def test_a_target_can_be_there_or_is_refused(tmp_path: Path, path: str, folder: bool, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=message) if message else nullcontext():
        check_target("to", tmp_path / path, folder=folder)


def test_no_words_leave_the_defaults() -> None:
    assert parse(Outer(name="b"), []) == Outer(name="b")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--count", "'--count' is not of the form field=value; the fields are name="),
        ("count", "'count' is not of the form field=value"),
        ("cuont=3", r"cuont: no such field; there are name, count, .* \(did you mean count\?\)"),
        ("inner.dept=3", r"inner\.dept: no such field; .*did you mean inner\.depth"),
        ("count=many", "count: 'many' is not a whole number$"),
        ("inner.rate=fast", r"inner\.rate: 'fast' is not a number$"),
        ("inner.rate=13,7", r"inner\.rate: '13,7' is not a number; write 13\.7$"),
        ("fast=perhaps", "fast: 'perhaps' is not true or false$"),
        ("count=0", "`count` must be at least 1, but got 0"),
    ],
)
def test_a_wrong_word_is_named_with_what_is_allowed(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Outer(), [word])


def test_ranges_say_both_ends() -> None:
    check_range("rate", 0.5, 0, 1)
    with pytest.raises(ConfigError, match=r"`rate` must be between 0 and 1, but got 1\.5"):
        check_range("rate", 1.5, 0, 1)


def test_choices_name_the_nearest() -> None:
    check_choice("space", "depth", ["depth", "dropout"])
    with pytest.raises(ConfigError, match=r"unknown space 'dropoot'; choose depth, dropout \(did you mean dropout\?\)"):
        check_choice("space", "dropoot", ["depth", "dropout"])


def test_fields_are_flat_with_dots() -> None:
    assert list(flat_fields(Outer())) == ["name", "count", "fast", "inner.depth", "inner.rate"]


def tool(config: Outer) -> None:
    """Say the name."""
    print(f"name {config.name}")


def test_main_runs_the_tool_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(tool, Outer(), ["name=x"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == "name x\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_the_docstring_and_the_defaults(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(tool, Outer(), [flag])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip() == help_text(tool, Outer())
    assert "  inner.depth=4" in help_text(tool, Outer())


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CorpusError("no corpus"), 2, "error: no corpus\n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b"), 2, "error: No space left on device (a/b); what was"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), 2, "error: Permission denied; what was"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        guarded(lambda: raise_(error))
    assert exit_.value.code == code
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("error", [ArithmeticError("ours"), OSError(errno.EBADF, "ours")])
def test_a_fault_of_ours_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error), match="ours"):
        guarded(lambda: raise_(error))


def test_failing_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        fail("wrong")
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: wrong\n"


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    code = "from datasets.command_line import guarded; guarded(lambda: [print('x' * 1000) for _ in range(1000)])"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
