"""The page in a real browser, opened from a file: one Chromium for all of these tests."""

import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from pythia_traj import figures
from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.figures.charts import charts
from pythia_traj.figures.marks import with_onsets
from pythia_traj.figures.style import THEMES
from pythia_traj.figures.training import with_training
from pythia_traj.reports.contents import Told, page_of
from pythia_traj.reports.drawings import drawn, sections_of
from pythia_traj.reports.notes import Note
from pythia_traj.reports.report import rendered, write_text
from pythia_traj.suites.schedules import Schedule
from tests.chromium import NEEDS_CHROMIUM, started

pytestmark = list(NEEDS_CHROMIUM)

HOSTILE = (
    "<b>x</b></script><script>document.title='taken'</script>"
    "<a href='javascript:alert(1)'>y</a><img src=x onerror=alert(1)> %{x} $y$"
)
STEPS = (0, 1, 4, 64, 512, 1000, 8000, 143000)


def finding(words: str, experiment: str = "induction") -> Finding:
    return Finding(words, experiment, (), "")


@pytest.fixture(scope="module")
def browser():
    with started() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def shown_rows(rows_of) -> pd.DataFrame:
    return rows_of(steps=STEPS, layers=3, heads=4)


@pytest.fixture(scope="module")
def written(shown_rows, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    onsets = pd.DataFrame([_onset(shown_rows)])
    write_text(
        rendered(
            page_of(
                shown_rows,
                Told(
                    notes=[Note("warning", "One unit failed: out of memory.")],
                    findings=[finding("Prefix matching takes off at step 1,000.")],
                    dress=lambda figure: with_onsets(figure, onsets),
                ),
                title="A run",
            )
        ),
        path,
    )
    return path


def _onset(rows: pd.DataFrame) -> dict[str, object]:
    """A dated row of the loss on text."""
    chosen = rows[(rows["metric"] == "nll") & rows["control"].isna() & rows["position"].isna()]
    one = chosen[chosen["experiment"] == "loss"].iloc[0]
    date = {"status": "onset", "step": 600.0, "low": 512, "high": 1000, "level": 7.0}
    return {**one.drop(["low", "high"]), **date, "words": "step 600, 95 % interval 512..1000"}


@pytest.fixture
def opened(browser, written):
    """Opens the page in a window, waits until all of it is drawn, and fails on any message."""
    contexts = []

    def open_(path: Path = written, width: int = 1280, **looks: str):
        context = browser.new_context(viewport={"width": width, "height": 900}, **looks)
        contexts.append(context)
        page = context.new_page()
        own = ("blob:", "data:", path.as_uri())
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(own) else said.append(request.url),
        )
        page.goto(path.as_uri())
        settled(page)
        return page

    said: list[str] = []
    yield open_
    for context in contexts:
        context.close()
    assert said == []


def settled(page) -> None:
    """Waits until all figures show what was asked for."""
    page.wait_for_selector("html[data-ready=all]", state="attached", timeout=120000)


def choose_axis(page, name: str) -> None:
    page.get_by_role("radio", name=name).check()
    settled(page)


LOOKS = [
    (width, scheme, media)
    for width in (1280, 390)
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print"))
]


@pytest.mark.parametrize(("width", "scheme", "media"), LOOKS)
def test_it_opens_whole_on_a_desk_and_a_phone_in_light_dark_and_print(width, scheme, media, opened):
    page = opened(width=width, color_scheme=scheme)
    page.emulate_media(media=media, color_scheme=scheme)
    page.wait_for_timeout(200)
    settled(page)
    holders = page.locator("[data-figure]")
    assert holders.count() == len(charts()["loss"]) + len(charts()["induction"])
    wanted = "dark" if (scheme, media) == ("dark", "screen") else "light"
    looks = holders.evaluate_all("all => all.map(one => one.dataset.drawn)")
    assert set(looks) == {wanted}
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"dark": "rgb(21, 24, 28)", "light": "rgb(255, 255, 255)"}[wanted]
    ground = holders.first.locator(".main-svg").first.evaluate("one => one.style.background")
    assert ground == paper
    if media == "screen":
        assert page.evaluate("document.documentElement.scrollWidth") == width
    is_folded = page.locator("nav.contents details").get_attribute("open") is None
    assert is_folded == (width < 1000)


