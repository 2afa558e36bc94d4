"""Runs that a page shows."""

from tests.figures.conftest import rows, rows_of
from tests.live.conftest import run, small_rows, small_run

__all__ = ["rows", "rows_of", "run", "small_rows", "small_run"]
