"""How soon the live dashboard shows a run of 2 million rows, and answers what its reader does.

    python benchmarks/dashboard.py [--json]

The run has two models of 24 layers and 16 heads, 77 steps and 13 experiments: 2 million rows in
2 002 files (large_run.py). The server is the command `pythia-traj dashboard` in a process of its
own, the browser is Chromium. The page is opened anew for each round; a figure counts when it is
drawn.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import large_run
import psutil

from pythia_traj.live.watched import Watched
from pythia_traj.store.layout import Run

FIRST_PAINT, INTERACTION, MEMORY = 2.0, 0.3, 1.5e9
"""Seconds until the first figure, and after a reader did something; bytes of the server."""

WITHOUT = {"head_roles", "weights", "patching", "linear_probe"}
"""Experiments that the run has not: with them, 2 million rows would be of few steps."""

MODELS = ("pythia-a", "pythia-b")

ROUNDS = 7

AWAIT = """
const next = () => new Promise(requestAnimationFrame);
const slots = (of) => [...document.querySelectorAll(`${of} .slot`)].filter(isInSight);
const isDrawn = (slot) => slot.ariaBusy !== "true" && [...slot.querySelectorAll(".plot")]
  .every((holder) => !isInSight(holder) || (holder.dataset.drawn && !stale.has(holder)));
const isShown = (of) => slots(of).length > 0 && slots(of).every(isDrawn);
const timed = async (act, is = () => isShown("#figures")) => {
  const at = performance.now();
  act();
  while (!is()) await next();
  await next();
  return (performance.now() - at) / 1000;
};
const asks = async (act) => { const before = lastOffered;
  return timed(act, () => lastOffered !== before && isShown("#figures")); };
const set = (name, value) => { form.elements[name].value = value; askFor(); };
const input = (element, value) => { element.value = value;
  element.dispatchEvent(new Event("input", { bubbles: true })); };
const isFollowed = () => {
  const holders = [...document.querySelectorAll("#followed-figures .plot")];
  return holders.length > 0 && holders.every((one) => one.dataset.drawn && !stale.has(one));
};
"""
"""What a reader did is answered when all figures in the window show it; the choice of a head, when
its figures are drawn, which stand below the table.
"""

INTERACTIONS = {
    "slider": "timed(() => input(slider, 20))",
    "axis": "timed(() => document.querySelector('input[name=axis][value=tokens]').click())",
    "theme": "timed(() => document.querySelector('input[name=theme][value=dark]').click())",
    "experiment": 'asks(() => set("experiment", "ablation"))',
    "metric": 'asks(() => set("metric", form.elements.metric.options[1].value))',
    "report": 'asks(() => set("metric", ""))',
    "head": """(async () => {
      document.getElementById("heads-section").scrollIntoView();
      await next();
      const name = document.querySelector("#heads-table button").dataset.head;
      return timed(() => follow(name), isFollowed); })()""",
    "map": """(async () => {
      [...document.querySelectorAll("#figures .slot")].find((slot) => slot.textContent.includes(
        "every head")).scrollIntoView();
      await next();
      return timed(() => input(slider, 30)); })()""",
    "model": """(async () => { scrollTo(0, 0); await next();
      return asks(() => { form.querySelector("input[name=models]").checked = false; askFor(); });
    })()""",
}
"""What a reader does, in this order, as the promise of the seconds until it is drawn: `map` moves
the slider with a map of all heads in sight.
"""


@contextmanager
def served(run: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a dashboard in a process of its own, and the process."""
    program = Path(sys.executable).with_name("pythia-traj")
    command = [str(program), "dashboard", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise RuntimeError("the dashboard did not start")
        yield found[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def read_whole(page: Any, url: str) -> float:
    """Seconds until the server has read all files, as its page says."""
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("#progress", timeout=60_000)
    while "reading" in page.inner_text("#progress"):
        page.wait_for_timeout(500)
    return time.perf_counter() - start


def opened(page: Any, url: str) -> float:
    """Seconds until the first figure of a page is drawn."""
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#figures .main-svg", state="attached", timeout=60_000)
    page.evaluate("1")
    return time.perf_counter() - start


def acted(page: Any) -> dict[str, float]:
    """Seconds of each interaction, with a pause after each."""
    seconds = {}
    for name, action in INTERACTIONS.items():
        ready = "html[data-ready=all][data-loaded=all]"
        page.wait_for_selector(ready, state="attached", timeout=60_000)
        page.wait_for_timeout(500)
        seconds[name] = page.evaluate(f"async () => {{ {AWAIT} return await {action}; }}")
    return seconds


def opened_after_one(run: Path) -> int:
    """Files that are opened for one new unit, of a run that was read."""
    watched = Watched([run])
    while watched.look(1000).waiting:
        pass
    large_run.one_more(Run.open(run), MODELS[0], large_run.STEPS[1])
    return watched.look().opened


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    chromium = harness.chromium()
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        small = large_run.small_run(Path(name))
        run = large_run.written_run(
            small, Path(name) / "large", MODELS, large_run.STEPS[::2], WITHOUT
        )
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served(run) as (url, server):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            reading = read_whole(page, url)
            page.wait_for_timeout(30_000)
            page.close()
            for round_number in range(ROUNDS + 1):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                found = {"first_paint": opened(page, f"{url}?experiment=induction")} | acted(page)
                page.close()
                for what, one in found.items() if round_number else ():
                    seconds.setdefault(what, []).append(one)
            memory = server.memory_info().rss
        browser.close()
        files = opened_after_one(run)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = max(value for name, value in median.items() if name != "first_paint")
    harness.emit(
        harness.summary(seconds)
        | {"reading": {"median": round(reading, 2), "min": round(reading, 2)}},
        {
            "first_paint_vs_2_s": median["first_paint"] / FIRST_PAINT,
            "slowest_interaction_vs_300_ms": slowest / INTERACTION,
            "memory_vs_1.5_gb": memory / MEMORY,
            "files_opened_after_one_unit": files,
        },
        as_json=arguments.json,
        memory={"server": memory},
    )


if __name__ == "__main__":
    main()
