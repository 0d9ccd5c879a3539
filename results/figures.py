"""Plots of a study, drawn without a display and without matplotlib's global state.

matplotlib takes a second to import, so it is imported when something is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from results.schema import SER_BRANCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#222222", "#d9d9d9"
BLUE, ORANGE = "#0072b2", "#d55e00"
BRANCH_COLORS = dict(zip(SER_BRANCHES, ("#56b4e9", "#009e73", "#cc79a7"), strict=True))
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

STYLE: dict[str, Any] = {
    "lw": 2.0,
    "marker": "o",
    "markersize": 4.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}


def training_curve(epochs: pa.Table, title: str, path: Path) -> None:
    """Draw SER (whole and by branch) and losses over the epochs of one trial, as PNG.

    Args:
        epochs: the trial's rows of `epochs`.
        title: above both panels.
        path: of the PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(10, 4), dpi=160, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    ser, loss = figure.subplots(1, 2)
    _line(ser, epochs, "ser", "whole symbols", INK, zorder=3)
    for branch, color in BRANCH_COLORS.items():
        _line(ser, epochs, f"ser_{branch}", f"{branch} branch", color, lw=1.3, markersize=3.5)
    ser.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    _finish(ser, "Symbol error rate, validation")
    _line(loss, epochs, "train_loss", "training", BLUE)
    _line(loss, epochs, "validation_loss", "validation, teacher-forced", ORANGE)
    _finish(loss, "Loss")
    figure.savefig(path, format="png")


def _line(axes: Axes, epochs: pa.Table, name: str, label: str, color: str, **style: float) -> None:
    x = epochs["epoch"].to_numpy()
    y = epochs[name].to_numpy()  # null becomes NaN: a gap
    axes.plot(x, y, label=label, color=color, **(STYLE | style))


def _finish(axes: Axes, title: str) -> None:
    """From zero, whole epochs, light horizontal lines, no box, a legend that stays out of the way."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, left=False)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
