"""Options that several functions take, checked before anything is drawn."""

import math
from numbers import Integral

from pythia_traj.errors import AnalysisError

FEWEST_DRAWS = 100


def check_draws(draws: object) -> None:
    """Refuses a number of draws that no quantile can be read from.

    Raises:
        AnalysisError: it is not a whole number, or below 100.
    """
    if not isinstance(draws, Integral) or int(draws) < FEWEST_DRAWS:
        raise AnalysisError(f"draws={draws}: an interval needs at least {FEWEST_DRAWS}")


def check_seed(seed: object) -> None:
    """Refuses what cannot seed random numbers.

    Raises:
        AnalysisError: it is not a whole number from 0.
    """
    if not isinstance(seed, Integral) or int(seed) < 0:
        raise AnalysisError(f"seed={seed}: give a whole number from 0")


def check_level(name: str, level: float | None) -> None:
    """Refuses a threshold or a floor that is not a finite number.

    Raises:
        AnalysisError: it is not; `name` is the option's.
    """
    if level is not None and not math.isfinite(level):
        raise AnalysisError(f"{name}={level}: give a finite number")
