"""How large the page of a large run is: every experiment, 24 layers, 16 heads, 154 steps."""

import pytest

import pythia_traj as pt
from pythia_traj.reports.contents import page_of
from pythia_traj.reports.report import rendered
from tests.benchmark import benchmark


@pytest.fixture
def large_run():
    with benchmark("large_run") as program:
        yield program


@pytest.mark.slow
def test_the_page_of_all_experiments_of_a_large_model_is_under_15_mb(large_run, tmp_path):
    small = large_run.small_run(tmp_path)
    rows = large_run.enlarged(pt.load(small, controls=True))
    assert rows["step"].nunique() == 154
    assert len(rows.dropna(subset=["head"]).drop_duplicates(["layer", "head"])) == 24 * 16
    page = page_of(rows, large_run.told_of(small), title="A large run")
    assert {section.heading for section in page.sections} == set(large_run.EXPERIMENTS)
    drawn = [panel for panel in page.figures if panel.key]
    assert len(drawn) > 50
    assert len(rendered(page).encode()) < 15e6
