"""What a reader who does not know the page found wrong with it, in a browser where it is there."""

import logging
from dataclasses import replace

import pytest

from pythia_traj.dashboards.sent import _progress
from pythia_traj.live.watched import Watched
from pythia_traj.reports.report import known_of
from pythia_traj.store.layout import Run
from tests.chromium import in_chromium
from tests.dashboards.client import Client
from tests.dashboards.conftest import settled
from tests.live.made import made_run


@pytest.fixture
def tiny(small_rows, tmp_path):
    """A run whose values are as small as the effects of heads on a loss."""
    rows = small_rows.assign(value=small_rows["value"] * 1e-5)
    return made_run(tmp_path / "tiny", rows).path


@in_chromium
def test_the_table_of_heads_tells_tiny_values_apart(tiny, serve, opened):
    page = opened(serve(tiny).url + "?experiment=induction")
    cells = page.locator("#heads-table tbody tr td:nth-child(2)").all_inner_texts()
    assert len(set(cells)) > 1, cells
    assert max(map(float, cells)) > 0


@in_chromium
def test_buttons_of_the_table_of_heads_stay_on_one_line(rows_of, tmp_path, serve, opened):
    rows = rows_of(models=("pythia-14m", "pythia-31m"), steps=(0, 512))
    run = made_run(tmp_path / "two", rows).path
    page = opened(serve(run).url + "?experiment=induction", width=1060)
    follow = page.locator("#heads-table button").first.bounding_box()
    save = page.locator(".saving button").first.bounding_box()
    assert follow["height"] == pytest.approx(save["height"], abs=2)


@in_chromium
def test_the_variant_of_a_metric_is_not_said_to_be_the_reports(small_run, serve, opened):
    page = opened(serve(small_run).url + "?experiment=induction")
    first = page.locator("select[name=variant] option").first
    assert first.inner_text() == "as in the report"
    page.select_option("select[name=metric]", "prefix_matching")
    page.wait_for_selector("#figures h3:text-is('prefix_matching')")
    settled(page)
    assert first.inner_text() == "all that one figure can show"
    page.select_option("select[name=metric]", "")
    page.wait_for_selector("#figures h3:text-is('The strongest heads')")
    assert first.inner_text() == "as in the report"


@in_chromium
def test_the_address_keeps_its_step_while_the_steps_are_not_known_yet(small_run, serve, opened):
    page = opened(serve(small_run).url + "?experiment=loss&step=512")
    assert "step=512" in page.evaluate("location.search")
    early = "(() => { VIEW.step = null; wantedStep = 512; PAGE.steps = []; return query(); })()"
    assert "step=512" in page.evaluate(early)
    late = "(() => { PAGE.steps = [0, 1]; return query(); })()"
    assert "step" not in page.evaluate(late), "it is not among them: the address has what is shown"


@in_chromium
def test_that_there_is_no_step_is_said_only_where_there_is_none(
    tmp_path, small_run, serve, browser
):
    run = Run.create(tmp_path / "empty").path
    page = browser.new_page()
    page.goto(serve(run).url)
    page.wait_for_selector("#step-said:text-is('no step yet')")
    page.close()
    assert "no step yet" not in Client(serve(small_run).port).get().text


@in_chromium
def test_a_band_of_seeds_lies_at_the_tokens_of_its_seeds(rows_of, tmp_path, serve, opened):
    rows = rows_of(models=("pythia-14m", "pythia-31m", "pythia-70m"), steps=(0, 512))
    run = made_run(tmp_path / "seeds", rows).path
    page = opened(serve(run).url + "?experiment=loss&metric=accuracy&several=band&axis=tokens")
    plot = "document.querySelector('#figures .plot')"
    places = page.evaluate(f"{plot}.data.find((one) => one.meta && one.meta.key).x")
    assert places == [0, 512 * 2_097_152]
    page.click("input[name=axis][value=loss]")
    settled(page)
    assert "a band has none" in page.inner_text("#figures .plot")


def test_units_done_have_the_separators_of_those_asked_for(small_run):
    watched = Watched([small_run])
    watched.look()
    (name, status), *_ = watched.state.status.items()
    many = replace(status, done=2001, failed=1002, units=dict.fromkeys(map(str, range(3003)), "x"))
    (said,) = _progress(replace(watched.state, status={name: many}))
    assert said.startswith("run: 2,001 of 3,003 units done, 1,002 failed")


def test_a_terminal_is_not_told_that_questions_of_a_page_wait(small_run, serve):
    serve(small_run)
    assert not logging.getLogger("waitress.queue").isEnabledFor(logging.WARNING)


def test_the_themes_are_made_once():
    assert known_of({}, [], [])["themes"] is known_of({}, [0], [])["themes"]
