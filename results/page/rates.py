"""Where the errors are: SER by corpus, error class, length of the staff, clef and key, each with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from omr_model.metrics import Edits, ErrorClass, error_class, percent
from results.page.blocks import Block, Chart, Fold, Grid, Row
from results.page.readings import ReadStaff
from results.page.words import signature_words
from results.statistics import Interval, ser_interval

LENGTH_BINS = 4
MOST_LEVELS = 8  # of a grouping; the rarest stand together as `OTHERS`
OTHERS, NONE = "all others", "none"
ROW_HEIGHT = 26  # pixels
LEAST_WORKS = 10  # of a group that is called hard: an interval from fewer is too narrow
FAMILY_ERROR = 0.05  # that any of the groups is called hard by chance


@dataclass(frozen=True)
class Group:
    """Staves that have something in common.

    Attributes:
        name: what.
        staves, works: how many.
        edits: on all of them.
        low, high: 95 % interval of the SER (bootstrap over pieces); NaN with one work, or nothing to read.
    """

    name: str
    staves: int
    works: int
    edits: Edits
    low: float
    high: float

    @property
    def ser(self) -> str:
        """In words; a strip without music has no rate."""
        if self.edits.length:
            return percent(self.edits.rate)
        return f"{self.edits.distance / self.staves:.2f} symbols a strip"


@dataclass(frozen=True)
class Grouping:
    """The staves by one of their features, the groups in their natural order."""

    name: str
    title: str
    groups: Sequence[Group]


def rate_blocks(staves: Sequence[ReadStaff], classes: Sequence[Group], grouped: Sequence[Grouping]) -> list[Block]:
    """Charts of these staves' SER by class and by group (`by_class`, `groupings`), and the figures in a fold."""
    overall = _overall(staves)
    charts = [_group_chart(grouping, overall) for grouping in grouped if len(grouping.groups) > 1]
    return [
        _class_chart(classes),
        *([Row(blocks=charts)] if charts else []),
        Fold(title="SER by error class and group, in numbers", blocks=[_class_grid(classes), _group_grid(grouped)]),
    ]


def by_class(staves: Sequence[ReadStaff]) -> list[Group]:
    """The part of the SER that each error class makes, the largest first; they add up to the SER."""
    counts = [Counter(error_class(*edit) for edit in staff.edits) for staff in staves]
    lengths = [staff.length for staff in staves]
    works = [staff.work for staff in staves]
    parts = []
    for error in ErrorClass:
        distances = [count[error] for count in counts]
        edits = Edits(sum(distances), sum(lengths))
        parts.append(Group(str(error), len(staves), len(set(works)), edits, *ser_interval(distances, lengths, works)))
    return sorted(parts, key=lambda part: -part.edits.distance)


def groupings(staves: Sequence[ReadStaff]) -> list[Grouping]:
    """By corpus, length, first clef and first key; strips without music stand in the first alone."""
    music = [staff for staff in staves if staff.length]
    found = [
        _grouping("corpus", "SER by corpus", staves, lambda staff: staff.source),
        _by_length(music),
        _grouping("clef", "SER by clef", music, lambda staff: _first(staff, "clef")),
        _grouping("key", "SER by key signature", music, lambda staff: _first(staff, "keySignature")),
    ]
    return [grouping for grouping in found if grouping.groups]


def hard_groups(staves: Sequence[ReadStaff], grouped: Sequence[Grouping]) -> list[tuple[Grouping, Group]]:
    """The groups of these staves whose SER lies plainly above that of all of them, the highest first.

    By so many standard errors (of its interval's lower half) that chance calls one of all the groups that are looked at
    hard in 5 % of studies (Bonferroni).
    """
    compared = [(one, group) for one in grouped if len(one.groups) > 1 for group in one.groups]
    overall = _overall(staves)
    normal = NormalDist()
    stretch = normal.inv_cdf(1 - FAMILY_ERROR / max(1, len(compared))) / normal.inv_cdf(0.975)
    hard = [
        (one, group)
        for one, group in compared
        if group.works >= LEAST_WORKS and group.edits.rate - stretch * (group.edits.rate - group.low) > overall
    ]
    return sorted(hard, key=lambda found: -found[1].edits.rate)


def _overall(staves: Sequence[ReadStaff]) -> float:
    """SER of all of them."""
    return sum(staff.distance for staff in staves) / max(1, sum(staff.length for staff in staves))


def percent_range(interval: Interval, form: str) -> str:
    """An interval of fractions in a sentence with one `{}`; empty where there is no telling."""
    low, high = interval
    return "" if np.isnan(low) else form.format(f"{100 * low:.1f} to {percent(high)}")


def _grouping(
    name: str, title: str, staves: Sequence[ReadStaff], feature: Callable[[ReadStaff], str], order: Sequence[str] = ()
) -> Grouping:
    """Staves by a feature, in the given order of its values or the most frequent first."""
    counts = Counter(map(feature, staves))
    names = [level for level, _ in counts.most_common(MOST_LEVELS if len(counts) <= MOST_LEVELS else MOST_LEVELS - 1)]
    members: dict[str, list[ReadStaff]] = {level: [] for level in order or names}
    for staff in staves:
        level = feature(staff)
        members.setdefault(level if level in members else OTHERS, []).append(staff)
    return Grouping(name, title, [_group(level, part) for level, part in members.items()])


def _group(name: str, staves: Sequence[ReadStaff]) -> Group:
    distances, lengths = [staff.distance for staff in staves], [staff.length for staff in staves]
    works = [staff.work for staff in staves]
    interval = ser_interval(distances, lengths, works)
    return Group(name, len(staves), len(set(works)), Edits(sum(distances), sum(lengths)), *interval)


