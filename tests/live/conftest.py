"""The rows that figures are tested on, as runs."""

import shutil
from pathlib import Path

import pytest

from pythia_traj.store.layout import Run
from tests.figures.conftest import every_row, every_value, rows, rows_of
from tests.live.made import made_run

__all__ = ["every_row", "every_value", "rows", "rows_of"]

STEPS = (0, 512, 1000, 143000)


@pytest.fixture(scope="session")
def small_rows(rows_of):
    """One model's rows of two experiments at four steps."""
    return rows_of(steps=STEPS)


@pytest.fixture(scope="session")
def small_run(small_rows, tmp_path_factory):
    """A run of them, not to be changed."""
    return made_run(tmp_path_factory.mktemp("live") / "run", small_rows).path


@pytest.fixture
def run(small_run, tmp_path):
    """A copy that the test may change."""
    return Run.open(Path(shutil.copytree(small_run, tmp_path / "run")))
