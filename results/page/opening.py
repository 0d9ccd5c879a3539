"""The page's first section: what was found, how sure that is, and the study in a few figures."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import altair as alt

from omr_model.metrics import percent
from results.findings import HOW_DECIDED, NO_VERDICT
from results.page.blocks import Block, Chart, Fold, Grid, KeyFigure, KeyFigures, Prose, Section
from results.page.charts import dumped, inline
from results.page.subject import Subject
from results.replay import latest_confirm
from results.roles import NOT_USED, value_text
from results.verdict import against_base, decision_text, how_decided, interval_text, rate_of_seeds

HOUR, GIB = 3600, 2**30
NO_TRIAL = "No trial has been trained to the end, so there is nothing to judge yet."


def opening(subject: Subject) -> Section:
    """Verdict, its interval drawn, key figures."""
    found = subject.findings
    decided = " ".join(map(decision_text, found.decisions))
    told = [decided, found.verdict.removeprefix(decided).strip()] if found.verdict else [NO_TRIAL]
    blocks: list[Block] = [
        Prose(paragraphs=[*told, *([] if found.decisions or not found.verdict else [NO_VERDICT])]),
        *_interval(subject),
        *_how(subject),
        _figures(subject),
        *_settings(subject),
    ]
    return Section(name="verdict", title="Verdict", blocks=blocks)


def _how(subject: Subject) -> list[Block]:
    """What the verdict allows for, folded away: who only wants to know what to do need not read it."""
    how = how_decided(subject.findings.decisions)
    return [Fold(title=HOW_DECIDED, blocks=[Prose(paragraphs=[how])])] if how else []


def _interval(subject: Subject) -> list[Block]:
    """The difference to the base on an axis; nothing where there is none to draw."""
    worthwhile = latest_confirm(subject.tables.sessions, subject.study.config)["worthwhile"]
    decided = [one for one in subject.findings.decisions if not math.isnan(one.difference)]
    rows: list[dict[str, Any]] = [
        {"trial": f"trial {one.candidate}", "difference": one.difference, "low": one.low, "high": one.high}
        for one in decided
    ]
    allowed = "The line is the interval that the verdict goes by."
    if not rows and subject.winner is not None:
        compared = against_base(subject.winner, subject.ranking, subject.tables.samples)
        if compared is not None:
            ends = {"difference": compared.difference, "low": compared.low, "high": compared.high}
            rows = [{"trial": f"trial {subject.winner.number}", **ends}]
            allowed = "The line is the interval by the choice of pieces alone: each was trained with one seed."
    if not rows or subject.base is None:
        return []
    told = "; ".join(f"{row['trial']}: {_points(row['difference'])} ({_range(row)})" for row in rows)
    return [
        Chart(
            name="interval",
            title="How far from the base",
            spec=_spec(rows, worthwhile),
            description=f"SER less that of the base, in percentage points, with its 95 % interval. {told}.",
            caption=(
                f"Left of the base is better. {allowed} A line that lies wholly left of 0 is a gain; one that lies "
                f"wholly right of {_limit(worthwhile)} is no gain worth having."
            ),
        )
    ]


def _spec(rows: list[dict[str, Any]], worthwhile: float) -> dict[str, Any]:
    points = [{name: 100 * value if name != "trial" else value for name, value in row.items()} for row in rows]
    marks = [{"at": 0.0, "base": "base", "gain": ""}, {"at": -100 * worthwhile, "base": "", "gain": "worth changing"}]
    title = "SER less that of the base, percentage points"
    x = alt.X(
        "difference:Q", title=title, scale=alt.Scale(zero=True, nice=False, padding=24), axis=alt.Axis(grid=False)
    )
    y = alt.Y("trial:N", title=None, sort=None)
    tooltip = [
        alt.Tooltip("trial:N"),
        *(alt.Tooltip(f"{name}:Q", format="+.2f") for name in ("difference", "low", "high")),
    ]
    base = inline(points)
    limits = inline(marks)
    chart = alt.layer(
        limits.mark_rule(strokeWidth=1.5, strokeDash=[5, 4]).encode(x="at:Q"),
        limits.mark_text(baseline="bottom", align="left", dy=-4).encode(x="at:Q", y=alt.value(0), text="base:N"),
        limits.mark_text(baseline="bottom", align="right", dy=-4).encode(x="at:Q", y=alt.value(0), text="gain:N"),
        base.mark_rule(strokeWidth=5, strokeCap="round", color="$sky")
        .encode(x=x, x2="high:Q", y=y)
        .transform_calculate(difference="datum.low"),
        base.mark_point(size=150, color="$blue", opacity=1).encode(x=x, y=y, tooltip=tooltip),
    )
    return dumped(
        chart.properties(
            width="container", height=34 * len(rows), padding={"top": 22, "bottom": 4, "left": 4, "right": 12}
        )
    )


def _settings(subject: Subject) -> list[Block]:
    """What the trials that the verdict names are: where they differ from the base."""
    numbers = {one.candidate for one in subject.findings.decisions} | (
        {subject.winner.number} if subject.winner else set()
    )
    base = subject.base
    named = [trial for trial in subject.own if trial.number in numbers and trial != base]
    if base is None or not named:
        return []
    rows = [
        [f"`{target}`", *(value_text(trial.params.get(target)) for trial in (base, *named))]
        for target in subject.study.parameters
        if any(trial.params.get(target) != base.params.get(target) for trial in named)
    ]
    grid = Grid(
        name="settings",
        title="The settings compared",
        header=["parameter", f"base, trial {base.number}", *(f"trial {trial.number}" for trial in named)],
        rows=rows,
        caption=f"Where they differ; a value that is {NOT_USED} is left out by the trial's other values.",
    )
    return [grid]


def _figures(subject: Subject) -> KeyFigures:
    own, rows = subject.own, subject.rows
    states = Counter(trial.state for trial in own)
    repeats = len(subject.ranking) - len(own)
    told = ", ".join(f"{count} {state}" for state, count in states.most_common())
    hours = sum(row["gpu_seconds" if subject.on_gpu else "seconds"] or 0 for row in rows) / HOUR
    figures = [
        KeyFigure(label="Trials", value=str(len(own)), note=told + (f"; and {repeats} repeats" if repeats else "")),
        *_rates(subject),
        KeyFigure(label="GPU time" if subject.on_gpu else "Training time, no GPU", value=hours_text(hours)),
        KeyFigure(label="The search took", value=hours_text(subject.tables.seconds / HOUR), note=_outcome(subject)),
    ]
    return KeyFigures(figures=figures)


def _rates(subject: Subject) -> list[KeyFigure]:
    found = []
    named = {"Ends with": subject.winner, "Base": subject.base}
    for label, trial in named.items():
        if trial is None or (label == "Base" and trial == subject.winner):
            continue
        name = "the base" if trial == subject.base and label != "Base" else f"trial {trial.number}"
        seeds, ser = rate_of_seeds(trial, subject.findings.decisions)
        value = percent(ser) if seeds and ser is not None and not math.isnan(ser) else percent(trial.ser)
        note = f"mean SER over {seeds}" if seeds else f"SER, {interval_text(trial) or 'no interval'}"
        found.append(KeyFigure(label=f"{label}: {name}", value=value, note=note))
    return found


def _outcome(subject: Subject) -> str:
    sessions = len(subject.tables.sessions)
    told = subject.tables.outcome or ("goes on, or was killed" if sessions else "")
    return f"{told}; {sessions} sessions" if sessions > 1 else told


def hours_text(hours: float) -> str:
    """As a person would say it: `3.2 h`, `14 min`, `41 s`."""
    seconds = hours * HOUR
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOUR else f"{hours:,.1f} h"


def _points(difference: float) -> str:
    return f"{_signed(difference)} points"


def _limit(worthwhile: float) -> str:
    """The least gain that is worth having, as a place on the axis and in words."""
    number = f"{100 * worthwhile:g}"
    size = f"{number} point{'s' if number != '1' else ''}"
    return f"\u2212{size} ({size} better)" if worthwhile else "0"


def _range(row: dict[str, Any]) -> str:
    return f"{_signed(row['low'])} to {_signed(row['high'])}"


def _signed(difference: float) -> str:
    """In points, with a minus sign as the axes have it."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")
