"""Which parameter moves which errors, whether stopping early misleads, and what to bear in mind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from results.page.blocks import Block, Chart, Fold, Points, Prose, Section
from results.page.charts import dumped, group_name, inline, names_of
from results.page.markdown import to_blocks
from results.page.subject import Subject
from results.report_sections import (
    NOTHING,
    cell_text,
    doubt,
    fidelity_section,
    importance_section,
    metric_text,
    not_judged,
    number_text,
    real_effects,
)

TOO_FEW = "It cannot be judged: too few trials to compare, or nothing varied."


def importance_blocks(subject: Subject) -> Section:
    """The heat map of what is more than noise."""
    found, fidelity = subject.findings.importance, subject.findings.fidelity
    title = "What moves which errors"
    if not found.knobs:
        return Section(name="importance", title=title, blocks=[Prose(paragraphs=[TOO_FEW])])
    effects = real_effects(found, names_of(subject))
    blocks: list[Block] = [_heat_map(subject)]
    if effects:
        blocks += [Points(points=effects), Prose(paragraphs=[doubt(found, fidelity)])]
    else:
        blocks.insert(0, Prose(paragraphs=["Nothing that was searched moves any errors by more than noise does."]))
    table = to_blocks(importance_section(found, fidelity), "importance-table", "Importance")
    told_above = [block for block in table if not isinstance(block, Points)]
    return Section(
        name="importance", title=title, blocks=[*blocks, Fold(title="The same as a table", blocks=told_above)]
    )


def _heat_map(subject: Subject) -> Chart:
    found = subject.findings.importance
    rows = _cells(subject)
    columns = list(dict.fromkeys(row["errors"] for row in rows))
    real = sum(row["share"] is not None for row in rows)
    return Chart(
        name="importance-map",
        title="Share of each parameter in what sets the best trials apart, by kind of error",
        spec=dumped(_squares(rows, columns).properties(width="container", height=30 * len(found.knobs))),
        description=(
            f"{len(found.knobs)} parameters against {len(columns)} kinds of error; {real} of {len(rows)} cells are "
            f"more than chance. {' '.join(f'{line}.' for line in real_effects(found, names_of(subject)))}"
        ),
        caption=(
            f"{found.trials} trials, compared after epoch {found.epoch} ({found.when}). A number is the parameter's "
            "share in a column (PED-ANOVA); a dot is what shuffled trials show, too, and means nothing. A branch is "
            "one of the decoder's outputs; the other columns but the first are classes of errors."
        ),
    )


def _cells(subject: Subject) -> list[dict[str, Any]]:
    """A row a parameter and kind of error."""
    found, names = subject.findings.importance, names_of(subject)
    return [
        {
            "parameter": group_name(names, knob.targets),
            "targets": ", ".join(knob.targets),
            "errors": metric_text(cell.metric),
            "share": cell.share if cell.real else None,
            "text": f"{100 * cell.share:.0f} %" if cell.real else "\u00b7",
            "told": cell_text(cell) if cell.real else "within chance",
            "best": cell.best if cell.real else NOTHING,
            "worst": cell.worst if cell.real else NOTHING,
        }
        for knob in found.knobs
        for cell in knob.cells
    ]


def _squares(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> alt.LayerChart | alt.FacetChart:
    axis = alt.Axis(labelAngle=-35, orient="top", domain=False, ticks=False, labelOverlap=False)
    data = inline(rows).encode(
        x=alt.X("errors:N", title=None, sort=columns, axis=axis),
        y=alt.Y("parameter:N", title=None, sort=None, axis=alt.Axis(domain=False, ticks=False)),
        tooltip=[
            alt.Tooltip("targets:N", title="parameter"),
            alt.Tooltip("errors:N"),
            alt.Tooltip("told:N", title="share (points)"),
            alt.Tooltip("best:N", title="lowest at"),
            alt.Tooltip("worst:N", title="highest at"),
        ],
    )
    scale = alt.Scale(domain=[0, 1], range=["$faint", "$strong"])
    legend = alt.Legend(title="share of the importance", format="%")
    return alt.layer(
        data.mark_rect(stroke="$paper", strokeWidth=2, color="$card"),
        data.transform_filter("isValid(datum.share)")
        .mark_rect(stroke="$paper", strokeWidth=2)
        .encode(color=alt.Color("share:Q", scale=scale, legend=legend)),
        data.mark_text(fontSize=11).encode(text="text:N"),
    )


def fidelity_blocks(subject: Subject) -> Section:
    """How far the order after a few epochs is that at the end."""
    found = subject.findings.fidelity
    text, title = fidelity_section(found), "Does stopping early mislead?"
    blocks: list[Block] = [] if text else [Prose(paragraphs=["Nothing was compared before the end."])]
    told = [rung for rung in found.rungs if not math.isnan(rung.tau)]
    if len(told) > 1:
        blocks.append(_rungs(subject))
    elif text and not told:
        return Section(name="fidelity", title=title, blocks=[Prose(paragraphs=[f"It {not_judged(found)}"])])
    table = to_blocks(
        text, "fidelity-table", "Order after an epoch against that at the end", "../reports/rungs.parquet"
    )
    return Section(name="fidelity", title=title, blocks=[*blocks, *table])


def _rungs(subject: Subject) -> Chart:
    found = subject.findings.fidelity
    rows = [
        {"epoch": rung.epoch, "tau": rung.tau, "low": rung.low, "high": rung.high, "trials": rung.trials}
        for rung in found.rungs
        if not math.isnan(rung.tau)
    ]
    data = inline(rows).encode(x=alt.X("epoch:O", title="after epoch", axis=alt.Axis(labelAngle=0)))
    y = alt.Y("tau:Q", title="Kendall's tau with the end", scale=alt.Scale(domain=[-1, 1]))
    chart = alt.layer(
        data.mark_rule(strokeWidth=3, opacity=0.55, color="$blue").encode(y="low:Q", y2="high:Q"),
        data.mark_point(size=90, opacity=1).encode(
            y=y,
            tooltip=[
                alt.Tooltip("epoch:O"),
                alt.Tooltip("trials:Q"),
                *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("tau", "low", "high")),
            ],
        ),
    )
    told = "; ".join(f"{number_text(rung.tau)} after epoch {rung.epoch}" for rung in found.rungs)
    return Chart(
        name="fidelity-tau",
        title="Order of the trials against that at the end",
        spec=dumped(chart.properties(width="container", height=200)),
        description=f"Kendall's tau between the SER after an epoch and at the end, with 95 % intervals: {told}.",
        caption="1: the same order as at the end; 0: no relation.",
    )


def cautions_blocks(subject: Subject) -> Section:
    """What to bear in mind."""
    texts = [caution.text for caution in subject.findings.cautions]
    blocks: list[Block] = (
        [Points(points=texts)] if texts else [Prose(paragraphs=["Nothing that was looked for was found."])]
    )
    return Section(name="cautions", title="To bear in mind", blocks=blocks)
