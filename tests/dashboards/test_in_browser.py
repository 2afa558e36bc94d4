"""The live page in a real browser, served on loopback, of runs that are really measured."""

import csv
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

import pytest

import pythia_traj as pt
from pythia_traj.store.done import list_units
from pythia_traj.store.layout import Run
from tests.chromium import NEEDS_CHROMIUM
from tests.dashboards.conftest import config, settled

pytestmark = list(NEEDS_CHROMIUM)

MAP = "#figures .slot:has(h3:text('Prefix matching of every head')) .plot"


def address(page) -> dict[str, list[str]]:
    return parse_qs(page.evaluate("location.search.slice(1)"))


def until(is_so, seconds: float = 30.0):
    """Waits until something holds: the page allows no script to wait in it."""
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


FIRST = (
    "(() => { const figure = figures.get(document.querySelector('#figures .plot'));"
    " return figure && figure.data.find((one) => one.meta && one.meta.key); })()"
)
"""The first line of the first figure, once it is there."""


def steps_drawn(page) -> list[int]:
    return page.evaluate(f"({FIRST} || {{ meta: {{}} }}).meta.steps || []")


def pick(page, name: str, word: str) -> None:
    """Chooses from a list with the keyboard alone: a list takes the letters of a word."""
    page.locator(f"select[name={name}]").focus()
    page.keyboard.type(word)


@pytest.mark.slow
def test_new_steps_appear_without_a_reload_while_a_real_sweep_writes(
    suite, run, serve, opened, tmp_path
):
    page = opened(serve(run).url + "?experiment=loss")
    page.evaluate("window.wasHere = true")
    assert steps_drawn(page) == [0, 1, 2]
    file = tmp_path / "more.yaml"
    asked = config(suite, run, "all")
    labels = {name: dict(one.parameters) for name, one in asked.experiments.items()}
    file.write_text(
        json.dumps({"model": str(suite), "steps": "all", "out": str(run), "experiments": labels})
    )
    sweep = subprocess.Popen([sys.executable, "-m", "pythia_traj.cli", "sweep", str(file)])
    try:
        until(lambda: steps_drawn(page) == [0, 1, 2, 4], 90)
    finally:
        assert sweep.wait(90) == 0
    until(lambda: "16 of 16 units done" in page.inner_text("#progress"))
    assert page.evaluate("window.wasHere")
    assert page.locator("#step-said").inner_text() == "step 4"


def test_the_first_figure_needs_nothing_of_dash(run, serve, browser):
    page = browser.new_page()
    page.route("**/_dash-*/**", lambda route: route.abort())
    page.goto(serve(run).url + "?experiment=induction&step=1")
    page.wait_for_selector("#figures .plot[data-drawn]")
    assert page.locator("select[name=experiment]").input_value() == "induction"
    assert page.locator("#step-said").inner_text() == "step 1"
    page.close()


def test_what_is_chosen_before_dash_is_there_is_answered_when_it_is(run, serve, browser):
    page = browser.new_page()
    held = []
    page.route("**/_dash-component-suites/**", lambda route: held.append(route))
    page.goto(serve(run).url + "?experiment=induction", wait_until="commit")
    page.wait_for_selector("#figures .plot[data-drawn]")
    pick(page, "experiment", "loss")
    until(lambda: held)
    # Those that are held go on then.
    page.unroute("**/_dash-component-suites/**")
    until(lambda: address(page).get("experiment") == ["loss"])
    until(lambda: "Loss" in page.locator("#figures h3").first.inner_text())
    page.close()


def test_the_slider_moves_map_table_samples_and_the_address_together(run, serve, opened):
    page = opened(serve(run).url + "?experiment=induction")
    page.locator("#step").focus()
    page.keyboard.press("Home")
    settled(page)
    texts = page.locator(f"{MAP} .annotation-text").all_text_contents()
    assert "at step 0" in texts
    assert address(page)["step"] == ["0"]
    rows = pt.load(run, experiment="induction", metric="prefix_matching", variant="two_halves")
    at = rows[(rows["step"] == 0)].set_index(["layer", "head"])["value"]
    shown = page.locator("#heads-table tbody tr").all_inner_texts()
    for line in shown:
        head, value = line.split()[:2]
        layer, number = map(int, head.removeprefix("L").split("H"))
        assert value == f"{at[layer, number]:.3f}"
    assert len(shown) == len(at)
    until(lambda: "step 0" in page.inner_text("#samples"))
    written = pt.load(run, table="samples", step=0)["continuation"].iloc[0].strip()
    assert written in page.inner_text("#samples")


