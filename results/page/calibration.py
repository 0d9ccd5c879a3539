"""Whether a model knows how sure it may be, and how many errors a person finds who checks what it was least sure of.

    reliability    predicted symbols in bins of equal counts by confidence: how many of each are right
    expected error (ECE) mean distance of the two over the bins (Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599)
    risk-coverage  share of the errors among the least sure symbols (Geifman & El-Yaniv, arXiv 1705.08500)

A predicted symbol is right if the best alignment puts it on an equal one. A printed symbol that was missed has no
confidence: it is an error that no checking of symbols finds, and has no other part in this. Works are resampled, not
symbols: those of one piece err together.

The ECE of a perfectly calibrated model is above zero, because chance moves every bin, and a bootstrap of it is higher
still. But it cannot be further from the true one than the bins are from theirs, all differences added up, and how far
these are is what resamples of the works tell without a bias. That gives an interval that holds the true ECE at least as
often as it says, and what chance alone would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omr_model.metrics import percent
from results.page.blocks import Block, Chart, Fold, Grid, Prose, Row
from results.page.rates import percent_range
from results.page.readings import ReadStaff
from results.statistics import NO_INTERVAL, Floats, Interval, rate_margin, resampled_rates, share_interval

BINS = 10
LEAST_IN_BIN = 20  # symbols: fewer show nothing
CHECKED = 0.1  # of the symbols, the least sure: what the sentence is about
CURVE_POINTS = 100


@dataclass(frozen=True)
class Bin:
    """Predicted symbols of about the same confidence.

    Attributes:
        count: of symbols.
        confidence: their mean, a fraction.
        right: the share of them that is right.
        low, high: its 95 % interval (`results.statistics.share_interval`); NaN with one work.
    """

    count: int
    confidence: float
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How confidence and truth go together; shares are fractions, intervals 95 % (bootstrap over pieces).

    Attributes:
        bins: the least sure first, of about equal counts.
        right: the share of predicted symbols that is right.
        error, error_interval: expected calibration error.
        error_by_chance: of a perfectly calibrated model on as many symbols; NaN with one work.
        surplus, surplus_interval: mean confidence less `right`; above zero it is too sure.
        threshold: below this confidence lies the least sure tenth.
        wrong_below: the share of that tenth that is wrong.
        found: (share of the symbols that were checked, the least sure first; share of all errors among them, with the
            symbols that were missed); empty without a wrong symbol.
        found_in_tenth: that share at a tenth; NaN without a wrong symbol.
    """

    bins: Sequence[Bin]
    right: float
    error: float
    error_interval: Interval
    error_by_chance: float
    surplus: float
    surplus_interval: Interval
    threshold: float
    wrong_below: float
    found: Sequence[tuple[float, float]]
    found_in_tenth: float


def calibration_blocks(staves: Sequence[ReadStaff]) -> list[Block]:
    """What there is to say and to draw; a sentence where nothing was recorded."""
    recorded = [staff for staff in staves if staff.confidences is not None]
    if not recorded:
        return [
            Prose(
                paragraphs=[
                    "Whether the model knows how sure it may be cannot be judged: this study did not record the "
                    "confidence of its symbols."
                ]
            )
        ]
    confidence, right, works = _predicted(recorded)
    if len(confidence) < BINS * LEAST_IN_BIN:
        return [
            Prose(
                paragraphs=[
                    f"Whether the model knows how sure it may be cannot be judged from {len(confidence)} predicted "
                    f"symbols: it takes {BINS * LEAST_IN_BIN} at least."
                ]
            )
        ]
    missed = sum(i is None for staff in recorded for i, _ in staff.pairs)
    found = calibrate(confidence, right, works, missed)
    return [
        Prose(paragraphs=[_sentences(found, missed)]),
        Row(blocks=[_reliability_chart(found), *([_found_chart(found)] if found.found else [])]),
        Fold(title="Confidence in numbers", blocks=[_grid(found)]),
    ]


