"""What README and the documentation tell people to run, taken out of them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.commands import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0]}"


def snippets(language: str) -> list[Snippet]:
    """The blocks of a language, over all pages."""
    found = (Snippet(page, *match) for page in PAGES for match in FENCE.findall(page.read_text(encoding="utf-8")))
    return [snippet for snippet in found if snippet.language == language]


def shell_lines() -> list[str]:
    """Every line of shell, once: README's, which are indented, and those of the pages."""
    of_readme = [line.strip() for line in README.splitlines() if line.startswith("    python -m ")]
    of_pages = [line.partition("  #")[0].strip() for snippet in snippets("sh") for line in snippet.text.splitlines()]
    return list(dict.fromkeys(line for line in (*of_readme, *of_pages) if line))


COMMANDS = [shlex.split(line) for line in shell_lines() if line.startswith("python -m ")]
OTHERS = [shlex.split(line) for line in shell_lines() if not line.startswith("python -m ")]


def commands(module: str) -> list[list[str]]:
    """The words of every documented command of a module."""
    return [words[3:] for words in COMMANDS if words[2] == module]
