"""What is read for what: rhythms, signatures and accidentals as tables of counts, pitches by how far they are off.

A note that is wrong in two ways stands in both figures; in the list of single confusions it stands once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets.notation import STEPS, Symbol
from omr_model.metrics import Edit, error_class, percent
from results.page.blocks import Block, Chart, Grid, Prose
from results.page.readings import ReadStaff
from results.page.words import LIFT_WORDS, NO_PITCH, NOTHING, differences, rhythm_words, signature_words

MOST_LABELS = 10  # of a figure's side; rarer symbols stand together
LISTED = 15
FURTHEST = 7  # steps; a pitch that is further off counts at the end
OTHERS = "any other"
ROW_HEIGHT, CELL_WIDTH = 28, 46  # pixels
_SIGNATURES = ("clef", "keySignature", "timeSignature")
_SIGNATURE_NAMES = dict(zip(_SIGNATURES, ("clef", "key signature", "time signature"), strict=True))


def confusion_blocks(staves: Sequence[ReadStaff]) -> list[Block]:
    """Figures of whatever kinds of errors there are, and the most frequent confusions as a list."""
    edits = [edit for staff in staves for edit in staff.edits]
    if not edits:
        return [Prose(paragraphs=["Nothing is confused: no staff has an error."])]
    printed = [symbol for staff in staves for symbol in staff.reference]
    charts = [
        _heat_map(
            "rhythm",
            "Kinds and durations: printed and read",
            rhythm_confusions(edits),
            Counter(map(_kind_words, printed)),
        ),
        _pitch_chart(pitch_errors(edits), sum(read.pitch == NO_PITCH for read, _ in _notes(edits))),
        _heat_map(
            "accidentals",
            "Accidentals: printed and read",
            accidental_confusions(edits),
            Counter(_lift_words(note) for note in printed if note.is_note),
        ),
        _heat_map(
            "signatures",
            "Clefs, keys and meters: printed and read",
            signature_confusions(edits),
            Counter(signature_words(symbol) for symbol in printed if symbol.kind in _SIGNATURES),
        ),
    ]
    return [*(chart for chart in charts if chart), _single_confusions(edits)]


def rhythm_confusions(edits: Sequence[Edit]) -> Counter[tuple[str, str]]:
    """(printed, read) of the edits in kind or duration, in words; between signatures of one kind there are none."""
    confused = ((_kind_words(printed), _kind_words(read)) for read, printed in edits)
    return Counter(pair for pair in confused if pair[0] != pair[1])


def signature_confusions(edits: Sequence[Edit]) -> Counter[tuple[str, str]]:
    """(printed, read) of the edits among clefs, keys and meters, those that were missed or made up too."""
    among = [edit for edit in edits if all(symbol is None or symbol.kind in _SIGNATURES for symbol in edit)]
    return Counter((signature_words(printed), signature_words(read)) for read, printed in among)


def accidental_confusions(edits: Sequence[Edit]) -> Counter[tuple[str, str]]:
    """(printed, read) of the accidentals of notes that were read as notes."""
    notes = _notes(edits)
    return Counter((_lift_words(printed), _lift_words(read)) for read, printed in notes if read.lift != printed.lift)


def pitch_errors(edits: Sequence[Edit]) -> Counter[int]:
    """How many notes were read so many steps too high, or below zero too low; at most `FURTHEST`.

    Those that were read as notes of no pitch are not among them.
    """
    steps = (_step(read) - _step(printed) for read, printed in _notes(edits) if read.pitch != NO_PITCH)
    return Counter(max(-FURTHEST, min(FURTHEST, step)) for step in steps if step)


def _notes(edits: Sequence[Edit]) -> list[tuple[Symbol, Symbol]]:
    """(read, printed) where both are notes."""
    return [(read, printed) for read, printed in edits if read and printed and read.is_note and printed.is_note]


def _step(note: Symbol) -> int:
    """Its height in steps of the scale."""
    return len(STEPS) * int(note.pitch[1:]) + STEPS.index(note.pitch[0])


def _kind_words(symbol: Symbol | None) -> str:
    """Without pitch, and of a signature nothing but its kind."""
    if symbol is None:
        return NOTHING
    return _SIGNATURE_NAMES.get(symbol.kind) or rhythm_words(symbol.rhythm)


def _lift_words(note: Symbol) -> str:
    return LIFT_WORDS[note.lift]


def _heat_map(name: str, title: str, counts: Counter[tuple[str, str]], printed: Counter[str]) -> Chart | None:
    """Printed symbols as rows, read ones as columns; None where nothing is confused."""
    if not counts:
        return None
    involved = Counter[str]()
    for pair, count in counts.items():
        for label in pair:
            involved[label] += count
    kept = {NOTHING, *(label for label, _ in involved.most_common(MOST_LABELS))}
    cells = Counter[tuple[str, str]]()
    for (true, read), count in counts.items():
        cells[true if true in kept else OTHERS, read if read in kept else OTHERS] += count
    ordered = sorted(kept - {NOTHING}, key=lambda label: (-involved[label], label))
    rows = [
        {"printed": _row_label(true, printed), "read": _column_label(read), "count": count}
        for (true, read), count in cells.items()
    ]
    seen = {label for pair in cells for label in pair}
    sides = [*ordered, *(label for label in (OTHERS, NOTHING) if label in seen)]
    row_order, column_order = [_row_label(label, printed) for label in sides], [_column_label(label) for label in sides]
    worst = ", ".join(
        f"{_row_label(true, printed)} read as {_column_label(read)} {count} times"
        for (true, read), count in cells.most_common(3)
    )
    return Chart(
        name=f"confusion-{name}",
        title=title,
        spec=_heat_spec(rows, row_order, column_order, max(cells.values())),
        description=f"Table of errors by what is printed (rows) and what was read (columns). Most frequent: {worst}.",
        caption=(
            "Errors alone, counted in the cells; behind a row's name, how often the symbol is printed. What is missed "
            "was not read at all; what is made up was read where nothing is printed."
        ),
    )


def _row_label(label: str, printed: Counter[str]) -> str:
    if label == NOTHING:
        return "made up"
    return f"{label} ({printed[label]:,})" if label in printed else label


def _column_label(label: str) -> str:
    return "missed" if label == NOTHING else label


def _heat_spec(rows: list[dict[str, Any]], row_order: list[str], column_order: list[str], most: int) -> dict[str, Any]:
    """Cells in the shades of the page's theme, on all of which its text can be read."""
    x = {
        "field": "read",
        "type": "nominal",
        "title": "read as",
        "scale": {"domain": column_order},
        "axis": {"labelAngle": -40, "labelLimit": 200, "labelOverlap": False, "grid": False, "orient": "top"},
    }
    y = {
        "field": "printed",
        "type": "nominal",
        "title": "printed",
        "scale": {"domain": row_order},
        "axis": {"labelLimit": 260, "grid": False},
    }
    count = {"field": "count", "type": "quantitative"}
    shade = count | {"scale": {"domain": [0, most]}, "legend": None}
    return {
        "data": {"values": rows},
        "width": CELL_WIDTH * len(column_order),  # a narrow page shows it smaller: its figures would not fit else
        "height": ROW_HEIGHT * len(row_order),
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": "rect", "encoding": {"color": shade}},
            {"mark": "text", "encoding": {"text": count}},
        ],
    }