def test_it_plays_along_the_steps_and_stops_at_the_last(run, serve, opened):
    page = opened(serve(run).url + "?experiment=induction&step=0")
    page.get_by_role("button", name="Play").click()
    seen = set()
    until(lambda: seen.update(address(page)["step"]) or "2" in seen)
    until(lambda: page.get_by_role("button", name="Play").is_visible())
    assert seen == {"0", "1", "2"}


def test_a_head_that_is_clicked_is_followed_with_its_interval_and_its_prompts(run, serve, opened):
    page = opened(serve(run).url + "?experiment=induction")
    upper = page.locator(f"{MAP} .nsewdrag[data-subplot=x3y3]").first
    upper.scroll_into_view_if_needed()
    box = upper.bounding_box()
    # Of 2 layers and 4 heads, the first layer's second head; Plotly must see the pointer come.
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] * 3 / 8
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    until(lambda: address(page).get("followed") == ["L0H1"])
    plot = page.locator("#followed-figures .plot[data-drawn]").first
    plot.wait_for()
    names = page.evaluate("one => one.data.map((line) => line.name)", plot.element_handle())
    assert "L0H1" in names
    rows = pt.load(
        run, metric="prefix_matching", variant="two_halves", layer=0, head=1, label="induction"
    )
    line = page.evaluate(
        "one => [...one.data.find((line) => line.name === 'L0H1').y]", plot.element_handle()
    )
    assert line == pytest.approx(list(rows.sort_values("step")["value"]))
    until(lambda: page.locator("#patterns-figures .plot[data-drawn]").count() > 0)
    page.locator("button[data-head=L0H1]").focus()
    page.keyboard.press("Enter")
    until(lambda: "followed" not in address(page))
    until(lambda: page.locator("#followed-figures .plot").count() == 0)


@pytest.mark.slow
def test_several_runs_are_overlaid_and_seeds_are_a_band(suite, measured, serve, opened, tmp_path):
    others = [tmp_path / name for name in ("second", "third")]
    for i, out in enumerate(others):
        pt.sweep(config(suite, out, "0,1,2", seed=i + 1))
    page = opened(serve(measured, *others).url + "?experiment=loss")
    names = "() => document.querySelector('#figures .plot').data.map((line) => line.name || '')"
    shown = page.evaluate(names)
    for one in ("first/tiny", "second/tiny", "third/tiny"):
        assert any(one in name for name in shown)
    page.get_by_role("radio", name="models as seeds").check()
    until(lambda: address(page).get("several") == ["band"])
    mean_of_seeds = f"({FIRST} || {{ meta: {{ key: {{}} }} }}).meta.key.model"
    until(lambda: page.evaluate(mean_of_seeds) == "mean of 3 seeds")
    values = [
        pt.load(one, label="loss", metric="nll", step=0, component=None, part=None, position=None)
        for one in (measured, *others)
    ]
    assert page.locator("input[name=models]").count() == 3
    mean = sum(float(one["value"].iloc[0]) for one in values) / 3
    assert page.evaluate(f"{FIRST}.y[0]") == pytest.approx(mean)


def test_every_control_is_reached_and_used_with_the_keyboard_alone(run, serve, opened):
    page = opened(serve(run).url + "?experiment=loss")
    reached = set()
    page.keyboard.press("Tab")
    for _ in range(60):
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.id"))
        page.keyboard.press("Tab")
    wanted = {"axis", "training", "step", "play", "theme", "copy-link", "save-view"}
    wanted |= {"experiment", "metric", "variant", "layers", "heads", "controls", "several"}
    assert wanted <= reached
    pick(page, "experiment", "induction")
    until(lambda: address(page).get("experiment") == ["induction"])
    pick(page, "metric", "previous")
    until(lambda: address(page).get("metric") == ["previous_token"])
    page.locator("input[name=layers]").focus()
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    until(lambda: address(page).get("layers") == ["1"])
    page.get_by_role("checkbox", name="controls").focus()
    page.keyboard.press("Space")
    until(lambda: address(page).get("controls") == ["no"])
    page.get_by_role("radio", name="steps (log)").focus()
    page.keyboard.press("ArrowRight")
    until(lambda: address(page).get("axis") == ["tokens"])


STATE = """() => { const all = (what) => [...document.querySelectorAll(what)]; return {
  view: { ...VIEW, hidden: [...VIEW.hidden] },
  headings: all("h3, h4").map((one) => one.textContent),
  followed: all("[aria-pressed=true]").map((one) => one.dataset.head),
  ranges: all(".plot").map((one) => one._fullLayout
    && one._fullLayout.xaxis.range.map((end) => end.toPrecision(6))),
  lines: all(".plot").map((one) => (one.data || []).map((line) => [line.name, line.visible])),
}; }"""


