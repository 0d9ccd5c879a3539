"""Each searched parameter against SER: alone, at its best over the nuisance parameters, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from omr_model.metrics import percent
from results.page.blocks import Block, Chart, Fold, Prose, Row, Section
from results.page.charts import (
    COLOURS,
    DASHES,
    LARGE,
    SER,
    WIDTHS,
    by_part,
    dumped,
    group_name,
    inline,
    looks,
    names_of,
    near,
    percent_axis,
    there,
    trial_tooltip,
)
from results.page.datasets import (
    MOST_CURVES,
    MOST_MARKS,
    PARALLEL,
    SER_AXIS,
    TRIALS,
    compared_trials,
    is_number,
    left_out,
)
from results.page.markdown import to_blocks
from results.page.subject import BASE, BEST, JUDGED, Subject
from results.ranking import RankedTrial, base
from results.report_sections import scientific
from results.roles import NUISANCE, Effect, Level, effects, in_thirds, value_text, with_role

MOST_SHOWN = 12  # parameters whose plots are seen at once
NAMED = (BEST, BASE, JUDGED)


def parameter_names(subject: Subject) -> list[str]:
    """Of `subject.parameters`, short, and how many others always have the same value."""
    names = names_of(subject)
    return [group_name(names, targets) for targets in subject.parameters]


def parameters_section(subject: Subject) -> Section:
    """What each parameter did to the SER."""
    if not subject.parameters or not subject.scored:
        text = "No parameter was searched over yet, so there is nothing to compare."
        return Section(name="parameters", title="Parameters", blocks=[Prose(paragraphs=[text])])
    parts = there([subject.part(trial) for trial in subject.scored])
    plots = [_axis(subject, place, name, parts) for place, name in enumerate(parameter_names(subject))]
    text = (
        "A mark is a trial, at the SER where it ended or is now. Trials that were not trained to the end (crosses) are "
        "shown at the epoch that they reached, so they cannot be compared with the others. A sampler that learns tries "
        "good regions more often and moves parameters together: what looks like one's effect may be another's. All "
        "plots have the same axis of SER, which does not begin at 0."
    )
    blocks: list[Block] = [
        Prose(paragraphs=[text, left_out(subject, MOST_MARKS)]),
        Row(blocks=plots[:MOST_SHOWN]),
        *([Fold(title="More parameters", blocks=[Row(blocks=plots[MOST_SHOWN:])])] if plots[MOST_SHOWN:] else []),
        *_best_over_nuisances(subject),
        *_parallel(subject),
    ]
    return Section(name="parameters", title="Parameters", blocks=blocks)


def _axis(subject: Subject, place: int, name: str, parts: list[str]) -> Chart:
    target = subject.parameters[place][0]
    values: list[Any] = [trial.params.get(target) for trial in subject.own]
    told = [value for value in values if value is not None]
    numeric = all(map(is_number, told))
    drawn_from = in_thirds(subject.study, target, 1)
    log = drawn_from is not None and drawn_from.log and all(is_number(value) and value > 0 for value in told)
    field = f"value_{place}"
    x = (
        alt.X(f"{field}:Q", title=name, scale=alt.Scale(type="log", nice=False, padding=8) if log else near())
        if numeric
        else alt.X(f"{field}:N", title=name, axis=alt.Axis(labelAngle=0))
    )
    rates = [trial.ser for trial in subject.scored if trial.ser is not None]
    y = alt.Y("ser:Q", title=SER, axis=percent_axis(), scale=near(of=rates))
    marks = (
        alt.Chart(alt.NamedData(TRIALS))
        .transform_filter(f"!datum.again && isValid(datum.{field}) && isValid(datum.ser)")
        .mark_point()
        .encode(
            x=x,
            y=y,
            **looks(parts, legend=place == 0),
            tooltip=[*trial_tooltip(), alt.Tooltip(f"{field}:{'Q' if numeric else 'N'}", title=target)],
        )
    )
    unused = len(values) - len(told)
    return Chart(
        name=f"parameter-{place + 1}",
        title=name,
        spec=dumped(marks.properties(width="container", height=220)),
        description=f"SER of each trial against its value of {target}.",
        caption=f"{unused} trials do not use it." if unused else "",
        large=len(values) > LARGE,
    )


def _best_over_nuisances(subject: Subject) -> list[Block]:
    """What each value of each scientific parameter can reach."""
    found = effects(subject.study, subject.ranking)
    told = [effect for effect in found if sum(bool(level.comparable) for level in effect.levels) > 1]
    if not told:
        return []
    nuisances = with_role(subject.study, NUISANCE)
    reached = [end for effect in told for level in effect.levels for end in _ends_of_best(level)]
    names = names_of(subject)
    charts = [_effect(effect, place, names, near(10, reached)) for place, effect in enumerate(told, start=1)]
    over = "over the nuisance parameters" if nuisances else "over all else that was searched"
    table = to_blocks(scientific(subject.study, subject.ranking), "best-over", "Scientific parameters")
    intro = Prose(
        paragraphs=[
            f"The scientific parameters, each value at its best {over}: the lowest SER among the trials that had it "
            "and were trained to the end (so many in brackets), with the interval of that one trial. A value that was "
            "tried more often had more chances, and one trial may stand for several values: rows that lie close are "
            "not separable here."
        ]
    )
    return [intro, Row(blocks=charts), Fold(title="The same as tables", blocks=table)]


def _ends_of_best(level: Level) -> list[float]:
    best = level.comparable[:1]
    return [end for one in best for end in (one.ser, one.ser_low, one.ser_high) if end is not None]


def _effect(effect: Effect, place: int, names: Mapping[str, str], scale: alt.Scale) -> Chart:
    rows: list[dict[str, Any]] = []
    for level in effect.levels:
        if level.comparable:
            best = level.comparable[0]
            mark = ", base" if base(level.trials) is not None else ""
            name = f"{level.name}{mark} ({len(level.comparable)})"
            ends = {"ser": best.ser, "low": best.ser_low, "high": best.ser_high}
            rows.append({"level": name, "trial": best.number, "of": len(level.comparable), **ends})
    data = inline(rows).encode(y=alt.Y("level:N", title=None, sort=None))
    title = "best SER, 95 % interval"
    tooltip = [
        alt.Tooltip("level:N", title=", ".join(effect.targets)),
        alt.Tooltip("trial:Q"),
        alt.Tooltip("of:Q", title="trials to the end"),
        alt.Tooltip("ser:Q", title="SER", format=".2%"),
    ]
    chart = alt.layer(
        data.mark_rule(strokeWidth=3, opacity=0.55, strokeCap="round", color="$blue").encode(
            x=alt.X("low:Q", title=title, axis=percent_axis(), scale=scale), x2="high:Q"
        ),
        data.mark_point(size=80, opacity=1).encode(x=alt.X("ser:Q", title=title), tooltip=tooltip),
    )
    told = "; ".join(f"{row['level']}: {100 * row['ser']:.1f} %" for row in rows)
    return Chart(
        name=f"best-of-{place}",
        title=", ".join(names[target] for target in effect.targets),
        spec=dumped(chart.properties(width="container", height=26 * len(rows))),
        description=f"The lowest SER that each value of {', '.join(effect.targets)} reached: {told}.",
    )


def _parallel(subject: Subject) -> list[Block]:
    """All parameters at once, a line a trial; two of both at the least."""
    drawn = compared_trials(subject)
    if len(subject.parameters) < 2 or len(drawn) < 2:
        return []
    names = [*parameter_names(subject), SER_AXIS]
    lines = alt.Chart(alt.NamedData(PARALLEL)).transform_filter("isValid(datum.place)").encode(**_across(names))
    shown = [part for part in there([subject.part(trial) for trial in drawn]) if part in NAMED]
    layers = [_crowd(lines, drawn), *([_named(lines, shown)] if shown else []), *_end_labels(subject, names)]
    chart = alt.layer(*layers).resolve_scale(color="independent").properties(width="container", height=320)
    caption = (
        "A line is a trial that was trained to the end; each axis runs from the least value that was tried (bottom) to "
        "the greatest, on the scale that it was searched on; a line skips what its trial does not use. "
    )
    return [
        Chart(
            name="parallel",
            title="All parameters together",
            spec=dumped(chart),
            description=f"Parallel coordinates of {len(drawn)} trials over {', '.join(names)}, coloured by SER.",
            caption=caption + left_out(subject, MOST_CURVES),
            large=len(drawn) > 100,
        )
    ]


def _across(names: Sequence[str]) -> dict[str, Any]:
    """The axes, one beside the other."""
    axis = alt.Axis(labelAngle=-30, grid=True, labelLimit=220, labelOverlap=False, labelPadding=18, domain=False)
    return {
        "x": alt.X("axis:N", title=None, sort=names, axis=axis, scale=alt.Scale(type="point", padding=0.3)),
        "y": alt.Y("place:Q", title=None, axis=None, scale=alt.Scale(domain=[-0.05, 1.05], nice=False)),
    }


def _of_a_trial() -> dict[str, Any]:
    """What makes rows the line of a trial, and what is said of it."""
    tooltip = [
        alt.Tooltip("number:Q", title="trial", format="d"),
        alt.Tooltip("part:N", title="is"),
        alt.Tooltip("axis:N", title="parameter"),
        alt.Tooltip("value:N"),
        alt.Tooltip("ser:Q", title="SER", format=".2%"),
    ]
    return {"detail": ["number:N"], "order": "order:Q", "tooltip": tooltip}


def _crowd(lines: alt.Chart, drawn: Sequence[RankedTrial]) -> alt.Chart:
    """The trials that have no name, by their SER."""
    rates = [trial.ser for trial in drawn if trial.ser is not None]
    colour = alt.Color(
        "ser:Q",
        title=SER,
        scale=alt.Scale(domain=[min(rates), max(rates)], range=["$ink", "$grey"], interpolate="rgb"),
        legend=alt.Legend(format="%", gradientLength=160),
    )
    crowd: alt.Chart = (
        lines.transform_filter(_one_of(NAMED, inverse=True))
        .mark_line(strokeWidth=1.1)
        .encode(**_of_a_trial(), opacity=alt.value(0.8 if len(drawn) < 40 else 0.45), color=colour)
    )
    return crowd


def _named(lines: alt.Chart, parts: Sequence[str]) -> alt.Chart:
    """The trials that have one, each in its own look."""
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=300)
    named: alt.Chart = (
        lines.transform_filter(_one_of(NAMED))
        .mark_line()
        .encode(
            **_of_a_trial(),
            stroke=alt.Stroke("part:N", scale=by_part(COLOURS, parts), legend=legend),
            strokeDash=alt.StrokeDash("part:N", scale=by_part(DASHES, parts), legend=legend),
            strokeWidth=alt.StrokeWidth("part:O", scale=by_part(WIDTHS, parts), legend=legend),
        )
    )
    return named


def _end_labels(subject: Subject, names: Sequence[str]) -> list[alt.Chart]:
    """What stands below and above each axis."""
    ends = [{"axis": name, "place": place, "text": text} for name, *texts in _ends(subject) for place, text in texts]
    label = inline(ends).encode(**_across(names), text="text:N")
    return [
        label.transform_filter("datum.place == 0").mark_text(dy=16, fontSize=11, color="$muted"),
        label.transform_filter("datum.place > 0").mark_text(dy=-12, fontSize=11, color="$muted"),
    ]


def _ends(subject: Subject) -> list[tuple[Any, ...]]:
    """Of each axis its name, and what stands at its lower and its upper end; a single value in the middle."""
    trials = compared_trials(subject)
    found: list[tuple[Any, ...]] = []
    for name, (target, *_) in zip(parameter_names(subject), subject.parameters, strict=True):
        values: list[Any] = [trial.params[target] for trial in trials if trial.params.get(target) is not None]
        ordered = sorted(values if all(map(is_number, values)) else map(value_text, values))
        ends = [(0.5, ordered[0])] if len(set(ordered)) == 1 else [(0, ordered[0]), (1, ordered[-1])] if ordered else []
        found.append((name, *((place, value_text(value)) for place, value in ends)))
    rates = [trial.ser for trial in trials if trial.ser is not None]
    return [*found, (SER_AXIS, (0, percent(min(rates))), (1, percent(max(rates))))]


def _one_of(parts: Sequence[str], inverse: bool = False) -> str:
    test = " || ".join(f"datum.part == '{part}'" for part in parts)
    return f"!({test})" if inverse else test
