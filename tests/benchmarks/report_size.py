"""`python -m tests.benchmarks.report_size [TRIALS]`: how large a study's page may grow.

Makes a study of so many trials (10,000), writes its page, opens it in headless Chromium, and prints: seconds to write,
size, seconds until the first chart is there, seconds until all are, and the memory that the page's scripts hold.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from results.report import write_report
from tests.pages import CHROMIUM_ARGUMENTS, varied_study


def main() -> None:
    """See the module."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = varied_study(Path(name), trials=count, checkpoints=False)
        start = time.perf_counter()
        page = write_report(folder, folder / "report.html")
        print(f"{count:,} trials: written in {time.perf_counter() - start:.1f} s, {page.stat().st_size / 1e6:.2f} MB")
        open_page(page)


def open_page(path: Path) -> None:
    """Print how long Chromium takes for it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".plot svg, .plot canvas")
        first = time.perf_counter() - start
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for place in range(page.locator(".plot").count()):
            page.locator(".plot").nth(place).scroll_into_view_if_needed()
            page.locator(".plot").nth(place).locator("svg, canvas").first.wait_for()
        every = time.perf_counter() - start
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        held = f"{metrics['JSHeapUsedSize'] / 2**20:.0f} MiB held by scripts, {metrics['Nodes']:,.0f} nodes"
        print(f"first chart after {first:.1f} s, scrolled through with all folds open after {every:.1f} s; {held}")
        browser.close()


if __name__ == "__main__":
    main()
