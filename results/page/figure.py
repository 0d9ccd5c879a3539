"""One figure of a study's page by itself, as an Altair chart: for notebooks, and to be saved as a picture.

The page draws a figure when it is opened, in the colours of the reader, out of data that stand in it once. Here it gets
its colours and its data at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from results.page.blocks import Block, Chart, Dataset, Fold, Row
from results.page.causes import fidelity_blocks, importance_blocks
from results.page.datasets import curves_data, parallel_data, trials_data
from results.page.opening import opening
from results.page.parameters import parameter_names, parameters_section
from results.page.progress import curves_section, progress_section, ranking_section
from results.page.subject import Subject
from results.page.theme import DARK, LIGHT

SECTIONS = (
    *(opening, ranking_section, progress_section, curves_section),
    *(parameters_section, importance_blocks, fidelity_blocks),
)
CONTAINER, WIDTH = "container", 640  # pixels, where the page has as many as there is room for


def charts_of(subject: Subject) -> dict[str, Chart]:
    """The figures of a study by name, in the page's order; those of single staves are not among them."""
    return {chart.name: chart for section in SECTIONS for chart in _charts(section(subject).blocks)}


def datasets_of(subject: Subject) -> list[Dataset]:
    """The rows that they draw."""
    return [trials_data(subject), curves_data(subject), parallel_data(subject, parameter_names(subject))]


def standalone(chart: Chart, datasets: Sequence[Dataset], dark: bool = False) -> alt.TopLevelMixin:
    """A figure with its colours and its data."""
    theme = DARK if dark else LIGHT
    rows = {one.name: _rows(one) for one in datasets}
    spec = _filled(chart.spec, {f"${name}": colour for name, colour in asdict(theme).items()}, rows)
    if spec.get("width") == CONTAINER:
        spec["width"] = WIDTH
    look = {"config": theme.config() | {"background": theme.paper}}
    found: alt.TopLevelMixin = alt.Chart.from_dict(
        spec | look | {"description": chart.description, "title": chart.title}
    )
    return found


def _charts(blocks: Iterable[Block]) -> Iterable[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Fold | Row):
            yield from _charts(block.blocks)


def _filled(node: Any, colours: Mapping[str, str], rows: Mapping[str, Any]) -> Any:
    """A spec with the theme's colours and the page's data in the place of their names."""
    if isinstance(node, Mapping):
        return {
            key: value if key in ("values", "datasets") else _data(value, rows) or _filled(value, colours, rows)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_filled(value, colours, rows) for value in node]
    return colours.get(node, node) if isinstance(node, str) else node


def _data(node: Any, rows: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rows, if that is what a node of the spec asks for by name."""
    named = isinstance(node, Mapping) and list(node) == ["name"] and node["name"] in rows
    return {"values": rows[node["name"]]} if named else None


def _rows(dataset: Dataset) -> list[dict[str, Any]]:
    columns = [[_finite(value) for value in column] for column in dataset.columns.values()]
    return [dict(zip(dataset.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
