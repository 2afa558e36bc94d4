"""How large the report of a large run is, and how soon a browser shows it.

    python benchmarks/report.py [--json]

Every experiment, 24 layers, 16 heads, 154 steps (large_run.py). The baseline is what is written
today: the same figures by Plotly's own `to_html`, one after the other in one file with plotly.js.
A page is open when its first figure is drawn; the browser is Chromium, the page a file.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import harness
import large_run

import pythia_traj as pt
from pythia_traj.reports.contents import page_of
from pythia_traj.reports.drawings import Section, drawn, sections_of
from pythia_traj.reports.report import rendered, write_text

LARGEST, SLOWEST = 15e6, 3.0
"""Bytes of the file, and seconds until its first figure."""

TIMES = 7
"""Each page is opened so often, in turn with the other."""


def baseline(sections: list[Section]) -> str:
    """The figures as Plotly writes them."""
    figures = [figure for _, figure in drawn(sections)]
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=i == 0) for i, figure in enumerate(figures)
    ]
    return "<!DOCTYPE html><html><body>" + "\n".join(parts) + "</body></html>"


def opened(pages: dict[str, Path], chromium: str) -> dict[str, list[float]]:
    """Seconds until the first figure of each page is drawn, opened in turn."""
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {name: [] for name in pages}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for round_number in range(TIMES + 1):
            for name, path in pages.items():
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                start = time.perf_counter()
                page.goto(path.as_uri(), wait_until="commit")
                page.wait_for_selector(".main-svg", state="attached", timeout=120_000)
                # The browser answers when it has nothing more urgent to do: the page can be used.
                page.evaluate("1")
                elapsed = time.perf_counter() - start
                page.close()
                if round_number:
                    seconds[name].append(elapsed)
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    chromium = harness.chromium()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = large_run.small_run(folder)
        rows, told = large_run.enlarged(pt.load(small, controls=True)), large_run.told_of(small)
        start = time.perf_counter()
        sections = sections_of(rows)
        page = page_of(rows, told, title="A large run", sections=sections)
        write_text(rendered(page), folder / "report.html")
        written = time.perf_counter() - start
        write_text(baseline(sections), folder / "plotly.html")
        pages = {"report": folder / "report.html", "plotly_html": folder / "plotly.html"}
        sizes = {name: path.stat().st_size for name, path in pages.items()}
        seconds = opened(pages, chromium)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    harness.emit(
        harness.summary(seconds)
        | {"written": {"median": round(written, 2), "min": round(written, 2)}},
        {
            "report_opens_vs_3_s": median["report"] / SLOWEST,
            "report_opens_vs_plotly_html": median["report"] / median["plotly_html"],
            "report_size_vs_15_mb": sizes["report"] / LARGEST,
            "report_size_vs_plotly_html": sizes["report"] / sizes["plotly_html"],
        },
        as_json=arguments.json,
        memory={"page": sizes["report"], "plotly's page": sizes["plotly_html"]},
    )


if __name__ == "__main__":
    main()
