"""The rows that figures are tested on."""

from tests.figures.conftest import rows, rows_of, two_models

__all__ = ["rows", "rows_of", "two_models"]
