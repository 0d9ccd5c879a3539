"""The page's colours, in light and in dark: one object each, that its style sheet and its charts are both made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_NUMBERS = {"decimal": ".", "thousands": ",", "grouping": [3], "currency": ["$", ""], "percent": "\u00a0%"}


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours by their part. A spec says `"$blue"`, the style sheet `var(--blue)`.

    Attributes:
        paper, card, line: of the page, of what stands out from it, of what parts one thing from another.
        ink, muted: of text, and of text that matters less.
        blue, orange, green, sky, pink, amber: Okabe and Ito's palette, which colour-blind readers can tell apart; in
            the dark its hues, lighter.
        grey: of marks that are there to compare with.
        faint, strong: ends of a scale from little to much; `ink` can be read on both.
    """

    paper: str
    card: str
    line: str
    ink: str
    muted: str
    blue: str
    orange: str
    green: str
    sky: str
    pink: str
    amber: str
    grey: str
    faint: str
    strong: str

    def css(self) -> str:
        """As custom properties."""
        return " ".join(f"--{name}: {value};" for name, value in asdict(self).items())

    def config(self) -> dict[str, Any]:
        """As the configuration of a Vega-Lite chart."""
        text = {"labelColor": self.muted, "titleColor": self.ink}
        return {
            "background": None,
            "font": FONT,
            "padding": {"left": 4, "top": 4, "right": 14, "bottom": 4},  # the last label of an axis is wider than it
            "locale": {"number": _NUMBERS},
            "view": {"stroke": None},
            "axis": {
                **text,
                **{"domainColor": self.line, "tickColor": self.line, "gridColor": self.line},
                **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "labelLimit": 190},
                **{"titlePadding": 8, "gridOpacity": 0.8, "labelOverlap": True, "labelSeparation": 6},
            },
            "axisX": {"grid": False, "tickCount": 8, "labelFlush": False},
            "legend": {**text, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "orient": "top"},
            "header": {**text, "labelFontSize": 12},
            "title": {"color": self.ink, "subtitleColor": self.muted, "anchor": "start", "fontWeight": 600},
            "mark": {"color": self.blue},
            "text": {"color": self.ink, "fontSize": 12},
            "rule": {"color": self.muted},
            "point": {"filled": True, "size": 55},
            "range": {
                "category": [self.blue, self.orange, self.green, self.pink, self.sky, self.amber, self.grey],
                "heatmap": [self.faint, self.strong],
                "ramp": [self.faint, self.strong],
                "ordinal": [self.faint, self.strong],
            },
        }


LIGHT = Theme(
    paper="#ffffff",
    card="#f5f7f9",
    line="#dde2e7",
    ink="#1b1f24",
    muted="#57606a",
    blue="#0072b2",
    orange="#d55e00",
    green="#009e73",
    sky="#56b4e9",
    pink="#cc79a7",
    amber="#e69f00",
    grey="#9aa4af",
    faint="#edf3f9",
    strong="#5aabe0",
)

DARK = Theme(
    paper="#14171b",
    card="#1c2127",
    line="#303840",
    ink="#e6e9ec",
    muted="#a4adb7",
    blue="#5fb4ef",
    orange="#ff8f4a",
    green="#35c49b",
    sky="#9bd6ff",
    pink="#e5a0c8",
    amber="#f0b84e",
    grey="#727d89",
    faint="#1d2833",
    strong="#21699d",
)
