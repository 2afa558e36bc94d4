"""Options that whatever draws at random has: how many draws, and their seed."""

import numpy as np

from pythia_traj.errors import AnalysisError

FEWEST_DRAWS = 100
"""With fewer, the ends of a 95 % interval are single draws."""


def check_draws(draws: int) -> None:
    """Refuses too few draws for an interval or a p-value.

    Raises:
        AnalysisError: there are fewer than 100.
    """
    if not draws >= FEWEST_DRAWS:
        raise AnalysisError(f"draws={draws}: an interval needs at least {FEWEST_DRAWS}")


def check_seed(seed: int) -> None:
    """Refuses what is not a seed.

    Raises:
        AnalysisError: it is negative, or not a whole number.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise AnalysisError(f"seed={seed}: give a whole number from 0")
