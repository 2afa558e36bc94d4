"""The key numbers of a page, as they are written."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pythia_traj.analysis.tables import key_numbers


@dataclass(frozen=True)
class Cell:
    """A number as it is written: the value, its standard error, the step and the head."""

    value: str
    error: str
    where: str


@dataclass(frozen=True)
class NumbersLine:
    """The key numbers of one metric; None for a missing number."""

    what: str
    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class NumbersOfModel:
    """The key numbers of one model."""

    model: str
    lines: tuple[NumbersLine, ...]


def numbers_of(rows: pd.DataFrame) -> list[NumbersOfModel]:
    """The key numbers of some rows as they are written, by model and metric."""
    return [
        NumbersOfModel(
            str(model),
            tuple(
                NumbersLine(str(what), str(label), tuple(map(_cell, at.itertuples())))
                for (label, what), at in of_model.groupby(["label", "what"], sort=False)
            ),
        )
        for model, of_model in key_numbers(rows).groupby("model", sort=False)
    ]


def _cell(number: Any) -> Cell | None:
    if pd.isna(number.value):
        return None
    # Two digits of the error, and as many places of the value.
    exact = pd.isna(number.stderr) or number.stderr <= 0
    places = 4 if exact else min(max(1 - math.floor(math.log10(number.stderr)), 0), 8)
    return Cell(
        value=f"{number.value:z.{places}f}".replace("-", "−"),
        error="" if pd.isna(number.stderr) else f" ±\u00a0{number.stderr:.{places}f}",
        where=f"step\u00a0{number.step}" + (f" · {number.note}" if number.note else ""),
    )
