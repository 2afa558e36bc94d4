"""Whether there is anything to draw, and of how many models."""

import pandas as pd

from pythia_traj.analysis.selection import reasons
from pythia_traj.errors import ConfigError, PythiaTrajError


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

    Raises:
        ConfigError: they hold several of one of the keys.
    """
    for key in keys:
        names = sorted(chosen[key].unique())
        if len(names) > 1:
            raise ConfigError(
                f"{figure} draws one {key}, these rows hold {', '.join(names)}: select one first"
            )
