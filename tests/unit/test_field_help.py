"""What `--help` says of a field."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from datasets.command_line import check_choice
from datasets.errors import ConfigError
from datasets.field_help import attribute_texts, field_helps, shown
from omr_model.config import TrainingConfig
from search.config import SearchConfig
from search.run import help_text, main


@dataclass(frozen=True)
class Base:
    """Fields of more than one tool.

    Attributes:
        root: the files. For a mixture
            a folder.
    """

    root: str = ""


@dataclass(frozen=True)
class Tool(Base):
    """Attributes.

    kind: what it is; None never.
    low, high: ends.
    parts: of it.

    Anything else is no field: it is told in words.
    """

    kind: str = "a"
    low: float | None = None
    high: float = 1.0
    parts: tuple[str, ...] = field(default=("x",))

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("a", "b"))
        for part in self.parts:
            check_choice("part", part, ("x", "y"))


def test_texts_are_those_of_the_docstrings() -> None:
    assert attribute_texts(Tool) == {
        "root": "the files. For a mixture a folder.",
        "kind": "what it is; None never.",
        "low": "ends.",
        "high": "ends.",
        "parts": "of it.",
    }


def test_what_is_allowed_is_asked_of_the_check() -> None:
    found = {one.name: one.choices for one in field_helps(Tool())}
    assert found == {"root": (), "kind": ("a", "b"), "low": (), "high": (), "parts": ("x", "y")}


def test_a_field_is_shown_with_its_default_its_choices_and_its_words() -> None:
    lines = shown(list(field_helps(Tool())))
    assert [" ".join(line.split()) for line in lines] == [
        "root= the files. For a mixture a folder.",
        "kind=a a, b; what it is; null never.",
        "low=null ends.",
        "high=1.0 ends.",
        "parts=x x, y; of it.",
    ]


@pytest.mark.parametrize("config", [SearchConfig(), TrainingConfig()])
def test_every_field_of_a_search_is_explained(config: object) -> None:
    silent = [one.name for one in field_helps(config) if not (one.text or one.choices)]
    assert set(silent) <= {"space.parameters", "space.points"}  # which a space's file fills


def test_help_of_a_group_is_that_group_alone() -> None:
    text = help_text(["disk"])
    assert "disk.reserve=1.0" in text
    assert "budget.trials" not in text
    assert "asha|" in help_text(["scheduler"])
    with pytest.raises(ConfigError, match=r"unknown group of fields 'dsik'; .*did you mean disk"):
        help_text(["dsik"])


def test_defaults_that_follow_the_preset_are_both_told() -> None:
    text = help_text()
    assert "budget.trials=50 (tiny: 8)" in text
    assert "train.epochs=25 (tiny: 9)" in text


def test_without_a_word_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("python -m search.run") == 4
