"""A page as one HTML file, which needs nothing but itself.

Charts are Vega-Lite, written with Altair and drawn by the Vega that `vl-convert-python` carries: with Vega-Lite and
its interpreter 0.9 MB, where the whole plotly.js is 4.5 MB and would fill the page by itself; Vega draws SVG, which
prints sharp and has ARIA roles. Choices:

- The file asks nobody: its content security policy forbids every request, and every script but its own, which it
  knows by their hash. Vega's expressions are interpreted, so that nothing in the page is ever evaluated as a script.
- The data stand once, column by column, whatever number of charts draw them.
- Texts come from anywhere and are escaped here; `` `code` `` in them is set as code.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup, escape

from results.page.blocks import Block, Chart, Dataset, Fold, Grid, Page, Picture, Row
from results.page.theme import DARK, LIGHT, Theme

FOLDER = Path(__file__).resolve().parent
AXIS = 36  # pixels of an axis, its labels and its title
SHORT = 28  # letters of a cell that is not broken
DIGITS = 5  # of a number that is drawn
BUNDLE = "window.vegaEmbed = vegaEmbed;"
NUMBER = re.compile(r"([-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( to )?){1,2}( (%|s|h|GB|points))?|-|")


def to_html(page: Page) -> str:
    """The file's text."""
    charts = list(_charts(block for section in page.sections for block in section.blocks))
    wanted = {name for chart in charts for name in _names(chart.spec)}
    data = {
        "themes": {name: {"colours": asdict(theme), "config": theme.config()} for name, theme in _themes().items()},
        "charts": {chart.name: {"spec": _bare(chart.spec), "large": chart.large} for chart in charts},
        "datasets": {one.name: _columns(one) for one in page.datasets if one.name in wanted},
    }
    first, scripts = _read("first.js"), [*([_bundle()] if charts else []), _read("page.js")]
    return _template().render(
        page=page,
        policy=_policy([first, *scripts]),
        style=Markup(_style()),
        first=Markup(first),
        scripts=[Markup(script) for script in scripts],
        data=Markup(_json(data)),
    )


def _themes() -> dict[str, Theme]:
    return {"light": LIGHT, "dark": DARK}


@functools.cache
def _bundle() -> str:
    """Vega, Vega-Lite and what embeds them, as one script; takes two seconds to make."""
    script: str = vl_convert.javascript_bundle(BUNDLE)
    return script.replace("</script", "<\\/script")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _style() -> str:
    dark = f"color-scheme: dark; {DARK.css()}"
    return "\n".join(
        [
            f":root {{ color-scheme: light; {LIGHT.css()} }}",
            f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}",
            f"@media screen {{ :root[data-theme=dark] {{ {dark} }} }}",
            _read("page.css"),
        ]
    )


def _policy(scripts: Iterable[str]) -> str:
    """What the browser may do with the page: run its own scripts and show what it holds.

    Engraved music brings a style of its own with each picture, so styles are not told by hash; they can ask nobody.
    """
    run = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {run}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"inline": _inline, "drawing": _drawing, "source": _source, "room": _room}
    environment.globals |= {"kind": lambda block: type(block).__name__, "look": _looks}
    return environment.get_template("page.html")


def _inline(text: str) -> Markup:
    """A text, escaped, its code as code; a number and its percent sign stay on one line."""
    return Markup(re.sub(r"`([^`]+)`", _code, re.sub(r"(?<=\d) %", "\u00a0%", str(escape(text)))))


def _code(found: re.Match[str]) -> str:
    """As code that may be broken where a name has a dot or a lower line."""
    broken = re.sub(r"([._/])", r"<wbr>\1", found[1])
    return f"<code>{broken}</code>"


def _room(chart: Chart) -> int:
    """Pixels that a chart takes at least, kept free until it is drawn: what is below does not jump."""
    height = chart.spec.get("height")
    return AXIS + (int(height) if isinstance(height, (int, float)) else 0)


def _drawing(picture: Picture) -> Markup:
    """An SVG as it is: without a declaration, which only a file of its own may have."""
    assert isinstance(picture.image, str)
    return Markup(re.sub(r"^\s*(<\?xml.*?\?>|<!DOCTYPE.*?>|\s)*", "", picture.image, flags=re.DOTALL))


def _source(picture: Picture) -> str:
    """A PNG as a `data:` address."""
    assert isinstance(picture.image, bytes)
    return f"data:image/png;base64,{base64.b64encode(picture.image).decode()}"


def _looks(grid: Grid) -> list[Markup]:
    """Of each column: numbers stand to the right, and what is short is not broken."""
    return [Markup(' class="{}"').format(name) if (name := _look(column)) else Markup() for column in _columns_of(grid)]


def _columns_of(grid: Grid) -> list[list[str]]:
    return [[row[place] for row in grid.rows] for place in range(len(grid.header))]


def _look(cells: Sequence[str]) -> str:
    if any(cells) and all(NUMBER.fullmatch(cell) for cell in cells):
        return "number"
    return "short" if max(map(len, cells), default=0) <= SHORT else ""


def _charts(blocks: Iterable[Block]) -> Iterable[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, (Fold, Row)):
            yield from _charts(block.blocks)


def _names(node: Any) -> Iterable[str]:
    """The datasets that a spec asks for."""
    if isinstance(node, Mapping):
        data = node.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("name"), str):
            yield data["name"]
        for value in node.values():
            yield from _names(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _names(value)


def _bare(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Without what Altair adds of its own look, in whose place the page's theme stands."""
    return {name: value for name, value in spec.items() if name not in ("config", "usermeta")}


def _columns(dataset: Dataset) -> dict[str, list[Any]]:
    return {name: [_plain(value) for value in column] for name, column in dataset.columns.items()}


def _plain(value: Any) -> Any:
    """As JSON has it, and no more digits than can be seen."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _json(tree: Any) -> str:
    """Strict JSON that cannot end the element that it stands in."""
    text = json.dumps(_finite(tree), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _finite(value) for name, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
