"""Studies, trials and runs of the training log side by side, and which errs less: only where that can be told.

    python -m results.compare dropout-1 depth-2              the trials that two studies ended with
    python -m results.compare dropout-1/0 dropout-1/4        two trials of a study, by number or id
    python -m results.compare dropout-1 run:63 run:77        beside runs of the training log
    python -m results.compare dropout-1 depth-2 to=both.html

Each is held against the first, staff by staff (`results.comparison`). Where that would be false, the reason stands in
place of the difference. `to` is a file that ends in .html or .md; what is there already is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from datasets.command_line import HELP, check_ending, check_target, flat_fields, guarded, parse
from datasets.errors import ConfigError
from datasets.files import write_atomically
from results.comparison import Comparison, compare
from results.page.blocks import Page
from results.page.plain import markdown
from results.side_by_side import sections
from results.study import DEFAULT_LOG, DEFAULT_STUDIES

ENDINGS = (".html", ".md")
STUDY = "study="  # what names a study to other commands


@dataclass(frozen=True)
class CompareConfig:
    """Attributes.

    to: a file to write as well; its ending says how: .html or .md.
    studies: folder of the studies.
    log: the training log.
    """

    to: str = ""
    studies: str = DEFAULT_STUDIES
    log: str = str(DEFAULT_LOG)

    def __post_init__(self) -> None:
        check_ending("to", self.to, ENDINGS)


def compare_and_print(names: Sequence[str], config: CompareConfig) -> None:
    """Print the comparison of what has these names, and write it to a file if one is named."""
    target = Path(config.to)
    if config.to:
        check_target("to", target, folder=False)
        if not target.parent.exists():
            raise ConfigError(f"to={config.to}: there is no folder {target.parent}")
    comparison = compare(names, config.studies, Path(config.log))
    print(comparison)
    if config.to:
        form = to_page if target.suffix == ".html" else to_markdown
        write_atomically(target, form(comparison).encode())
        print(f"\n{target}")


def to_markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown file."""
    return f"# {_title(comparison)}\n\n{markdown(sections(comparison))}"


def to_page(comparison: Comparison) -> str:
    """The comparison as an HTML file, which needs nothing but itself."""
    from results.page.html import to_html  # what draws pages is slow to import, and not always needed

    subtitle = "Each is held against the first, on the staves that both were validated on."
    return to_html(Page(title=_title(comparison), subtitle=subtitle, sections=sections(comparison)))


def _title(comparison: Comparison) -> str:
    first, *others = (one.name for one in comparison.contestants)
    return f"{first} against {', '.join(others)}"


def command(words: Sequence[str]) -> NoReturn:
    """Compare what the words without `=` name, with the `field=value` words as fields, then exit."""

    def run() -> None:
        if HELP.intersection(words):
            fields = "\n".join(f"  {name}={value}" for name, value in flat_fields(CompareConfig()).items())
            print(f"{(__doc__ or '').strip()}\n\nfields (field=value):\n{fields}")
            return
        bare = [word.removeprefix(STUDY) for word in words if word.startswith(STUDY) or "=" not in word]
        names = [word for word in words if "=" not in word]
        if bare != names:
            raise ConfigError(f"names stand bare: python -m results.compare {' '.join(bare)}")
        compare_and_print(names, parse(CompareConfig(), [word for word in words if "=" in word]))

    guarded(run)


if __name__ == "__main__":
    command(sys.argv[1:])
