"""Whether there is anything to draw, and of how many models."""

from collections.abc import Sequence

import pandas as pd

from pythia_traj.analysis.selection import reasons
from pythia_traj.errors import ConfigError, PythiaTrajError


class SeveralKindsError(ConfigError):
    """The rows are of several models, say, and one figure cannot tell these apart.

    Attributes:
        columns: those by which to choose; empty where rows are there twice.
        values: what stands in the column, where it is one.
        told: the message without the name of the figure.
    """

    def __init__(
        self, figure: str, told: str, columns: Sequence[str] = (), values: Sequence[str] = ()
    ) -> None:
        super().__init__(f"{figure} {told}" + (": select one first" if columns else ""))
        self.columns, self.values, self.told = tuple(columns), tuple(values), told


class NothingToDraw(PythiaTrajError):  # noqa: N818 - not an error
    """The rows hold no value of what was asked for.

    Attributes:
        reasons: each reason for a missing value, with its row count; empty without any row.
    """

    def __init__(self, what: str, reasons: dict[str, int]) -> None:
        told = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons.items())
        super().__init__(f"{what}: no value, {told}" if reasons else f"{what}: no rows")
        self.reasons = reasons


def drawable(chosen: pd.DataFrame, what: str) -> pd.DataFrame:
    """The chosen rows, where infinite values count as missing.

    Args:
        chosen: chosen rows.
        what: what they are, for the message.

    Raises:
        NothingToDraw: none of them has a finite value.
    """
    infinite = chosen["value"].isin([float("inf"), float("-inf")])
    if infinite.any():
        reason = chosen["reason"].mask(infinite, "infinite")
        chosen = chosen.assign(value=chosen["value"].mask(infinite), reason=reason)
    if chosen["value"].isna().all():
        raise NothingToDraw(what, reasons(chosen))
    return chosen


def one_each(chosen: pd.DataFrame, figure: str, *keys: str) -> None:
    """Refuses rows of several models, say, that a figure cannot tell apart.

    Args:
        chosen: chosen rows.
        figure: its name, for the message.
        *keys: columns that must have one value, words or numbers.

    Raises:
        SeveralKindsError: they hold several of one of the keys.
    """
    for key in keys:
        names = sorted({named(value) for value in chosen[key].unique()})
        if len(names) > 1:
            told = f"draws one {key}, these rows hold {', '.join(names)}"
            raise SeveralKindsError(figure, told, [key], names)


def named(value: str | float) -> str:
    """A value of a column in a message: none where it is absent, as `--where` takes it.

    >>> named(""), named(float("nan")), named(3.0), named("mean")
    ('none', 'none', '3', 'mean')
    """
    if isinstance(value, str):
        return value or "none"
    return "none" if pd.isna(value) else f"{value:.0f}"
