"""Sections of words and tables where there is no page: in a terminal, in Markdown, in a notebook's cell.

Figures have no plain form.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import zip_longest

from results.page.blocks import Block, Grid, Points, Prose, Section
from results.report_sections import table

WIDTH, LEAST_CELL = 118, 16  # of a terminal's lines, and of a cell that is broken between words
GAP = "  "
CELL = "text-align: left; padding: 0.2em 1em 0.2em 0"
LINE = "border-bottom: 1px solid rgba(128, 128, 128, 0.4)"
"""A grey that shows on white and on black: who reads a notebook in the dark has set so there."""


def text(sections: Sequence[Section]) -> str:
    """For a terminal: tables aligned, no line much longer than `WIDTH` but for tables of many columns."""
    return _joined(sections, _lines, lambda title: f"{title}\n{'=' * len(title)}")


def markdown(sections: Sequence[Section]) -> str:
    """As Markdown; no markup of a name gets out of it."""
    return _joined(sections, _markdown, lambda title: f"## {_inert(title)}") + "\n"


def fragment(sections: Sequence[Section]) -> str:
    """As HTML without colours of its own, for a notebook's cell."""
    return "".join(f"<div><p><b>{escape(one.title)}</b></p>{''.join(map(_html, one.blocks))}</div>" for one in sections)


def _joined(sections: Sequence[Section], form: Callable[[Block], str], heading: Callable[[str], str]) -> str:
    return "\n\n".join(part for one in sections for part in [heading(one.title), *map(form, one.blocks)])


def _lines(block: Block) -> str:
    if isinstance(block, Prose):
        return "\n\n".join(map(_wrapped, block.paragraphs))
    if isinstance(block, Points):
        return "\n".join(_wrapped(f"- {point}", "  ") for point in block.points)
    grid = _grid(block)
    return "\n".join([*_aligned([grid.header, *grid.rows]), *([_wrapped(grid.caption)] if grid.caption else [])])


def _wrapped(words: str, indent: str = "") -> str:
    return textwrap.fill(words, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first row is the header; long cells are broken."""
    width = max(LEAST_CELL, WIDTH // len(rows[0]) - len(GAP))
    broken = [
        [textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""] for cell in row]
        for row in rows
    ]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*broken, strict=True)]
    for number, row in enumerate(broken):
        for cells in zip_longest(*row, fillvalue=""):
            yield GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        if number == 0:
            yield GAP.join("-" * width for width in widths)


def _markdown(block: Block) -> str:
    if isinstance(block, Prose):
        return "\n\n".join(map(_inert, block.paragraphs))
    if isinstance(block, Points):
        return "\n".join(f"- {_inert(point)}" for point in block.points)
    grid = _grid(block)
    return "\n\n".join([table(grid.header, grid.rows), *([_inert(grid.caption)] if grid.caption else [])])


def _inert(words: str) -> str:
    """Words in which nothing is markup but `code`."""
    parts = re.split(r"(`[^`]*`)", words)
    return "".join(part if number % 2 else re.sub(r"([\\*_\[\]<])", r"\\\1", part) for number, part in enumerate(parts))


def _html(block: Block) -> str:
    if isinstance(block, Prose):
        return "".join(f"<p>{escape(words)}</p>" for words in block.paragraphs)
    if isinstance(block, Points):
        return f"<ul>{''.join(f'<li>{escape(words)}</li>' for words in block.points)}</ul>"
    grid = _grid(block)
    head = "".join(f'<th scope="col" style="{CELL}; {LINE}">{escape(cell)}</th>' for cell in grid.header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in grid.rows)
    note = f"<p>{escape(grid.caption)}</p>" if grid.caption else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _cell(words: str) -> str:
    return f'<td style="{CELL}">{escape(words)}</td>'


def _grid(block: Block) -> Grid:
    if not isinstance(block, Grid):
        raise TypeError(f"a {type(block).__name__} has no plain form")
    return block
