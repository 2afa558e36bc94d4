"""Differences between two values and their 95 % intervals."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from pythia_traj.analysis.matrix import Floats
from pythia_traj.engines.means import FEWEST_CLUSTERS

SIDES = ("first", "second")
"""The two that are compared."""


def independent(joined: pd.DataFrame) -> pd.DataFrame:
    """Differences and intervals as of two independent samples (Welch)."""
    errors = [joined[f"stderr_{side}"].to_numpy(float) for side in SIDES]
    free = [
        joined[f"clusters_{side}"].astype("Float64").to_numpy(float, na_value=np.nan) - 1
        for side in SIDES
    ]
    stderr = np.hypot(*errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = stderr**4 / sum(error**4 / f for error, f in zip(errors, free, strict=True))
    # Two errors of 0 have no degrees of freedom, and need none.
    df = np.where((stderr == 0) & np.isfinite(free[0] + free[1]), np.minimum(*free), df)
    df = np.where(np.minimum(*free) >= FEWEST_CLUSTERS - 1, df, np.nan)
    missing = [joined[f"reason_{side}"] for side in SIDES]
    reason = missing[0].where(missing[0].notna(), missing[1])
    lacks = np.isnan(stderr) | ~np.isfinite(df)
    reason = reason.where(reason.notna() | ~lacks, "no standard error of both values")
    found = joined.assign(
        first=joined["value_first"],
        second=joined["value_second"],
        interpolated=joined["interpolated_first"] | joined["interpolated_second"],
        paired=False,
        reason=reason.where(reason.notna(), None),
    )
    difference = found["second"] - found["first"]
    return with_interval(found.assign(difference=difference), stderr, df)


def with_interval(found: pd.DataFrame, stderr: Floats, df: Floats) -> pd.DataFrame:
    """Differences with the 95 % interval that their standard errors give, by Student's t."""
    enough = np.isfinite(df) & (df >= FEWEST_CLUSTERS - 1)
    known = np.where(enough, stderr, np.nan)
    reach = stdtrit(np.where(enough, df, np.nan), 0.975) * known
    return found.assign(
        stderr=known,
        df=np.where(enough, df, np.nan),
        low=found["difference"] - reach,
        high=found["difference"] + reach,
    )
