"""The Markdown of `results.report_sections` as blocks of the page, so that both say the same in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from results.page.blocks import Block, Fold, Grid, Points, Prose

MOST_ROWS, MOST_FOLDED = 30, 500  # of a table that are seen at once; that are there at all


def to_blocks(text: str, name: str, title: str, file: str = "trials.parquet") -> list[Block]:
    """Paragraphs, points and tables in their order.

    Args:
        text: as `results.report_sections` writes it: paragraphs, tables, points and headings of the third level.
        name, title: of the first table; a heading above one gives its title.
        file: where all rows of a table are that is too long for a page.
    """
    blocks: list[Block] = []
    tables = 0
    for part in filter(None, (part.strip() for part in text.split("\n\n"))):
        if part.startswith("### "):
            title = part.removeprefix("### ")
        elif part.startswith("|"):
            tables += 1
            blocks += _tables(part, name if tables == 1 else f"{name}-{tables}", title, file)
        elif part.startswith("- "):
            blocks.append(Points(points=[line.removeprefix("- ") for line in part.splitlines()]))
        else:
            blocks.append(Prose(paragraphs=[part]))
    return blocks


def _tables(part: str, name: str, title: str, file: str) -> Iterator[Block]:
    header, _, *rows = [_cells(line) for line in part.splitlines()]
    yield Grid(name=name, title=title, header=header, rows=rows[:MOST_ROWS])
    more = rows[MOST_ROWS:MOST_FOLDED]
    if more:
        left = len(rows) - MOST_FOLDED
        caption = f"{left} more are in `reports/{file}` of the study." if left > 0 else ""
        rest = Grid(name=f"{name}-more", title=f"{title}, the rest", header=header, rows=more, caption=caption)
        yield Fold(title=f"{len(more)} more rows", blocks=[rest])


def _cells(line: str) -> list[str]:
    """The cells of a row; the inverse of what `results.report_sections.table` does to them."""
    inner = line.removeprefix("|").removesuffix("|")
    cells = re.split(r"(?<!\\)\|", inner)
    return [cell.strip().replace("\\|", "|").replace("&lt;", "<") for cell in cells]
