"""The ranking, the way there, and the curves of the trainings."""

from __future__ import annotations

from typing import Any

import altair as alt

from omr_model.metrics import percent
from results.page.blocks import Block, Chart, Prose, Row, Section
from results.page.charts import (
    COLOURS,
    DASHES,
    LARGE,
    OPACITIES,
    SER,
    WIDTHS,
    by_part,
    dumped,
    inline,
    looks,
    near,
    percent_axis,
    there,
    trial_tooltip,
)
from results.page.datasets import CURVES, MOST_CURVES, MOST_MARKS, TRIALS, drawn_trials, ended_at, left_out
from results.page.markdown import MOST_ROWS, to_blocks
from results.page.subject import STOPPED, Subject
from results.report_sections import ranking_table

OF_THE_SEARCH = "!datum.again"


def ranking_section(subject: Subject) -> Section:
    """Who is best, and how far that can be told."""
    if not subject.ranking:
        return Section(name="ranking", title="Ranking", blocks=[Prose(paragraphs=["No trial has started yet."])])
    text = ranking_table(subject.study, subject.ranking, subject.findings.decisions)
    return Section(name="ranking", title="Ranking", blocks=[*_intervals(subject), *to_blocks(text, "trials", "Trials")])


def _intervals(subject: Subject) -> list[Block]:
    shown = subject.ranked[:MOST_ROWS]
    if not shown:
        return []
    best = shown[0]
    parts = there([subject.part(trial) for trial in shown])
    chart = (
        alt.Chart(alt.NamedData(TRIALS))
        .transform_filter(f"isValid(datum.rank) && datum.rank <= {MOST_ROWS}")
        .encode(y=alt.Y("trial:N", title=None, sort=alt.EncodingSortField("rank", op="min")))
    )
    x = alt.X("ser:Q", title=f"{SER}, 95 % interval", scale=near(10), axis=percent_axis())
    layers = [
        chart.mark_rule(strokeWidth=3, opacity=0.55, strokeCap="round").encode(
            x=alt.X("low:Q", title=f"{SER}, 95 % interval"), x2="high:Q", color=looks(parts)["color"]
        ),
        chart.mark_point(opacity=1).encode(x=x, **looks(parts), tooltip=trial_tooltip()),
    ]
    more = f" Shown are the best {MOST_ROWS} of {len(subject.ranked)}." if len(subject.ranked) > MOST_ROWS else ""
    figure = Chart(
        name="ranking-intervals",
        title="Trials of equal effort, best first",
        spec=dumped(alt.layer(*layers).properties(width="container", height=22 * len(shown))),
        description=(
            f"SER of the {len(shown)} best trials that were trained to the end, each with its 95 % interval. First is "
            f"trial {best.number} with {percent(best.ser)}, last trial {shown[-1].number} with "
            f"{percent(shown[-1].ser)}. The table below has the figures."
        ),
        caption=(
            "Each trained with one seed; intervals by the choice of pieces. All were read on the same staves, so two "
            f"whose intervals overlap may differ all the same. The axis does not begin at 0.{more}"
        ),
    )
    return [figure]


def progress_section(subject: Subject) -> Section:
    """SER over the time that was spent."""
    shown = subject.scored
    if not shown:
        nothing = Prose(paragraphs=["No epoch has been reported yet."])
        return Section(name="progress", title="Progress of the search", blocks=[nothing])
    clock = f"{subject.clock} of all trials together, hours"
    y = alt.Y("ser:Q", title=SER, scale=near(), axis=percent_axis())
    parts = there([subject.part(trial) for trial in shown])
    points = (
        alt.Chart(alt.NamedData(TRIALS))
        .transform_filter(f"{OF_THE_SEARCH} && isValid(datum.ser) && isValid(datum.hours)")
        .mark_point()
        .encode(
            x=alt.X("hours:Q", title=clock),
            y=y,
            **looks(parts),
            tooltip=trial_tooltip(),
        )
    )
    steps = _steps(subject)
    line = (
        inline(steps).mark_line(interpolate="step-after", strokeWidth=2.5, color="$blue").encode(x="hours:Q", y="ser:Q")
    )
    chart = alt.layer(*([line] if steps else []), points)
    figure = Chart(
        name="best-so-far",
        title=f"SER over {subject.clock}",
        spec=dumped(chart.properties(width="container", height=320)),
        description=_progress_text(subject, steps),
        caption=(
            "A mark is a trial, where it ended or is now. The line is the best so far: the lowest SER among the trials "
            "that completed as many epochs as any had by then. A low SER of a trial that was stopped early does not "
            "count, so a mark may lie below the line, and the line rises where a longer training takes the place of "
            "shorter ones; it goes on as long as repeats are trained. The axis of SER does not begin at 0. "
            + left_out(subject, MOST_MARKS)
        ),
        large=len(shown) > LARGE,
    )
    return Section(name="progress", title="Progress of the search", blocks=[figure])


