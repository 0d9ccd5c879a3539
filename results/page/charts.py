"""What the charts of a study have in common: how its trials are told apart, and its rates written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt

from results.page.subject import (
    BASE,
    BASE_AGAIN,
    BEST,
    BEST_AGAIN,
    COMPLETED,
    JUDGED,
    JUDGED_AGAIN,
    PARTS,
    STOPPED,
    Subject,
)

LARGE = 2000  # marks that are too many for SVG
PERCENT = "%"  # SER and its parts are fractions
SER = "symbol error rate"
Look: TypeAlias = Mapping[str, Any]

COLOURS: Look = {
    BEST: "$blue",
    BEST_AGAIN: "$blue",
    BASE: "$orange",
    BASE_AGAIN: "$orange",
    JUDGED: "$green",
    JUDGED_AGAIN: "$green",
    COMPLETED: "$grey",
    STOPPED: "$grey",
}
SHAPES: Look = {
    BEST: "circle",
    BEST_AGAIN: "circle",
    BASE: "square",
    BASE_AGAIN: "square",
    JUDGED: "triangle-up",
    JUDGED_AGAIN: "triangle-up",
    COMPLETED: "circle",
    STOPPED: "cross",
}
SIZES: Look = {
    BEST: 130,
    BEST_AGAIN: 50,
    BASE: 110,
    BASE_AGAIN: 45,
    JUDGED: 110,
    JUDGED_AGAIN: 45,
    COMPLETED: 60,
    STOPPED: 45,
}
DASHES: Look = {
    BEST: [1, 0],
    BEST_AGAIN: [2, 2],
    BASE: [8, 3],
    BASE_AGAIN: [2, 4],
    JUDGED: [10, 3, 2, 3],
    JUDGED_AGAIN: [4, 2, 1, 2],
    COMPLETED: [1, 0],
    STOPPED: [1, 0],
}
WIDTHS: Look = {
    BEST: 3,
    BEST_AGAIN: 1.3,
    BASE: 3,
    BASE_AGAIN: 1.3,
    JUDGED: 2.5,
    JUDGED_AGAIN: 1.3,
    COMPLETED: 1.2,
    STOPPED: 1,
}
OPACITIES: Look = {
    BEST: 1,
    BEST_AGAIN: 0.8,
    BASE: 1,
    BASE_AGAIN: 0.8,
    JUDGED: 1,
    JUDGED_AGAIN: 0.8,
    COMPLETED: 0.9,
    STOPPED: 0.65,
}


def by_part(look: Look, parts: Sequence[str]) -> alt.Scale:
    """The scale of one of the looks above, for those parts that a study has.

    By itself, Vega-Lite puts sizes and opacities between the first two of the range, and a single one nowhere (NaN).
    """
    return alt.Scale(type="ordinal", domain=parts, range=[look[part] for part in parts])


def near(padding: float = 8, of: Sequence[float] = ()) -> alt.Scale:
    """A scale that begins and ends near the data, so many pixels beyond; `of` are those of all charts that share it."""
    domain = [min(of), max(of)] if len(set(of)) > 1 else alt.Undefined
    return alt.Scale(zero=False, nice=False, padding=padding, domain=domain)


def there(parts: list[str]) -> list[str]:
    """The parts that some trials have, in the order in which they matter."""
    found = set(parts)
    return [part for part in PARTS if part in found]


def inline(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows that it alone shows."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def dumped(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart as a spec."""
    spec: dict[str, Any] = chart.to_dict()
    return spec


def short_names(targets: list[str]) -> dict[str, str]:
    """Each target by as few of its last parts as tell it from the others: `encoder.dropout`."""
    found = {}
    for target in targets:
        parts = target.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[-count:])
            if sum(other == name or other.endswith(f".{name}") for other in targets) == 1:
                break
        found[target] = name
    return found


def names_of(subject: Subject) -> dict[str, str]:
    """What each searched target is called all over the page; tooltips and tables have it in full."""
    return short_names([*subject.study.parameters])


def group_name(names: Mapping[str, str], targets: Sequence[str]) -> str:
    """Of targets that always have the same value."""
    return names[targets[0]] + (f" (and {len(targets) - 1} alike)" if targets[1:] else "")


def percent_axis() -> alt.Axis:
    """Of rates."""
    return alt.Axis(format=PERCENT)


def looks(parts: Sequence[str], *, legend: bool = True) -> dict[str, Any]:
    """How marks of trials look by their part. One legend tells colour and shape, so that neither is needed alone."""
    shown = alt.Legend(title=None) if legend else None
    return {
        "color": alt.Color("part:N", scale=by_part(COLOURS, parts), legend=shown),
        "shape": alt.Shape("part:N", scale=by_part(SHAPES, parts), legend=shown),
        "size": alt.Size("part:O", scale=by_part(SIZES, parts), legend=shown),
        "opacity": alt.Opacity("part:O", scale=by_part(OPACITIES, parts), legend=shown),
    }


def trial_tooltip() -> list[alt.Tooltip]:
    """What is said of a trial that is pointed at."""
    return [
        alt.Tooltip("trial:N"),
        alt.Tooltip("part:N", title="is"),
        alt.Tooltip("state:N"),
        alt.Tooltip("epochs:Q"),
        alt.Tooltip("ser:Q", title="SER", format=".2%"),
        alt.Tooltip("low:Q", title="from", format=".2%"),
        alt.Tooltip("high:Q", title="to", format=".2%"),
    ]
