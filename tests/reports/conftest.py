"""The rows that figures are tested on."""

from tests.figures.conftest import every_row, every_value, rows, rows_of, two_models

__all__ = ["every_row", "every_value", "rows", "rows_of", "two_models"]