def calibrate(
    confidence_S: Floats, right_S: npt.NDArray[np.bool_], works_S: Sequence[str], missed: int = 0
) -> Calibration:
    """Compare confidence with truth over S predicted symbols.

    Args:
        confidence_S: that the model gave each, 0 to 1.
        right_S: whether it is.
        works_S: the piece of each.
        missed: printed symbols that none of them stands for.
    """
    order = np.argsort(confidence_S, kind="stable")
    sure_S, true_S = confidence_S[order], right_S[order].astype(np.float64)
    _, work_S = np.unique(np.asarray(works_S, dtype=np.str_), return_inverse=True)
    work_S = work_S[order]
    bin_S = np.arange(len(sure_S)) * BINS // len(sure_S)
    gap_BW = np.zeros((BINS, work_S.max() + 1))
    np.add.at(gap_BW, (bin_S, work_S), sure_S - true_S)
    symbols_W = np.bincount(work_S).astype(np.float64)
    error, error_interval, error_by_chance = _expected_error(gap_BW, symbols_W)
    tenth = max(1, round(CHECKED * len(sure_S)))
    wrong_found_S = np.cumsum(1 - true_S)
    wrong = float(wrong_found_S[-1])
    errors = wrong + missed
    shown = np.unique(np.linspace(0, len(sure_S), CURVE_POINTS + 1).round().astype(int))
    found = [(n / len(sure_S), float(wrong_found_S[n - 1]) / errors if n else 0.0) for n in map(int, shown) if wrong]
    surplus = float((sure_S - true_S).mean())
    margin = rate_margin(gap_BW.sum(axis=0), symbols_W)
    return Calibration(
        bins=[_bin(sure_S[bin_S == one], true_S[bin_S == one], work_S[bin_S == one]) for one in range(BINS)],
        right=float(true_S.mean()),
        error=error,
        error_interval=error_interval,
        error_by_chance=error_by_chance,
        surplus=surplus,
        surplus_interval=(surplus - margin, surplus + margin),
        threshold=float(sure_S[tenth - 1]),
        wrong_below=float(1 - true_S[:tenth].mean()),
        found=found,
        found_in_tenth=float(wrong_found_S[tenth - 1]) / errors if wrong else float("nan"),
    )


def _predicted(staves: Sequence[ReadStaff]) -> tuple[Floats, npt.NDArray[np.bool_], list[str]]:
    """Confidence, truth and work of every predicted symbol."""
    confidence: list[float] = []
    right: list[bool] = []
    works: list[str] = []
    for staff in staves:
        assert staff.confidences is not None
        confidence += staff.confidences
        right += [not staff.differs(pair) for pair in staff.pairs if pair[0] is not None]
        works += [staff.work] * len(staff.prediction)
    return np.array(confidence, dtype=np.float64), np.array(right, dtype=bool), works


def _bin(sure: Floats, true: Floats, work: npt.NDArray[np.intp]) -> Bin:
    low, high = share_interval(true.astype(np.int64), work.astype(str))
    return Bin(len(sure), float(sure.mean()), float(true.mean()), low, high)


def _expected_error(gap_BW: Floats, symbols_W: Floats) -> tuple[float, Interval, float]:
    """ECE, its interval, and the mean ECE by chance alone, of each work's summed differences in each bin."""
    gap_B = gap_BW.sum(axis=1) / symbols_W.sum()
    error = float(np.abs(gap_B).sum())
    moved_R = np.abs(resampled_rates(gap_BW, symbols_W) - gap_B[:, None]).sum(axis=0)
    if not len(moved_R):
        return error, NO_INTERVAL, float("nan")
    furthest = float(np.quantile(moved_R, 0.95))
    return error, (max(0.0, error - furthest), error + furthest), float(moved_R.mean())


def _sentences(found: Calibration, missed: int) -> str:
    told = [
        f"The model gives its symbols a mean confidence of {percent(found.right + found.surplus)}, and "
        f"{percent(found.right)} of them are right: {_habit(found)}. Its expected calibration error is "
        f"{percent(found.error)}{percent_range(found.error_interval, ' (95 % interval {}')}{_by_chance(found)}."
    ]
    if found.found:
        told.append(
            f"Of the symbols below a confidence of {percent(found.threshold)}, {percent(found.wrong_below)} are wrong: "
            f"checking the least sure {100 * CHECKED:.0f} % finds {percent(found.found_in_tenth)} of all errors."
        )
    if missed:
        told.append(
            f"The {missed:,} printed symbols that were missed have no confidence: nobody finds them in this way."
        )
    return " ".join(told)


def _by_chance(found: Calibration) -> str:
    chance = found.error_by_chance
    return "" if np.isnan(chance) else f"; chance alone would show {percent(chance)})"


