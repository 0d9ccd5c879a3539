"""A page's blocks as HTML, and what its sections make of studies that are odd."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.page import html
from results.page.blocks import (
    Block,
    Chart,
    Dataset,
    Fold,
    Grid,
    KeyFigure,
    KeyFigures,
    Listing,
    Page,
    Picture,
    Points,
    Prose,
    Row,
    Section,
)
from results.page.charts import short_names
from results.page.cost import saved_epochs
from results.page.datasets import drawn_trials, left_out, places
from results.page.html import to_html
from results.page.markdown import to_blocks
from results.page.opening import opening
from results.page.subject import BASE, BEST, COMPLETED, STOPPED, Subject
from results.page.theme import DARK, LIGHT
from results.report import page_of
from results.report_sections import table
from tests.pages import every_block, stopped_study, varied_study
from tests.studies import FakeTrial, make_study

MARKUP = "<script>alert(1)</script> & \"quotes\" 'both' </style>"


@pytest.fixture(autouse=True)
def _no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vega's two seconds; `tests/end_to_end/test_page.py` draws with it."""
    monkeypatch.setattr(html, "_bundle", lambda: "window.vegaEmbed = null;")


def page(*blocks: Block, datasets: Sequence[Dataset] = ()) -> str:
    return to_html(
        Page(
            title="A study",
            subtitle="of something",
            sections=[Section(name="one", title="One", blocks=blocks)],
            datasets=datasets,
        )
    )


def chart(spec: dict[str, Any]) -> Chart:
    return Chart(name="a-chart", title="A chart", spec=spec, description="What it shows", caption="How to read it")


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


