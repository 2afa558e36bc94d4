"""Runs, the real server, and a real browser; what it shows is kept where a test fails."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.dashboards.serving import dashboard
from tests.chromium import started
from tests.figures.conftest import rows, rows_of
from tests.live.conftest import run as made
from tests.live.conftest import small_rows, small_run

__all__ = ["made", "rows", "rows_of", "small_rows", "small_run"]

SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"

EXPERIMENTS = {
    "loss": {"n": 2, "length": 32},
    "induction": {"n": 4, "length": 12},
    "samples": {"tokens": 4, "samples": 1},
    "attention": {},
}


def config(suite: Path, out: Path, steps: str, **more: object) -> pt.SweepConfig:
    return pt.SweepConfig(
        model=str(suite), steps=steps, experiments=EXPERIMENTS, out=out, device="cpu", **more
    )


@pytest.fixture(scope="module")
def measured(suite, tmp_path_factory) -> Path:
    """A run of four experiments at steps 0, 1 and 2; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert not pt.sweep(config(suite, out, "0,1,2")).failed
    return out


@pytest.fixture
def run(measured, tmp_path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(measured, tmp_path / "first"))


@pytest.fixture
def serve():
    """Serves runs until the test ends."""
    with ExitStack() as stack:
        yield lambda *runs, **more: stack.enter_context(dashboard(runs, port=0, **more))


@pytest.fixture(scope="module")
def browser():
    with started() as chromium:
        yield chromium


@pytest.fixture
def opened(browser, request):
    """Opens an address in a window; fails on any message of the console, or request elsewhere."""
    contexts, pages = [], []
    said: list[str] = []

    def open_(url: str, width: int = 1280, **looks: object):
        context = browser.new_context(viewport={"width": width, "height": 900}, **looks)
        contexts.append(context)
        page = context.new_page()
        pages.append(page)
        own = (url.partition("?")[0], "blob:", "data:")
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda one: one.url.startswith(own) or said.append(one.url))
        page.goto(url)
        page.wait_for_selector("#figures .plot[data-drawn]", timeout=60_000)
        settled(page)
        return page

    before = request.session.testsfailed
    yield open_
    if request.session.testsfailed > before or said:
        SCREENSHOTS.mkdir(exist_ok=True)
        for i, page in enumerate(pages):
            name = "".join(one if one.isalnum() else "-" for one in request.node.name)
            page.screenshot(path=SCREENSHOTS / f"{name}-{i}.png", full_page=True)
    for context in contexts:
        context.close()
    assert said == []


def settled(page) -> None:
    """Waits until all figures are there and show what was asked for."""
    ready = 'html[data-ready=all]:not([data-loaded=""])'
    page.wait_for_selector(ready, state="attached", timeout=60_000)