def _pitch_chart(steps: Counter[int], pitchless: int) -> Chart | None:
    if not steps:
        return None
    names = {step: f"{step:+d}" for step in range(-FURTHEST, FURTHEST + 1) if step}
    names |= {-FURTHEST: f"-{FURTHEST} or less", FURTHEST: f"+{FURTHEST} or more"}
    total = steps.total()
    near = steps[-1] + steps[1]
    spec = {
        "data": {"values": [{"steps": names[step], "count": steps[step]} for step in names]},
        "width": "container",
        "height": 220,
        "encoding": {
            "x": {
                "field": "steps",
                "type": "ordinal",
                "sort": list(names.values()),
                "title": "steps too low (-) or too high (+)",
                "axis": {"labelAngle": 0},
            },
            "y": {"field": "count", "type": "quantitative", "title": "notes"},
        },
        "layer": [
            {"mark": {"type": "bar", "opacity": 0.6}},
            {"mark": {"type": "text", "dy": -8}, "encoding": {"text": {"field": "count", "type": "quantitative"}}},
        ],
    }
    return Chart(
        name="confusion-pitch",
        title="Pitches: how far off",
        spec=spec,
        description=(
            f"Bars of {total:,} notes that were read at a wrong pitch, by steps of the scale. "
            f"{percent(near / total)} are one step off; {steps[-2] + steps[2]:,} two, a line or a space too far; "
            f"{sum(count for step, count in steps.items() if step < 0):,} are too low."
        ),
        caption=(
            f"Of {total:,} notes that were read as notes at a wrong pitch, {percent(near / total)} are one step off: a "
            "line taken for the space beside it."
            + (f" {pitchless:,} more were read as notes of no pitch." if pitchless else "")
        ),
    )


def _single_confusions(edits: Sequence[Edit]) -> Grid:
    counts = Counter((str(error_class(read, printed)), *differences(read, printed)) for read, printed in edits)
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LISTED]
    return Grid(
        name="confusions",
        title="The most frequent single confusions",
        header=["printed", "read as", "error in", "times", "share of all errors"],
        rows=[
            [printed, read, error, f"{count:,}", percent(count / len(edits))]
            for (error, printed, read), count in listed
        ],
        caption=(
            f"The {len(listed)} most frequent of {len(counts):,} kinds; they make "
            f"{percent(sum(count for _, count in listed) / len(edits))} of {len(edits):,} errors. What is read as "
            f"{NOTHING} is missed; where {NOTHING} is printed, it is made up."
        ),
    )