def _habit(found: Calibration) -> str:
    """Whether it is too sure, and by how many points, without a sign that could be read the wrong way."""
    low, high = (100 * end for end in found.surplus_interval)
    if low > 0:
        return f"it is surer than it should be, by {low:.1f} to {high:.1f} points (95 % interval)"
    if high < 0:
        return f"it is less sure than it could be, by {-high:.1f} to {-low:.1f} points (95 % interval)"
    return "on the whole it is not plainly surer or less sure than it should be"


def _reliability_chart(found: Calibration) -> Chart:
    rows = [
        {"confidence": one.confidence, "right": one.right, "low": _or_none(one.low), "high": _or_none(one.high)}
        | {"symbols": one.count}
        for one in found.bins
    ]
    x = {"field": "confidence", "type": "quantitative", "title": "confidence", "scale": {"domain": [0, 1]}}
    y = {"type": "quantitative", "title": "share that is right", "scale": {"domain": [0, 1]}}
    rate = {"axis": {"format": "%"}}
    tooltip = [
        {"field": "symbols", "type": "quantitative", "title": "symbols"},
        *({"field": name, "type": "quantitative", "format": ".1%"} for name in ("confidence", "right", "low", "high")),
    ]
    spec: dict[str, Any] = {
        "data": {"values": rows},
        "width": "container",
        "height": 300,
        "layer": [
            _diagonal("confidence", "right"),
            {
                "mark": {"type": "rule"},
                "encoding": {"x": x | rate, "y": y | rate | {"field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "point": {"size": 60}},
                "encoding": {"x": x, "y": y | {"field": "right"}, "tooltip": tooltip},
            },
        ],
    }
    surest, least = found.bins[-1], found.bins[0]
    return Chart(
        name="calibration",
        title="Is it as sure as it may be?",
        spec=spec,
        description=(
            f"Share of right symbols against confidence, in {BINS} bins. Of the least sure symbols, with a mean "
            f"confidence of {percent(least.confidence)}, {percent(least.right)} are right; of the surest, with "
            f"{percent(surest.confidence)}, {percent(surest.right)}."
        ),
        caption=(
            f"Predicted symbols in {BINS} bins of equal counts, with 95 % intervals over pieces. A model "
            "that knows how sure it may be lies on the dashed diagonal; below it, it is too sure."
        ),
    )


def _found_chart(found: Calibration) -> Chart:
    most = found.found[-1][1]
    x = {"field": "checked", "type": "quantitative", "title": "symbols checked, the least sure first"}
    y = {"field": "found", "type": "quantitative", "title": "errors found"}
    rate = {"axis": {"format": "%"}, "scale": {"domain": [0, 1]}}
    tooltip = [{"field": name, "type": "quantitative", "format": ".0%"} for name in ("checked", "found")]
    spec: dict[str, Any] = {
        "data": {"values": [{"checked": round(n, 4), "found": round(share, 4)} for n, share in found.found]},
        "width": "container",
        "height": 300,
        "layer": [
            _diagonal("checked", "found", round(most, 4)),
            {"mark": "line", "encoding": {"x": x | rate, "y": y | rate, "tooltip": tooltip}},
        ],
    }
    return Chart(
        name="errors-found",
        title="Errors found by checking",
        spec=spec,
        description=(
            "Share of the errors found against share of the symbols checked. The least sure "
            f"{100 * CHECKED:.0f} % hold {percent(found.found_in_tenth)} of the errors; all of the symbols hold "
            f"{percent(most)}{'' if most == 1 else ', and the others are symbols that were missed'}."
        ),
        caption=(
            "Share of all errors; printed symbols that were missed are not found by checking those that were written. "
            "The dashed line is what checking symbols at random finds."
        ),
    )


def _diagonal(x: str, y: str, end: float = 1) -> dict[str, Any]:
    return {
        "data": {"values": [{x: 0, y: 0}, {x: 1, y: end}]},
        "mark": {"type": "line", "strokeDash": [4, 4], "strokeWidth": 1, "opacity": 0.6},
        "encoding": {"x": {"field": x, "type": "quantitative"}, "y": {"field": y, "type": "quantitative"}},
    }


def _grid(found: Calibration) -> Grid:
    return Grid(
        name="calibration-bins",
        title="Confidence and truth, bin by bin",
        header=["symbols", "mean confidence", "right", "95 % interval"],
        rows=[
            [f"{one.count:,}", percent(one.confidence), percent(one.right), percent_range((one.low, one.high), "{}")]
            for one in found.bins
        ],
        caption="Predicted symbols in bins of equal counts, the least sure first; intervals over pieces.",
    )


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
