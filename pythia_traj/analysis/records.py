"""A table as JSON has it."""

from typing import Any

import pandas as pd


def as_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain dictionaries, null where a value is missing."""
    return [
        {
            str(name): value if isinstance(value, tuple) or not pd.isna(value) else None
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]
