"""docs/data.md: each of its lines runs on a small run, and gives the rows that `load` gives."""

import re
import shutil
import subprocess
from pathlib import Path

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

import pythia_traj as pt

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
ONE_LINE = PAGE[PAGE.index("## One line each") : PAGE.index("## One file")]
LINES = {
    name.strip().split("\n\n")[-1].partition(" ")[0].strip(",:"): code
    for name, code in re.findall(r"(.*?)```python\n(.*?)```", ONE_LINE, re.DOTALL)
}
NAMES = {
    "pt": pt,
    "pd": pd,
    "pl": pl,
    "ds": ds,
    "duckdb": duckdb,
    "load_dataset": datasets.load_dataset,
}


@pytest.fixture
def runs(shared, tmp_path, monkeypatch):
    """The folder in which the page's commands are given."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "induction").symlink_to(shared.path)
    monkeypatch.chdir(tmp_path)
    # What a library keeps on disk goes with the test.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "runs" / "induction"


def test_the_page_has_a_line_for_each_reader():
    assert set(LINES) == {"pythia-traj", "pandas", "Polars", "DuckDB", "pyarrow", "datasets"}


def executed(code):
    names = dict(NAMES)
    exec(code, names)
    return names["rows"]


@pytest.mark.parametrize("reader", [name for name in LINES if name != "pythia-traj"])
def test_a_readers_line_gives_the_rows_that_load_gives(runs, reader):
    rows = executed(LINES[reader])
    frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    expected = pt.load(runs, controls=True)
    assert len(frame) == len(expected)
    keys = ["model", "label", "step", "metric", "variant", "control", "layer", "head", "part"]
    ordered = [
        one[[*keys, "value"]]
        .astype(object)
        .where(one.notna(), None)
        .astype(str)
        .sort_values([*keys, "value"], ignore_index=True)
        for one in (frame.astype({"layer": "Int64", "head": "Int64"}), expected)
    ]
    pd.testing.assert_frame_equal(*ordered)


def test_the_projects_own_line_chooses_rows(runs):
    rows = executed(LINES["pythia-traj"])
    assert set(rows.metric) == {"prefix_matching"}
    assert set(rows.step) == {0}


def test_the_line_for_r_gives_as_many_rows(runs):
    (line,) = re.findall(r"```r\n(.*?)```", ONE_LINE, re.DOTALL)
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    asked = ["Rscript", "-e", "stopifnot(requireNamespace('arrow'), requireNamespace('dplyr'))"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("R's packages arrow and dplyr are not installed")
    done = subprocess.run(
        ["Rscript", "-e", f"{line}\ncat(nrow(rows))"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) == len(pt.load(runs, controls=True))


def test_the_pages_commands_are_commands(runs, cli):
    lines = re.findall(r"^pythia-traj (export .*)$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        words = line.partition("#")[0].split()
        status, _, err = cli(*words)
        assert (status, err) == (0, ""), line


def test_the_pages_figures_are_drawn(runs):
    section = PAGE[PAGE.index("## Figures in one line") :]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    rows = pt.load(runs, label="induction", controls=True)
    for line in code.splitlines():
        if "prefix_matching" in line:
            line = line.replace("rows,", "rows[rows.model == 'tiny'],")
        assert eval(line, {"pt": pt, "rows": rows}).data