def _steps(subject: Subject) -> list[dict[str, Any]]:
    """The best so far, a row for each change and one at the end."""
    hours = ended_at(subject)
    ended = sorted(
        (hours[trial.trial_id], trial.epochs, trial.ser, trial.number)
        for trial in subject.scored
        if trial.state == "completed" and trial.ser is not None and trial.trial_id in hours
    )
    effort, best, steps = 0, float("inf"), list[dict[str, Any]]()
    for hour, epochs, ser, number in ended:
        if epochs > effort or (epochs == effort and ser < best):
            effort, best = epochs, ser
            steps.append({"hours": hour, "ser": best, "number": number})
    return [*steps, {**steps[-1], "hours": max(hours.values())}] if steps else []


def _progress_text(subject: Subject, steps: list[dict[str, Any]]) -> str:
    if not steps:
        return "SER of each trial over the time that all had trained by then; none has been trained to the end yet."
    first, last = steps[0], steps[-1]
    return (
        f"SER of each trial over the {subject.clock} that all had used by then. The best so far went from "
        f"{percent(first['ser'])} (trial {first['number']}, after {first['hours']:.2g} hours) to "
        f"{percent(last['ser'])} (trial {last['number']}) in {len(steps) - 1} steps."
    )


def curves_section(subject: Subject) -> Section:
    """What each training did, epoch by epoch."""
    drawn = drawn_trials(subject, MOST_CURVES)
    if not drawn:
        return Section(name="curves", title="Training curves", blocks=[Prose(paragraphs=["No epoch was trained yet."])])
    parts = there([subject.part(trial) for trial in drawn])
    panels = {"ser": SER, "train_loss": "training loss", "validation_loss": "validation loss, teacher-forced"}
    rate, *losses = [_curves(name, title, parts, len(drawn)) for name, title in panels.items()]
    text = (
        "A line is a trial; one that was not trained to the end is faint and ends in a cross. The teacher-forced loss "
        "misleads as a ranking: it may rise while the SER falls. " + left_out(subject, MOST_CURVES)
    )
    return Section(name="curves", title="Training curves", blocks=[Prose(paragraphs=[text]), rate, Row(blocks=losses)])


def _curves(name: str, title: str, parts: list[str], count: int) -> Chart:
    rate = name == "ser"
    line = alt.Chart(alt.NamedData(CURVES)).transform_filter(f"isValid(datum.{name})")
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y(f"{name}:Q", title=title, axis=percent_axis() if rate else alt.Axis(), scale=alt.Scale(zero=False))
    ends = (
        line.transform_filter(f"datum.last && datum.part == '{STOPPED}'")
        .mark_point(shape="cross", size=26, opacity=0.6, color="$grey")
        .encode(x=x, y=y)
    )
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=300) if rate else None
    chart = alt.layer(_lines(line, parts, legend).encode(x=x, y=y), *([ends] if STOPPED in parts else []))
    return Chart(
        name=f"curves-{name.replace('_', '-')}",
        title=title[0].upper() + title[1:],
        spec=dumped(chart.properties(width="container", height=300 if rate else 220)),
        description=f"The {title} of {count} trials by epoch, a line each.",
        large=count > 100,
    )


def _lines(line: alt.Chart, parts: list[str], legend: alt.Legend | None) -> alt.Chart:
    """A line a trial, what matters most above the others."""
    lines: alt.Chart = line.mark_line().encode(
        detail=["number:N"],
        color=alt.Color("part:N", scale=by_part(COLOURS, parts), legend=legend),
        strokeDash=alt.StrokeDash("part:N", scale=by_part(DASHES, parts), legend=legend),
        strokeWidth=alt.StrokeWidth("part:O", scale=by_part(WIDTHS, parts), legend=legend),
        opacity=alt.Opacity("part:O", scale=by_part(OPACITIES, parts), legend=legend),
        tooltip=[
            alt.Tooltip("number:Q", title="trial", format="d"),
            alt.Tooltip("part:N", title="is"),
            alt.Tooltip("epoch:Q"),
        ],
    )
    return lines
