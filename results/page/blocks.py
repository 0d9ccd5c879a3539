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
        spec: as JSON, without colours of its own where the page's theme has them: `"$blue"` is the theme's blue
            (`results.page.theme.Theme`). Data of the page are `{"name": ...}` of a `Dataset`.
        description: what it shows, for those who cannot see it.
        large: thousands of marks: drawn as pixels, which opens sooner, where others are drawn as SVG.
    """

    name: str
    title: str
    spec: Mapping[str, Any]
    description: str
    caption: str = ""
    large: bool = False


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


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One number that is read at a glance; `note` says in a few words what it is of."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyFigures:
    """Several of them."""

    figures: Sequence[KeyFigure]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Text as it was written, line by line; `title` is said to those who cannot see where it stands."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Figures side by side, as many as there is room for."""

    blocks: Sequence[Block]


Block: TypeAlias = Prose | Points | Grid | Chart | Picture | Fold | KeyFigures | Listing | Row


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows that several charts draw, and that stand in the page once.

    Attributes:
        name: by which specs ask for it.
        columns: their names and values, all of one length; what is no finite number becomes null.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a file shows: `title` and `subtitle` above all, then the sections; `datasets` are those of its charts."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    datasets: Sequence[Dataset] = ()