def _by_length(staves: Sequence[ReadStaff]) -> Grouping:
    """In at most `LENGTH_BINS` bins of about as many staves each."""
    title = "SER by length of the staff"
    lengths = [staff.length for staff in staves]
    if not lengths:
        return Grouping("length", title, [])
    ends = np.unique(np.quantile(lengths, np.arange(1, LENGTH_BINS + 1) / LENGTH_BINS, method="higher"))
    starts = [min(lengths), *(int(end) + 1 for end in ends[:-1])]
    names = [
        f"{start} symbols" if start == end else f"{start} to {end:.0f} symbols"
        for start, end in zip(starts, ends, strict=True)
    ]
    return _grouping(
        "length",
        title,
        staves,
        lambda staff: names[int(np.searchsorted(ends, staff.length))],
        names,
    )


def _first(staff: ReadStaff, kind: str) -> str:
    """A staff's first clef or key in words."""
    return next((signature_words(symbol) for symbol in staff.reference if symbol.kind == kind), NONE)


def _class_chart(classes: Sequence[Group]) -> Chart:
    made = [one for one in classes if one.edits.distance]
    told = ", ".join(f"{one.name} {one.ser}" for one in made)
    return Chart(
        name="ser-by-class",
        title="SER by error class",
        spec=_spec(classes, "bar", "part of the SER"),
        description=f"Bars that add up to the SER: {told or 'there is no error'}.",
        caption=(
            "Every error belongs to one class (that of the printed symbol; of a made-up one its own), so the bars add "
            "up to the SER. Notes are whole ones: missed, made up, or taken for something else. 95 % intervals by "
            "bootstrap over pieces."
        ),
    )


def _group_chart(grouping: Grouping, overall: float) -> Chart:
    few = any(group.works < LEAST_WORKS for group in grouping.groups)
    return Chart(
        name=f"ser-by-{grouping.name}",
        title=grouping.title,
        spec=_spec([group for group in grouping.groups if group.edits.length], "point", "SER", overall),
        description="; ".join(
            f"{group.name}: {group.ser}{percent_range((group.low, group.high), ' (95 % interval {})')}"
            for group in grouping.groups
        )
        + ".",
        caption=(
            f"{_CAPTIONS.get(grouping.name, '')}In brackets, how many staves. Dashed: the SER of all. 95 % intervals "
            f"by bootstrap over pieces{', too narrow where these are fewer than ' + str(LEAST_WORKS) if few else ''}."
        ),
    )


_CAPTIONS = {
    "length": "Printed symbols, in bins of about as many staves each. ",
    "clef": "The first of the staff. ",
    "key": "The first of the staff; a signature is named after its major key. ",
}


def _spec(groups: Sequence[Group], mark: str, title: str, overall: float | None = None) -> dict[str, Any]:
    """Rows from top to bottom: a mark at each group's SER over its interval; a line at the SER of all."""
    compared = overall is not None
    rows = [
        {
            "group": f"{group.name} ({group.staves:,})" if compared else group.name,
            "ser": group.edits.rate,
            "staves": group.staves,
            "errors": group.edits.distance,
        }
        | ({} if np.isnan(group.low) else {"low": group.low, "high": group.high})
        for group in groups
    ]
    x = {"type": "quantitative", "title": title, "axis": {"format": "%"}, "scale": {"zero": True}}
    y = {"field": "group", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260}}
    tooltip = [
        {"field": "group", "type": "nominal"},
        {"field": "ser", "type": "quantitative", "format": ".1%", "title": title},
        *({"field": end, "type": "quantitative", "format": ".1%"} for end in ("low", "high")),
        *({"field": count, "type": "quantitative"} for count in ("staves", "errors")),
    ]
    marked: dict[str, Any] = (
        {"type": "bar", "opacity": 0.6} if mark == "bar" else {"type": "point", "filled": True, "size": 70}
    )
    return {
        "data": {"values": rows},
        "width": "container",
        "height": ROW_HEIGHT * len(rows),
        "layer": [
            *([_line_at(overall, x)] if overall is not None else []),
            {"mark": marked, "encoding": {"x": x | {"field": "ser"}, "y": y, "tooltip": tooltip}},
            {"mark": {"type": "rule"}, "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}},
        ],
    }


def _line_at(rate: float, x: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"values": [{"all": rate}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.6},
        "encoding": {"x": x | {"field": "all"}},
    }


def _class_grid(classes: Sequence[Group]) -> Grid:
    total = sum(one.edits.distance for one in classes)
    return Grid(
        name="errors-by-class",
        title="Errors by class",
        header=["class", "errors", "share of all errors", "part of the SER", "95 % interval"],
        rows=[
            [
                one.name,
                f"{one.edits.distance:,}",
                percent(one.edits.distance / total) if total else "-",
                percent(one.edits.rate) if one.edits.length else "-",
                percent_range((one.low, one.high), "{}"),
            ]
            for one in classes
        ],
        caption="The parts add up to the SER; intervals by bootstrap over pieces.",
    )


def _group_grid(grouped: Sequence[Grouping]) -> Grid:
    return Grid(
        name="ser-by-group",
        title="SER by group",
        header=["by", "group", "staves", "printed symbols", "errors", "SER", "95 % interval"],
        rows=[
            [
                grouping.name,
                group.name,
                f"{group.staves:,}",
                f"{group.edits.length:,}",
                f"{group.edits.distance:,}",
                group.ser,
                percent_range((group.low, group.high), "{}"),
            ]
            for grouping in grouped
            for group in grouping.groups
        ],
        caption="Intervals by bootstrap over pieces; none where all staves of a group are of one piece.",
    )
