"""What a page is made of: sections of blocks, which know nothing of HTML.

Whoever has something to say builds these out of tables; `results.page.html` alone turns them into a file. Texts are
plain: they come from anywhere (names of studies, errors of libraries) and are escaped there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Prose:
    """Paragraphs."""

    paragraphs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Points:
    """A list, a point each."""

    points: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        name: of its anchor, unique in the page: lower case, digits and hyphens.
        title: above it.
        header: of each column.
        rows: of texts; a column of which all cells are numbers stands right-aligned.
        caption: what one has to know to read it.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A Vega-Lite figure.

    Attributes:
        name, title, caption: as of a `Grid`.
        spec: as JSON, without colours of its own where the page's theme has them.
        description: what it shows, for those who cannot see it.
    """

    name: str
    title: str
    spec: Mapping[str, Any]
    description: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image: an SVG as text, whose ink is `currentColor`, or the bytes of a PNG.

    Attributes:
        name, title, caption: as of a `Grid`.
        image: what is shown.
        description: what it shows, for those who cannot see it.
    """

    name: str
    title: str
    image: str | bytes
    description: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Blocks behind one line, shut until somebody opens it."""

    title: str
    blocks: Sequence[Block]


Block: TypeAlias = Prose | Points | Grid | Chart | Picture | Fold


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]