def test_the_map_of_a_step_is_painted_as_plotly_paints_it(opened):
    """Each pixel, and what the pointer finds, after the slider and after Plotly drew all again."""
    page = opened()
    painted = """async ([one, again]) => {
      const holder = document.querySelector(one);
      if (again) { drawnAs.delete(holder); redraw(holder); }
      const image = new Image();
      image.src = holder.querySelector(".x3y3 .heatmaplayer image").href.baseVal;
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"),
        { width: image.width, height: image.height });
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, image.width, image.height).data;
      const found = holder.calcdata[holder.layout.meta.at[0]][0].z;
      return [image.width, image.height, pixels.join(), JSON.stringify(found)];
    }"""
    seen = set()
    for place in (0, 3, 7):
        page.locator("#step").fill(str(place))
        settled(page)
        moved = page.evaluate(painted, [MAP, False])
        assert moved == page.evaluate(painted, [MAP, True])
        # Three layers and four heads.
        assert moved[:2] == [3, 4]
        seen.add(moved[2])
    assert len(seen) == 3


def test_a_figure_has_its_room_before_it_is_drawn(opened):
    """Where Plotly finds that legend or labels need more, it draws all of the figure again."""
    page = opened()
    rooms = page.evaluate(
        """() => [...document.querySelectorAll("[data-figure]")].map((one) => {
          const { margin, _size } = one._fullLayout;
          return ["l", "r", "t", "b"].map((side) => [margin[side], _size[side]]);
        })"""
    )
    for sides in rooms:
        for given, taken in sides:
            assert given == pytest.approx(taken, abs=0.5)


def test_a_map_has_the_colours_of_the_theme(opened):
    of_map = (
        "(() => { const layout = document.querySelector('MAP').layout;"
        " return [layout.coloraxis.colorscale[0][1], layout.plot_bgcolor]; })()"
    ).replace("MAP", MAP)
    for scheme in ("light", "dark"):
        theme = THEMES[scheme]
        page = opened(color_scheme=scheme)
        assert page.evaluate(of_map) == [theme.sequential[0], theme.absent]


def test_a_printed_figure_fits_the_paper_and_then_the_screen_again(opened):
    page = opened()
    holder = page.locator("#figure-0")
    width = "one => one.querySelector('.main-svg').getBoundingClientRect().width"
    on_screen = holder.evaluate(width)
    page.emulate_media(media="print")
    page.wait_for_timeout(200)
    assert holder.evaluate(width) == 660
    page.emulate_media(media="screen")
    page.wait_for_timeout(200)
    settled(page)
    assert holder.evaluate(width) == on_screen > 800


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_no_serious_violation(width, scheme, opened):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(opened(width=width, color_scheme=scheme)).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []


def test_step_0_has_a_place_and_a_label_on_the_log_axis(opened):
    page = opened()
    labels = page.locator("#figure-0 .xtick text").all_text_contents()
    assert labels[0] == "0"
    assert labels[-1] == "143000"
    points = page.evaluate("document.querySelector('#figure-0')._fullData.map(one => one.x)")
    assert any(0 in trace.values() if isinstance(trace, dict) else 0 in trace for trace in points)


def axis_of(page, figure: str = "#figure-0") -> dict:
    return page.evaluate(
        "one => { const axis = document.querySelector(one)._fullLayout.xaxis;"
        " return {title: axis.title.text, range: axis.range}; }",
        figure,
    )


def test_one_choice_moves_all_figures_to_tokens_and_to_the_loss(opened, shown_rows):
    page = opened()
    choose_axis(page, "tokens")
    every = page.locator("[data-figure]").evaluate_all(
        "all => all.filter(one => (one.layout.meta || {}).over === 'steps')"
        ".map(one => one._fullLayout.xaxis.title.text)"
    )
    assert len(every) == 11
    assert set(every) == {"training tokens"}
    assert page.evaluate("document.querySelector('#figure-0').layout.xaxis2.visible") is False
    assert axis_of(page)["range"][1] > 143000 * 2_097_152
    choose_axis(page, "loss")
    axis = axis_of(page)
    assert axis["title"] == "lowest loss on text until then (loss-stdlib; nats per token)"
    assert axis["range"][0] > axis["range"][1], "training goes from left to right"
    columns = page.evaluate(
        "Array.from(document.querySelector('[aria-label^=\"Prefix matching of every\"]').data[1].x)"
    )
    assert columns == sorted(columns)
    choose_axis(page, "steps (log)")
    assert axis_of(page)["title"] == "training step (log scale)"


MAP = '[aria-label^="Prefix matching of every"]'


def heads_shown(page) -> list:
    return page.evaluate("one => document.querySelector(one).data[0].z.map(row => [...row])", MAP)