class Tags(HTMLParser):
    """Every tag that a parser sees, and every `id`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name == "href" and value and value.startswith("#")]


def test_a_text_from_anywhere_is_no_markup() -> None:
    spec = {"data": {"values": [{"x": MARKUP}]}, "mark": "point"}
    blocks = [
        Prose(paragraphs=[MARKUP]),
        Points(points=[MARKUP]),
        Grid(name="a", title=MARKUP, header=[MARKUP], rows=[[MARKUP]], caption=MARKUP),
        replace(chart(spec), title=MARKUP, description=MARKUP, caption=MARKUP),
        Picture(name="b", title=MARKUP, image=b"png", description=MARKUP, caption=MARKUP),
        Fold(title=MARKUP, blocks=[Listing(title=MARKUP, text=MARKUP)]),
        KeyFigures(figures=[KeyFigure(label=MARKUP, value=MARKUP, note=MARKUP)]),
    ]
    harmless = page(*blocks)
    assert "<script>alert" not in harmless
    assert Tags(harmless).tags.count("script") == 4  # the data, Vega, the page's own two
    assert Tags(harmless).tags.count("style") == 1
    assert data_of(harmless)["charts"]["a-chart"]["spec"]["data"]["values"] == [{"x": MARKUP}]


@given(text=st.text(max_size=40))
def test_any_text_of_a_cell_comes_back_out_of_the_markdown(text: str) -> None:
    line = " ".join(text.split()).replace("`", "'").strip()
    if line.endswith("\\") or "&lt;" in line:  # what Markdown itself cannot keep apart
        return
    [grid] = to_blocks(table(["name", "value"], [(line, "1")]), "grid", "A table")
    assert isinstance(grid, Grid)
    assert grid.rows == [[line, "1"]]


def test_a_long_table_is_folded_and_ends_somewhere() -> None:
    blocks = to_blocks(table(["n"], [[str(n)] for n in range(700)]), "grid", "Numbers")
    grid, fold = blocks
    assert isinstance(grid, Grid)
    assert isinstance(fold, Fold)
    [rest] = fold.blocks
    assert isinstance(rest, Grid)
    assert [row[0] for row in (*grid.rows, *rest.rows)] == [str(n) for n in range(500)]
    assert rest.caption == "200 more are in `reports/trials.parquet` of the study."


def test_numbers_stand_to_the_right_and_names_do_not() -> None:
    text = page(Grid(name="g", title="G", header=["a", "b"], rows=[["12.5 %", "x"], ["-", "y"], ["1 to 2 %", "z"]]))
    cells = re.findall(r"<td( class=\"\w+\")?>", text)
    assert cells == [' class="number"', ' class="short"'] * 3


def test_data_stand_in_the_page_once_and_only_if_a_chart_asks() -> None:
    asked = Dataset(name="asked", columns={"x": [1, math.nan, math.inf, 0.123456789]})
    spec = {"layer": [{"data": {"name": "asked"}, "mark": "point"}, {"data": {"name": "asked"}, "mark": "line"}]}
    inside = Fold(title="More", blocks=[Row(blocks=[chart(spec)])])
    data = data_of(page(inside, datasets=[asked, Dataset(name="unasked", columns={"x": [1]})]))
    assert data["datasets"] == {"asked": {"x": [1, None, None, 0.12346]}}


def test_the_page_runs_its_own_scripts_and_asks_nobody() -> None:
    text = page(chart({"mark": "point"}))
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found
    policy = unescape(found[1])
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert [html._hash(script) for script in scripts] == re.findall(r"'sha256-[^']*'", policy)
    assert not re.search(r"(src|href)=[\"']?https?:", text)


def test_both_themes_name_the_same_colours_and_can_be_read() -> None:
    for theme in (LIGHT, DARK):
        for text in (theme.ink, theme.muted, theme.blue):
            assert contrast(text, theme.paper) >= 4.5
        for ground in (theme.card, theme.faint, theme.strong):
            assert contrast(theme.ink, ground) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    names = short_names(["model.encoder.dropout", "model.decoder.dropout", "model.decoder.depth", "depth"])
    assert list(names.values()) == ["encoder.dropout", "decoder.dropout", "decoder.depth", "depth"]


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-9, 9), st.booleans(), st.text(max_size=3)), max_size=9))
def test_every_value_has_a_place_on_its_axis_or_none(values: list[Any]) -> None:
    found = places(values, None)
    assert len(found) == len(values)
    assert all(place is None or 0 <= place <= 1 for place in found)
    assert all(place is None for place, value in zip(found, values, strict=True) if value is None)


def test_parts_tell_the_winner_the_base_and_the_rest_apart(tmp_path: Path) -> None:
    trials = [
        FakeTrial(0, (0.5, 0.4, 0.3), origin="base"),
        FakeTrial(1, (0.5, 0.2, 0.1)),
        FakeTrial(2, (0.5, 0.4, 0.35)),
        FakeTrial(3, (0.9,), "pruned"),
    ]
    subject = Subject.of(make_study(tmp_path, trials))
    parts = {trial.number: subject.part(trial) for trial in subject.ranking}
    assert parts == {0: BASE, 1: BEST, 2: COMPLETED, 3: STOPPED}


def test_what_stopping_early_saved(tmp_path: Path) -> None:
    trials = [
        FakeTrial(0, (0.5, 0.4, 0.3), origin="base"),
        FakeTrial(1, (0.9,), "pruned"),
        FakeTrial(2, (0.5, 0.4), "failed"),  # nobody saved what it did not train
        FakeTrial(3, (0.5, 0.4, 0.31), repeats=0),
    ]
    saved, share = saved_epochs(Subject.of(make_study(tmp_path, trials)))
    assert (saved, share) == (2, 2 / 6)


def test_of_very_many_trials_the_best_and_a_sample_are_drawn(tmp_path: Path) -> None:
    trials = [FakeTrial(n, ((900 - n) / 1000,), origin="base" if n == 0 else "") for n in range(140)]
    subject = Subject.of(make_study(tmp_path, trials, checkpoints=False))
    drawn = [trial.number for trial in drawn_trials(subject, 120)]
    assert len(set(drawn)) == len(drawn) == 120
    assert {trial.number for trial in subject.ranked[:100]} | {0} <= set(drawn)
    assert drawn == [trial.number for trial in drawn_trials(subject, 120)]
    assert left_out(subject, 120).startswith("Drawn are 120 of 140 trials")
    assert left_out(subject, 140) == ""


@pytest.fixture
def no_staves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those take long, and tests of their own."""
    monkeypatch.setattr("results.report.mistakes_section", lambda *_: Section(name="mistakes", title="M", blocks=[]))


def charts_in(made: Page) -> dict[str, Chart]:
    blocks = [block for section in made.sections for block in every_block(section.blocks)]
    return {block.name: block for block in blocks if isinstance(block, Chart)}


