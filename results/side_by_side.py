"""A comparison as sections of a page: what stands side by side, what differs in the settings, who errs less."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omr_model.metrics import percent
from results.comparison import Comparison, Difference, Pair, corpus_text
from results.contestants import Contestant, Figures, TrialContestant
from results.page.blocks import Block, Grid, Points, Prose, Section
from results.ranking import BASE
from results.schema import ERROR_CLASSES
from results.verdict import more_text, range_text

NOTHING = "-"


def sections(comparison: Comparison) -> list[Section]:
    """The differences in words, then the figures, the settings that differ, and the errors by class."""
    contestants = comparison.contestants
    names = [one.name for one in contestants]
    told: list[Block] = []
    for pair in comparison.pairs:
        told += [Prose(paragraphs=[pair_text(pair)]), *([Points(points=pair.notes)] if pair.notes else [])]
    figures = Grid(name="figures-table", title="", header=["figure", *names], rows=_figures(contestants))
    parts: dict[str, list[Block]] = {
        "Who errs less": told,
        "Side by side": [figures],
        "Settings that differ": [_settings(comparison, names)],
    }
    if classes := _classes(contestants):
        caption = "Parts of the symbol error rate, which add up to it; of each trial's own run."
        parts["Errors by class"] = [
            Grid(name="classes-table", title="", header=["errors in", *names], rows=classes, caption=caption)
        ]
    return [
        Section(name=title.lower().replace(" ", "-"), title=title, blocks=blocks) for title, blocks in parts.items()
    ]


def pair_text(pair: Pair) -> str:
    """The difference of two in a sentence, or why none is told."""
    if pair.difference is None:
        return f"No difference between {pair.first} and {pair.other} is told: {'; '.join(pair.refusals)}."
    found = pair.difference
    interval = range_text(found.low, found.high)
    basis = f"on the same {found.staves} staves of {found.works} works, {_seeds(found)}"
    return (
        f"{pair.other} errs {more_text(found.difference)} than {pair.first} (95 % interval {interval}; {basis}): "
        f"{_judgement(pair, found)}."
    )


def _seeds(found: Difference) -> str:
    if found.basis == "one seed":
        return "one seed each"
    return f"runs that count: {found.other_seeds} against {found.seeds}"


def _judgement(pair: Pair, found: Difference) -> str:
    if found.basis == "one seed":
        return "of two trainings; it takes more seeds to tell two settings apart"
    if found.picked and not found.low <= 0 <= found.high:
        return (
            "they are not told apart: one may have been picked by the very run that is compared, on these staves; it "
            "takes more seeds of it"
        )
    if not found.clear:
        return "they are not told apart"
    return f"{pair.other if found.high < 0 else pair.first} is better, by more than pieces and seeds explain"


def _figures(contestants: Sequence[Contestant]) -> list[list[str]]:
    """A row a figure that one of them has at least."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("SER", lambda one: percent(one.ser)),
        ("95 % interval", _interval),
        ("mean SER over seeds", lambda one: NOTHING if one.seeds is None else f"{percent(one.mean_ser)} ({one.seeds})"),
        ("SER as the log measured it", lambda one: percent(one.log_ser)),
        ("manual rating (differences)", lambda one: NOTHING if one.manual is None else f"{one.manual:g}"),
        ("epochs", lambda one: _count(one.epochs)),
        ("validation staves", lambda one: _count(one.staves)),
        ("works they are from", lambda one: _count(one.works)),
        ("hours of training", lambda one: _hours(one.hours)),
        ("GPU hours of training", lambda one: _hours(one.gpu_hours)),
        ("hours of the search", lambda one: _hours(one.search_hours)),
        ("seed", lambda one: _count(one.seed)),
    ]
    figures = [one.figures for one in contestants]
    found = [["is", *map(_what, contestants)]]
    found += [[name, *map(cell, figures)] for name, cell in rows]
    found.append(
        ["corpus", *(corpus_text(one) if isinstance(one, TrialContestant) else NOTHING for one in contestants)]
    )
    found.append(["code", *map(_code, contestants)])
    return [row for row in found if set(row[1:]) != {NOTHING}]


def _what(one: Contestant) -> str:
    if not isinstance(one, TrialContestant):
        return f"run {one.run.number} of the log" + (f", {one.run.date}" if one.run.date else "")
    place = f", rank {one.trial.rank}" if one.trial.rank is not None else ""
    origin = "the base" if one.trial.origin == BASE else one.trial.origin and f"from {one.trial.origin}"
    again = "" if one.trial.repeats is None else f"repeats {one.trial.repeats}"
    return ", ".join(filter(None, [f"trial {one.trial.number}", origin, again, one.trial.state])) + place


def _code(one: Contestant) -> str:
    if isinstance(one, TrialContestant):
        return ", then ".join(one.study.codes())
    return one.run.commit[:8] or NOTHING


def _settings(comparison: Comparison, names: Sequence[str]) -> Block:
    if not comparison.settings:
        return Prose(paragraphs=["No setting differs."])
    return Grid(
        name="settings-table",
        title="",
        header=["setting", *names],
        rows=[[difference.place, *difference.values] for difference in comparison.settings],
    )


def _classes(contestants: Sequence[Contestant]) -> list[list[str]]:
    figures = [one.figures.by_class or {} for one in contestants]
    rows = [[name, *(percent(one.get(name)) for one in figures)] for name in ERROR_CLASSES]
    return [row for row in rows if set(row[1:]) != {NOTHING}]


def _interval(one: Figures) -> str:
    return NOTHING if one.low is None or one.high is None else f"{100 * one.low:.1f} to {percent(one.high)}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def _hours(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