def test_the_slider_moves_the_maps_of_one_step(opened, shown_rows):
    page = opened()
    holder = page.locator(MAP)
    holder.scroll_into_view_if_needed()
    for step in (0, 1000, 143000):
        page.locator("#step").fill(str(STEPS.index(step)))
        assert page.locator("#step-said").text_content() == f"step {step:,}"
        at = shown_rows[
            (shown_rows["metric"] == "prefix_matching")
            & (shown_rows["variant"] == "two_halves")
            & shown_rows["control"].isna()
            & (shown_rows["step"] == step)
        ]
        wanted = at.pivot(index="head", columns="layer", values="value")
        page.wait_for_timeout(100)
        assert heads_shown(page) == wanted.to_numpy().tolist()
        said = page.evaluate("one => document.querySelector(one).layout.annotations[0].text", MAP)
        assert said == f"at step {step:,}"
        place = page.evaluate("one => document.querySelector(one).layout.shapes[0].x0", MAP)
        assert place == math.log2(step + 1)
    # Those out of sight follow.
    settled(page)
    marked = page.locator("[data-figure]").evaluate_all(
        "all => all.filter(one => (one.layout.meta || {}).over === 'steps')"
        ".map(one => one.layout.shapes[0].x0)"
    )
    assert set(marked) == {math.log2(143001)}


def test_it_plays_from_the_first_step_to_the_last_and_stops(opened):
    page = opened()
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_timeout(700)
    assert page.locator("#step-said").text_content() in {f"step {s:,}" for s in STEPS[1:4]}
    page.get_by_role("button", name="Play").wait_for(timeout=10000)
    assert page.locator("#step-said").text_content() == "step 143,000"


def test_what_is_not_over_steps_stays_on_its_axis(opened):
    page = opened()
    places = (
        "(() => { const one = document.querySelector('[aria-label^=\"Loss along\"]');"
        " return [one.layout.xaxis.title.text, [...one.data[0].x]]; })()"
    )
    before = page.evaluate(places)
    choose_axis(page, "tokens")
    assert page.evaluate(places) == before


def test_a_zoom_ends_with_its_axis_and_a_hidden_line_stays_hidden(opened):
    page = opened()
    page.locator("#figure-0 .legendtoggle").first.click()
    page.wait_for_timeout(600)
    page.evaluate("Plotly.relayout('figure-0', {'xaxis.range': [4, 8]})")
    shown = (
        "(() => { const one = document.querySelector('#figure-0'); return"
        " one._fullData.filter(trace => trace.visible === 'legendonly').length; })()"
    )
    hidden = page.evaluate(shown)
    assert hidden > 0
    choose_axis(page, "tokens")
    assert page.evaluate(shown) == hidden
    assert axis_of(page)["range"][1] > 1e9, "not the zoom, of 4 to 8"


def test_the_learning_rate_can_be_hidden_everywhere(opened, shown_rows, tmp_path):
    schedule = Schedule(steps=(0, 1000, 143000), lr=(0.0, 1e-3, 1e-4), warmup_end=1000)
    known = {"pythia-70m-deduped": schedule}
    told = Told(schedules=list(known), dress=lambda figure: with_training(figure, known))
    path = tmp_path / "page.html"
    write_text(rendered(page_of(shown_rows, told, title="A run")), path)
    page = opened(path)
    drawn = (
        "document.querySelector('#figure-0')._fullData"
        ".filter(one => one.visible === true)"
        ".filter(one => (one.legendgroup || '').startsWith('training')).length"
    )
    assert page.evaluate(drawn) == 2
    page.get_by_role("checkbox", name="learning rate").uncheck()
    settled(page)
    assert page.evaluate(drawn) == 0


def test_the_step_of_each_model_is_marked_at_its_own_tokens(rows_of, opened, tmp_path):
    one, other = rows_of(models=("one",), steps=STEPS), rows_of(models=("other",), steps=STEPS)
    rows = pd.concat([one.astype(object), other.assign(tokens=other["tokens"] * 2).astype(object)])
    path = tmp_path / "page.html"
    write_text(rendered(page_of(rows, title="Two")), path)
    page = opened(path)
    page.locator("#step").fill(str(STEPS.index(1000)))
    choose_axis(page, "tokens")
    lines = page.evaluate("document.querySelector('#figure-0').layout.shapes.map(one => one.x0)")
    assert sorted(lines) == [1000 * 2_097_152, 2000 * 2_097_152]


def saved(page, holder: str, format_: str) -> Path:
    with page.expect_download() as coming:
        of = page.locator(holder).get_attribute("id")
        page.locator(f'button[data-of="{of}"][data-save="{format_}"]').click()
    return Path(coming.value.path())


