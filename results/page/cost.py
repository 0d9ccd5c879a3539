"""What a study took: hours, energy, memory, and what stopping early saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from results.page.blocks import Block, Chart, Grid, KeyFigure, KeyFigures, Prose, Section
from results.page.charts import dumped, inline
from results.page.opening import HOUR, hours_text
from results.page.subject import Subject
from results.schema import JOULES_PER_KILOWATT_HOUR

GIB = 2**30
REPEATS = "repeats"
STOPPED = ("pruned", "paused")


def cost_section(subject: Subject) -> Section:
    """Cost by what became of the trials."""
    groups = _groups(subject)
    if not any(row["epochs"] for row in subject.rows):
        nothing = Prose(paragraphs=["No epoch has been trained yet."])
        return Section(name="cost", title="Cost", blocks=[nothing])
    blocks: list[Block] = [KeyFigures(figures=_figures(subject)), _bar(subject, groups), _table(subject, groups)]
    return Section(name="cost", title="Cost", blocks=blocks)


def saved_epochs(subject: Subject) -> tuple[int, float]:
    """Epochs that stopped trials were spared, and their share of what all trials of the search would have run."""
    effort = max([subject.study.max_epochs, *(trial.epochs for trial in subject.ranked)])
    counted = [trial for trial in subject.own if trial.state in (*STOPPED, "completed")]
    saved = sum(max(effort - trial.epochs, 0) for trial in counted if trial.state in STOPPED)
    return saved, saved / (effort * len(counted)) if counted else 0.0


def _groups(subject: Subject) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in subject.rows:
        found.setdefault(row["state"] if row["repeats"] is None else REPEATS, []).append(row)
    return found


def _figures(subject: Subject) -> list[KeyFigure]:
    saved, share = saved_epochs(subject)
    peak = max((row["peak_memory_bytes"] or 0 for row in subject.rows), default=0)
    of = "of a GPU" if subject.on_gpu else "of a process, no GPU"
    gpu = hours_text(_total(subject.rows, "gpu_seconds")) if subject.on_gpu else "none"
    return [
        KeyFigure(label="Training, all trials", value=hours_text(_total(subject.rows, "seconds"))),
        KeyFigure(label="GPU time", value=gpu),
        _energy(subject.rows),
        KeyFigure(label="Saved by stopping early", value=f"{100 * share:.0f} %", note=f"{saved:,} epochs not trained"),
        KeyFigure(label="Peak memory", value=f"{peak / GIB:.1f} GiB" if peak else "-", note=of),
    ]


def _energy(rows: Sequence[Mapping[str, Any]]) -> KeyFigure:
    trained = [row.get("energy_joules") for row in rows if row["epochs"]]
    told = [joules for joules in trained if joules is not None]
    if not told:
        return KeyFigure(label="Energy", value="-", note="not told by the driver")
    note = "of the whole device, also where trials share one"
    if len(told) < len(trained):
        note = f"of {len(told)} of {len(trained)} trials; {note}"
    return KeyFigure(label="Energy", value=f"{sum(told) / JOULES_PER_KILOWATT_HOUR:.3g} kWh", note=note)


def _bar(subject: Subject, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    column = "gpu_seconds" if subject.on_gpu else "seconds"
    hours = {name: _total(of, column) for name, of in groups.items()}
    unit, per_hour = _unit(subject)
    rows = [{"state": name, "time": hours[name] * per_hour, "trials": len(of)} for name, of in groups.items()]
    chart = (
        inline(rows)
        .mark_bar(stroke="$paper", strokeWidth=1)
        .encode(
            x=alt.X("time:Q", title=f"{subject.clock}, {unit}"),
            y=alt.Y("state:N", title=None, sort="-x"),
            tooltip=["state:N", "trials:Q", alt.Tooltip("time:Q", title=unit, format=".2f")],
        )
    )
    told = ", ".join(f"{name} {hours_text(spent)}" for name, spent in hours.items())
    return Chart(
        name="cost-by-state",
        title=f"Where the {subject.clock} went",
        spec=dumped(chart.properties(width="container", height=28 * len(rows))),
        description=f"The {subject.clock} by what became of the trials: {told}.",
    )


def _table(subject: Subject, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Grid:
    named = {**groups, "all": subject.rows} if len(groups) > 1 else groups
    unit, per_hour = _unit(subject)
    columns = {"seconds": f"training, {unit}"} | ({"gpu_seconds": f"GPU time, {unit}"} if subject.on_gpu else {})
    rows = [
        (
            name,
            str(len(of)),
            str(sum(row["epochs"] for row in of)),
            *(f"{_total(of, column) * per_hour:,.2f}" for column in columns),
        )
        for name, of in named.items()
    ]
    return Grid(
        name="cost-table",
        title="Cost by what became of the trials",
        header=["trials", "number", "epochs", *columns.values()],
        rows=rows,
        caption=(
            "Of the epochs that stand: what had to be redone after a crash is counted once. Repeats train a trial of "
            "the search again with other seeds. Saved is what the trials that were stopped would "
            "have trained more, as a share of what the search would have trained without."
        ),
    )


def _unit(subject: Subject) -> tuple[str, int]:
    """Of the section's times, and how many of them are an hour: minutes where there are few hours."""
    hours = _total(subject.rows, "gpu_seconds" if subject.on_gpu else "seconds")
    return ("hours", 1) if hours >= 2 else ("minutes", 60)


def _total(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """In hours."""
    return sum(row[column] or 0.0 for row in rows) / HOUR