def state_of(page) -> dict[str, object] | None:
    """What is shown: headings, values, and where the figures stand; None while it changes."""
    settled(page)
    if page.locator(".plot:not([data-drawn])").count():
        return None
    before = page.evaluate(STATE)
    page.wait_for_timeout(500)
    return before if page.evaluate(STATE) == before else None


@pytest.mark.slow
def test_an_address_shows_exactly_what_was_shown_and_a_reload_keeps_it(run, serve, opened):
    served = serve(run)
    page = opened(served.url)
    pick(page, "experiment", "induction")
    until(lambda: address(page).get("experiment") == ["induction"])
    settled(page)
    page.get_by_role("radio", name="tokens").check()
    page.get_by_role("radio", name="dark").check()
    page.get_by_role("checkbox", name="learning rate").uncheck()
    page.locator("#step").focus()
    page.keyboard.press("Home")
    page.locator("button[data-head=L1H2]").click()
    page.locator("#followed-figures .plot[data-drawn]").first.wait_for()
    settled(page)
    plot = page.locator("#figures .plot").first
    # As a reader who drags over a part of it.
    page.evaluate("scrollTo(0, 0)")
    box = plot.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    until(lambda: "zoom" in address(page))
    # And who hides a line by its legend.
    plot.locator(".legendtoggle").first.click()
    until(lambda: "hidden" in address(page))
    shown = until(lambda: state_of(page))
    again = opened(page.evaluate("location.href"))
    until(lambda: again.locator("#followed-figures .plot[data-drawn]").count() > 0)
    until(lambda: state_of(again) == shown)
    page.reload()
    page.wait_for_selector("#followed-figures .plot[data-drawn]")
    until(lambda: state_of(page) == shown)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_no_serious_violation(width, scheme, measured, serve, opened):
    from axe_playwright_python.sync_playwright import Axe

    url = serve(measured).url + "?experiment=induction&followed=L0H1"
    page = opened(url, width=width, color_scheme=scheme)
    page.locator("#followed-figures .plot[data-drawn]").first.wait_for()
    settled(page)
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_file_that_becomes_corrupt_while_the_page_is_open_costs_its_own_rows(run, serve, opened):
    page = opened(serve(run).url + "?experiment=loss")
    damaged = next(one for one in list_units(Run.open(run)) if (one.label, one.step) == ("loss", 1))
    damaged.path.write_bytes(damaged.path.read_bytes()[:-100])
    until(lambda: steps_drawn(page) == [0, 2])
    notes = page.inner_text("#state")
    assert f"{damaged.path.relative_to(run)}" in notes
    assert "damaged" in notes


HOSTILE = "<b>x<|b><img src=x onerror=alert(1)>{%config%} %{x} $y$"


def test_hostile_strings_stay_text(measured, serve, opened, tmp_path):
    run = Path(shutil.copytree(measured, tmp_path / HOSTILE))
    served = serve(run)
    page = opened(served.url + "?experiment=induction&followed=%3Cb%3E&metric=%3Cb%3E")
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("main img").count() == 0
    page.locator("input[name=layers]").fill("<img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    until(lambda: "<img src=x onerror=alert(1)>" in page.inner_text("#why-not"))
    assert page.locator("main img").count() == 0


def saved(page, name: str) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).first.click()
    return Path(download.value.path())


def test_the_view_is_saved_as_html_svg_png_and_csv(run, serve, opened, browser, tmp_path):
    page = opened(serve(run).url + "?experiment=induction&metric=previous_token&step=1&axis=tokens")
    assert b"<svg" in saved(page, "SVG").read_bytes()
    assert saved(page, "PNG").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV").read_text())))
    of_run = pt.load(run, metric="previous_token", label="induction")
    assert sorted(float(row["value"]) for row in rows) == pytest.approx(sorted(of_run["value"]))
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as HTML").click()
    download.value.save_as(tmp_path / "view.html")
    alone = browser.new_page()
    alone.goto((tmp_path / "view.html").as_uri())
    settled(alone)
    assert alone.evaluate("[VIEW.axis, VIEW.step]") == ["tokens", 1]
    assert alone.locator("h3").first.inner_text() == page.locator("h3").first.inner_text()
    alone.close()


def test_a_run_without_a_row_is_said_and_shows_its_first_one_when_it_comes(
    suite, serve, browser, tmp_path
):
    out = tmp_path / "empty"
    Run.create(out)
    page = browser.new_page()
    page.goto(serve(out).url)
    until(lambda: "nothing was asked of this run yet" in page.inner_text("#state"))
    pt.sweep(config(suite, out, "0"))
    page.wait_for_selector("#figures .plot[data-drawn]", timeout=60_000)
    page.close()