@pytest.mark.parametrize("holder", ["#figure-0", MAP, '[aria-label^="Loss along"]'])
def test_the_saved_csv_has_the_values_that_load_gives(holder, opened, shown_rows):
    page = opened()
    choose_axis(page, "loss")
    with saved(page, holder, "csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    metric = {row["metric"] for row in found}.pop()
    known = shown_rows[shown_rows["metric"] == metric].astype({"value": float})
    by_key = {}
    columns = [name for name in found[0] if name not in ("value", "stderr", "low", "high", "n")]
    every = [*figures.data.COLUMNS[:-5], "step"]
    absent = [name for name in every if name not in columns and name in known]
    for row in known[known[absent].isna().all(axis=1)].itertuples():
        texts = ("" if pd.isna(getattr(row, name)) else str(getattr(row, name)) for name in columns)
        by_key[tuple(texts)] = row.value
    assert len(found) > len(STEPS) / 2
    for row in found:
        assert float(row["value"]) == by_key[tuple(row[name] for name in columns)]


def test_a_figure_is_saved_as_svg_with_text_on_white_and_as_png(opened):
    page = opened(color_scheme="dark")
    svg = saved(page, "#figure-0", "svg").read_text()
    tree = ET.fromstring(svg)
    texts = {text for one in tree.iter() if (text := (one.text or "").strip())}
    assert {"loss (nats per token)", "training step (log scale)"} <= texts
    assert "rgb(255, 255, 255)" in svg
    assert "rgb(21, 24, 28)" not in svg
    assert saved(page, "#figure-0", "png").read_bytes().startswith(b"\x89PNG")


def test_an_onset_is_marked_with_its_interval_and_follows_the_axis(opened):
    page = opened()
    mark = (
        "(() => { const mark = document.querySelector('#figure-0').data"
        ".find(one => (one.name || '').startsWith('onset')); return [...mark.x]; })()"
    )
    assert page.evaluate(mark) == [math.log2(step + 1) for step in (512, 600, 1000)]
    choose_axis(page, "tokens")
    low, at, high = page.evaluate(mark)
    assert (low, high) == (512 * 2_097_152, 1000 * 2_097_152)
    assert at == pytest.approx(600 * 2_097_152)


HOVER = """id => {
  const one = document.getElementById(id);
  const curveNumber = one.data.findIndex(
    trace => trace.meta && trace.meta.key && trace.type === "scatter");
  if (curveNumber >= 0) Plotly.Fx.hover(one, [{curveNumber, pointNumber: 0}]);
}"""
"""Points at the first line of a figure."""


def test_labels_from_the_data_stay_text(rows_of, opened, tmp_path):
    hostile = rows_of(models=(HOSTILE,), labels=(HOSTILE, f"ind {HOSTILE}"), steps=(0, 512))
    tame = rows_of(steps=(0, 512))
    rows = pd.concat([part.astype(object) for part in (hostile, tame)], ignore_index=True)
    rows["part"] = rows["part"].where(rows["part"].isna(), rows["part"].astype(str) + HOSTILE)
    rows["value"] = rows["value"].astype(float)
    path = tmp_path / f"page {'x' * 9} <b>.html"
    found = [finding(HOSTILE)]
    write_text(
        rendered(page_of(rows, Told([Note("warning", HOSTILE)], found), title=HOSTILE)),
        path,
    )
    page = opened(path)
    assert page.title() == HOSTILE
    assert page.locator("h1").text_content() == HOSTILE
    for inside in ("b", "img", "i", "a[href^=javascript]"):
        assert page.locator(inside).count() == 0
    legends = page.locator("#figure-0 .legendtext").all_text_contents()
    assert any(HOSTILE in text for text in legends)
    # Plotly makes links of some texts, inside the drawing.
    assert page.locator("svg a").count() == 0
    seen = []
    for i in range(page.locator("[data-figure]").count()):
        page.locator(f"#figure-{i}").scroll_into_view_if_needed()
        page.evaluate(HOVER, f"figure-{i}")
        page.wait_for_timeout(50)
        seen += page.locator(f"#figure-{i} .hoverlayer").all_text_contents()
        assert page.locator(f"#figure-{i} .hoverlayer a").count() == 0
    assert any("alert(1)" in text for text in seen)
    assert page.title() == HOSTILE


@pytest.mark.slow
def test_every_figure_of_every_experiment_is_drawn_and_saved_as_what_load_gives(
    every_value, opened, tmp_path
):
    sections = sections_of(every_value)
    shown = [figure for _, figure in drawn(sections)]
    path = tmp_path / "all.html"
    write_text(rendered(page_of(every_value, title="All", sections=sections)), path)
    page = opened(path)
    choose_axis(page, "tokens")
    page.locator("#step").fill("1")
    assert len(shown) == page.locator("[data-figure]").count() > 50
    for i, figure in enumerate(shown):
        text = page.evaluate(f"asCsv(dataOf(figures.get(document.getElementById('figure-{i}'))))")
        known = figures.data_of(figure)
        saved_rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        assert list(saved_rows) == list(known), i
        assert saved_rows["value"].astype(float).tolist() == known["value"].tolist(), i
        for name in known.columns.drop(["value", "stderr", "low", "high", "n"], errors="ignore"):
            assert saved_rows[name].tolist() == list(map(as_csv, known[name])), (i, name)


def as_csv(value: object) -> str:
    if value is None or pd.isna(value):
        return ""
    return value if isinstance(value, str) else str(int(value))


@pytest.mark.parametrize("kind", ["f8", "f4", "i4", "i2", "i1", "u4", "u2", "u1"])
def test_arrays_are_unpacked_with_their_types(kind, one_page):
    numbers = np.array([[0, 1, 100], [-100 if kind[0] != "u" else 200, 7, 3]], kind)
    carried = json.loads(go.Figure(go.Heatmap(z=numbers)).to_json())["data"][0]["z"]
    assert carried["dtype"] == kind
    assert one_page.evaluate("z => plain(z).map(row => [...row])", carried) == numbers.tolist()


@pytest.mark.parametrize(
    ("step", "value"), [(0, 5), (10, 4), (15, 3), (30, None), (35, None), (41, None)]
)
def test_between_measured_steps_a_place_is_on_the_line_and_beside_missing_ones_nowhere(
    step, value, one_page
):
    found = one_page.evaluate(
        "step => between([0, 10, 20, 30, 40], [5, 4, 2, null, 1], step)", step
    )
    assert found == value


def test_texts_with_commas_quotes_and_newlines_are_one_cell_of_the_csv(one_page):
    rows = [{"label": 'a,"b"\nc', "step": 1, "value": 0.1}, {"label": None, "step": 2, "value": 3}]
    text = one_page.evaluate("rows => asCsv(rows)", rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["label", "step", "value"],
        ['a,"b"\nc', "1", "0.1"],
        ["", "2", "3"],
    ]


def test_cells_without_a_value_are_not_in_the_csv_and_what_is_drawn_twice_is_once(one_page):
    trace = {
        "type": "heatmap",
        "z": [[0.5, None], [None, 0.25]],
        "meta": {"key": {"label": "a"}, "rows": [{"layer": 0}, {"layer": 1}], "steps": [4, 8]},
    }
    found = one_page.evaluate("trace => dataOf({data: [trace, trace]})", trace)
    assert found == [
        {"label": "a", "layer": 0, "step": 4, "tokens": None, "value": 0.5},
        {"label": "a", "layer": 1, "step": 8, "tokens": None, "value": 0.25},
    ]


def test_of_several_roles_of_a_head_a_map_of_one_step_shows_the_first(one_page):
    figure = {
        "data": [
            {"z": [[None, None]]},
            {
                "z": [[2, None], [3, 3], [None, 1]],
                "meta": {
                    "steps": [4, 8],
                    "rows": [{"layer": layer, "head": 0} for layer in (0, 0, 1)],
                },
            },
        ],
    }
    shown = (
        "([figure, step]) => { const data = structuredClone(figure.data);"
        " showStep(figure, data, {meta: {at: [0, 1]}}, step); return data[0].z; }"
    )
    assert one_page.evaluate(shown, [figure, 4]) == [[2, None]]
    assert one_page.evaluate(shown, [figure, 8]) == [[3, 1]]


def test_on_an_axis_a_map_has_its_columns_in_order_and_of_those_at_one_place_the_last(one_page):
    trace = {
        "type": "heatmap",
        "z": [[1, 2, 3, 4]],
        "customdata": [[0, 1, 2, 4]],
        "text": "one for all",
        "meta": {"model": "tied", "steps": [0, 1, 2, 4]},
    }
    moved = (
        "trace => { PAGE.training.tied = {steps: [0, 1, 2, 4], loss: [5, 3, 3, null]};"
        " return placed(trace, 'loss'); }"
    )
    found = one_page.evaluate(moved, trace)
    assert found["x"] == [3, 5]
    assert (found["z"], found["customdata"]) == ([[3, 1]], [[2, 0]])


@pytest.fixture(scope="module")
def one_page(browser, written):
    """The page, for its own functions."""
    page = browser.new_page()
    page.goto(written.as_uri())
    settled(page)
    yield page
    page.close()