NAN, INF = math.nan, math.inf
ODD = {
    "nothing has started": [],
    "one trial": [FakeTrial(0, (0.5, 0.4, 0.3), origin="base")],
    "no epoch": [FakeTrial(0, (), None, origin="base"), FakeTrial(1, (), None)],
    "only failures": [FakeTrial(0, (), "failed", origin="base"), FakeTrial(1, (0.9,), "failed")],
    "still running": [FakeTrial(0, (0.5, 0.4), None, origin="base"), FakeTrial(1, (0.6,), None)],
    "no base": [FakeTrial(0, (0.5, 0.4, 0.3)), FakeTrial(1, (0.5, 0.4, 0.2))],
    "numbers that are none": [
        FakeTrial(0, (0.5, 0.4, 0.3), origin="base"),
        FakeTrial(1, (NAN, INF), "diverged", more={"train_loss": INF, "validation_loss": NAN}),
        FakeTrial(2, (INF, NAN, 0.2), more={"seconds": NAN, "gpu_seconds": NAN, "peak_memory_bytes": NAN}),
    ],
    "values of several kinds": [
        FakeTrial(0, (0.5, 0.4, 0.3), params={"model.decoder.dropout": 0.1}, origin="base"),
        FakeTrial(1, (0.5, 0.4, 0.2), params={"model.decoder.dropout": "none"}),
        FakeTrial(2, (0.5, 0.4, 0.2), params={"model.decoder.dropout": None}),
        FakeTrial(3, (0.5, 0.4, 0.2), params={"model.decoder.dropout": True}),
    ],
    "names of markup": [
        FakeTrial(0, (0.5, 0.4, 0.3), params={"model.decoder.dropout": MARKUP}, origin="base"),
        FakeTrial(1, (0.5, 0.4, 0.2), params={"model.decoder.dropout": "`|\n"}, origin=MARKUP),
    ],
}


@pytest.mark.parametrize("trials", ODD.values(), ids=ODD)
@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.usefixtures("no_staves")
def test_every_study_gives_a_page(tmp_path: Path, trials: list[FakeTrial], checkpoints: bool) -> None:
    folder = make_study(tmp_path, trials, checkpoints=checkpoints)
    made = page_of(Subject.of(folder))
    text = to_html(made)
    seen = Tags(text)
    assert seen.tags.count("script") == 3 + bool(data_of(text)["charts"])
    assert len(seen.ids) == len(set(seen.ids))
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.ids)
    names = [section.name for section in made.sections]
    assert names[0] == "verdict"
    assert names[-3:] == ["cautions", "cost", "provenance"]


@pytest.mark.usefixtures("no_staves")
def test_only_the_base_was_trained_to_its_end(tmp_path: Path) -> None:
    subject = Subject.of(stopped_study(tmp_path))
    assert [trial.state for trial in subject.ranking] == ["completed"] + 6 * ["pruned"]
    assert (subject.winner, subject.findings.decisions) == (subject.base, ())
    made = page_of(subject)
    assert {"ranking-intervals", "parameter-5"} <= set(charts_in(made))
    assert charts_in(made).keys().isdisjoint({"interval", "parallel", "best-of-1"})  # nothing to compare it with
    assert Tags(to_html(made)).tags.count("section") == len(made.sections)


@pytest.mark.usefixtures("no_staves")
def test_a_parameter_has_one_name_in_all_figures(tmp_path: Path) -> None:
    charts = charts_in(page_of(Subject.of(varied_study(tmp_path, trials=24))))
    names = {charts[f"parameter-{place}"].title for place in range(1, 6)}
    assert names == {"learning_rate", "depth", "dropout", "schedule", "cutoff"}
    assert {charts[f"best-of-{place}"].title for place in (1, 2, 3)} <= names
    spec = charts["importance-map"].spec
    cells = spec["datasets"][spec["data"]["name"]]
    assert {cell["parameter"] for cell in cells} == names
    assert "model.decoder.depth" in {cell["targets"] for cell in cells}


def test_a_gain_that_is_worth_having_is_told_as_a_place_and_in_words(tmp_path: Path) -> None:
    made = Page(title="", subtitle="", sections=[opening(Subject.of(varied_study(tmp_path, trials=24)))])
    assert "right of \u22121 point (1 point better) is no gain" in charts_in(made)["interval"].caption


def test_a_population_that_changed_its_settings_gives_a_page(tmp_path: Path) -> None:
    subject = Subject.of(varied_study(tmp_path, trials=12, checkpoints=False))
    config = {**subject.study.config, "scheduler": {"name": "pbt"}}
    changed = replace(subject, study=replace(subject.study, config=config), winner=None)
    assert "Parallel coordinates" in to_html(page_of(changed))
