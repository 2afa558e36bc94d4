"""Values of chosen rows with their intervals, and which of two is surely larger.

A value without an interval (fewer than 6 clusters, say) is never surely larger than anything; as a
control it is the mean over sets or draws, and is compared as it is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pythia_traj.analysis.selection import finite, interval
from pythia_traj.analysis.wording import interval_words, number_words


@dataclass(frozen=True)
class Value:
    """One value of a metric.

    Attributes:
        step: where it was measured.
        value: a mean over items.
        low, high: its 95 % interval; nan where it has none.
    """

    step: int
    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether it has an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def words(self) -> str:
        """The value with its interval: `0.33 (0.29 to 0.38)`."""
        return interval_words(self.value, self.low, self.high)

    @property
    def short(self) -> str:
        """The value alone, with the digits that its interval supports."""
        return number_words(self.value, self.low, self.high)

    def above(self, other: "Value | None") -> bool:
        """Whether it is surely larger; than what was not measured it is if it has an interval."""
        if not self.has_interval:
            return False
        if other is None:
            return True
        return self.low > (other.high if other.has_interval else other.value)

    def below(self, other: "Value | None") -> bool:
        """Whether it is surely smaller; than what was not measured it is if it has an interval."""
        if not self.has_interval:
            return False
        if other is None:
            return True
        return self.high < (other.low if other.has_interval else other.value)

    def apart(self, other: "Value | None") -> bool:
        """Whether it is surely larger or smaller."""
        return self.above(other) or self.below(other)


def values_of(chosen: pd.DataFrame) -> list[Value]:
    """The values of chosen rows of one trajectory, in the order of steps.

    Their intervals are those that a page shows (`pythia_traj.analysis.selection.interval`).
    """
    known = finite(chosen).drop_duplicates("step").sort_values("step")
    low, high = interval(known)
    return [
        Value(int(step), float(value), float(one), float(other))
        for step, value, one, other in zip(known["step"], known["value"], low, high, strict=True)
    ]


def first_last(chosen: pd.DataFrame) -> tuple[Value, Value] | None:
    """The first and the last value of one trajectory; None where it has fewer than two steps."""
    found = values_of(chosen)
    return (found[0], found[-1]) if len(found) > 1 else None


def at_step(chosen: pd.DataFrame, step: int) -> Value | None:
    """The value of one trajectory at a step; None where there is none."""
    found = values_of(chosen[chosen["step"] == step])
    return found[0] if found else None


def control_of(chosen: pd.DataFrame, step: int, control: str | None = None) -> Value | None:
    """The control of a measurement at a step; None where none was measured.

    Args:
        chosen: chosen rows of one measurement and its controls.
        step: where.
        control: which one; None is the only one, or the first in alphabetical order.
    """
    controls = finite(chosen[(chosen["control"] != "") & (chosen["step"] == step)])
    if control is None:
        control = min(controls["control"], default="")
    return at_step(controls[controls["control"] == control], step)


def surely_from(apart: list[tuple[int, bool]]) -> int | None:
    """The first step from which on something is so at all steps; None where it is not at the last.

    Args:
        apart: steps in their order, and whether it is so there.
    """
    since = None
    for step, is_so in apart:
        since = (step if since is None else since) if is_so else None
    return since
