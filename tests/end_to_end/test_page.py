"""A study's page as a browser shows it: headless Chromium, where the machine has one."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from results.page.blocks import Chart
from results.page.subject import Subject
from results.page.theme import DARK
from results.report import page_of, write_report
from tests.pages import CHROMIUM_ARGUMENTS, even_study, every_block, stopped_study, varied_study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
GRAVE = {"serious", "critical"}
TRIALS = 24

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_study(tmp_path_factory.mktemp("studies"), trials=TRIALS)


@pytest.fixture(scope="module")
def report(study: Path) -> Path:
    return write_report(study, study / "report.html")


class Opened:
    """The page in a tab, with what it said and asked for."""

    def __init__(self, browser: Browser, path: Path, **context: Any) -> None:
        self.tab: Page = browser.new_context(viewport={"width": 1280, "height": 900}, **context).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(path.as_uri())

    def draw_all(self) -> None:
        """Open every fold and scroll to every chart."""
        self.tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        plots = self.tab.locator(".plot")
        for place in range(plots.count()):
            plots.nth(place).evaluate("(each) => each.scrollIntoView({ behavior: 'instant' })")
            plots.nth(place).locator("svg, canvas").first.wait_for()


@pytest.fixture(scope="module")
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    """One page for those who leave it as it is, but for open folds."""
    page = Opened(browser, report)
    yield page
    page.tab.context.close()


def test_every_figure_is_drawn_and_the_page_says_and_asks_nothing(opened: Opened, study: Path, report: Path) -> None:
    blocks = [block for section in page_of(Subject.of(study)).sections for block in every_block(section.blocks)]
    wanted = [block.name for block in blocks if isinstance(block, Chart)]
    assert {"interval", "ranking-intervals", "best-so-far", "curves-ser", "curves-train-loss"} <= set(wanted)
    assert {"parameter-5", "best-of-1", "parallel", "importance-map", "cost-by-state"} <= set(wanted)
    opened.draw_all()
    empty = [name for name in wanted if not opened.tab.evaluate(f"({MARKS})('{name}')")]
    assert empty == []
    assert opened.said == []
    assert opened.asked == [report.as_uri()]


MARKS = """(name) => {
  const figure = document.getElementById(name);
  const marks = figure.querySelectorAll("[role=graphics-symbol] path, [role=graphics-symbol], .mark-rule line").length;
  const canvas = figure.querySelector("canvas");
  if (!canvas) return marks;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.some((value) => value !== 0) ? 1 : 0;
}"""


@pytest.mark.parametrize("made", [stopped_study, even_study])
def test_where_there_is_little_to_compare_the_marks_have_places(
    browser: Browser, tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    study = made(tmp_path)
    page = Opened(browser, write_report(study, study / "report.html"))
    page.draw_all()
    assert page.said == []
    assert page.tab.locator("#ranking-intervals .role-mark path").count() >= 1
    assert page.tab.locator("svg [d*=NaN], svg [transform*=NaN], svg [opacity=NaN]").count() == 0
    page.tab.context.close()


def test_the_links_lead_somewhere(opened: Opened) -> None:
    links = opened.tab.locator("a[href^='#']")
    targets = [str(links.nth(place).get_attribute("href")) for place in range(links.count())]
    assert len(targets) > 8
    assert [target for target in targets if opened.tab.locator(target).count() != 1] == []


def test_the_colours_are_switched_by_keyboard_and_kept(browser: Browser, report: Path) -> None:
    page = Opened(browser, report, color_scheme="light")
    plot = page.tab.locator("#cost-by-state .plot")
    plot.evaluate("(each) => each.scrollIntoView({ behavior: 'instant' })")
    plot.locator("svg").wait_for()
    bright = plot.locator("svg").inner_html()
    page.tab.get_by_role("button", name="Switch to the dark colours").focus()
    page.tab.keyboard.press("Enter")
    expect(plot.locator("svg")).to_have_count(1)
    expect(plot.locator(f"svg [fill='{DARK.ink}']").first).to_be_attached()
    assert plot.locator("svg").inner_html() != bright
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    page.tab.reload()
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    page.tab.get_by_role("button", name="Switch to the light colours").press("Space")
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.said == []
    page.tab.context.close()


def test_a_table_is_sorted_by_keyboard(opened: Opened) -> None:
    trials = opened.tab.locator("#trials")
    heading = trials.get_by_role("columnheader", name="trial", exact=True)
    for order in ("ascending", "descending"):
        heading.get_by_role("button").press("Enter")
        assert heading.get_attribute("aria-sort") == order
        cells = trials.locator("tbody tr td:nth-child(2)").all_inner_texts()
        numbers = [int(re.split(r"\D", cell)[0]) for cell in cells]
        assert numbers == sorted(numbers, reverse=order == "descending")


def test_a_reader_of_screens_hears_what_each_figure_shows(opened: Opened) -> None:
    opened.draw_all()
    tree = opened.tab.locator("main").aria_snapshot()
    for heard in ('figure "SER over GPU time"', 'region "Trials, table"', 'heading "Verdict" [level=2]'):
        assert heard in tree
    described = opened.tab.locator("#best-so-far [aria-label*='The best so far went from']")
    assert described.count() >= 1
    headings = opened.tab.locator("h1, h2, h3").evaluate_all("(all) => all.map((each) => Number(each.tagName[1]))")
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_nothing_keeps_anybody_from_using_it(opened: Opened) -> None:
    opened.draw_all()
    assert grave(opened.tab) == []
    opened.tab.emulate_media(color_scheme="dark")
    opened.tab.locator(f"#interval svg [stroke='{DARK.sky}']").first.wait_for(state="attached")
    assert grave(opened.tab, "color-contrast") == []  # all that the colours may change
    opened.tab.emulate_media(color_scheme="light")


def grave(tab: Page, *rules: str) -> list[tuple[str, str]]:
    """What axe finds by some rules, or by all: the rule and the first element that breaks it."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = Axe().run(tab, options=options).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in GRAVE]


def test_paper_has_every_fold_open_and_light_charts(browser: Browser, report: Path) -> None:
    page = Opened(browser, report, color_scheme="dark")
    page.tab.locator("#interval svg").wait_for()
    page.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.tab.locator("details:not([open])").count() == 0
    expect(page.tab.locator(".plot:not(:has(svg, canvas))")).to_have_count(0)
    assert "#0072b2" in page.tab.locator("#interval svg").inner_html()
    page.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.tab.locator("details[open]").count() == 0
    assert page.said == []
    page.tab.context.close()


def test_a_narrow_screen_is_not_scrolled_sideways(browser: Browser, report: Path) -> None:
    page = Opened(browser, report)
    page.tab.set_viewport_size({"width": 400, "height": 800})
    page.tab.reload()
    page.draw_all()
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400
    page.tab.context.close()
