"""How fast the workers of a run are, and how long the rest will take.

A unit weighs what a step of its model costs (shards.py). Time is counted from the moment a worker
took up a step to its last unit that was done, as the units of one step end almost at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pythia_traj.sweeps.journal import Journal, time_of


@dataclass(frozen=True)
class Pace:
    """What a worker did lately.

    Attributes:
        begun: when it began that, in seconds since 1970.
        ended: when the last of it was done.
        units: how many units.
        weight: of all of them.
    """

    begun: float
    ended: float
    units: int
    weight: float


def pace_of(journal: Journal, weights: Mapping[str, int]) -> Pace | None:
    """A worker's pace; None where it has done nothing yet."""
    visits = [visit for visit in journal.recent if visit.done]
    if not visits:
        return None
    begun, ended = time_of(visits[0].begun), time_of(visits[-1].ended)
    if begun is None or ended is None or ended <= begun:
        return None
    weight = sum(visit.done * weights.get(visit.model.decode(), 1) for visit in visits)
    return Pace(begun, ended, sum(visit.done for visit in visits), weight)


def together(alive: Sequence[Pace], others: Sequence[Pace]) -> list[Pace]:
    """The paces that add up: of the living workers, or else of those that worked last, at once."""
    if alive or not others:
        return list(alive)
    last = max(others, key=lambda pace: pace.ended)
    return [pace for pace in others if pace.ended >= last.begun]


def units_per_minute(paces: Sequence[Pace]) -> float | None:
    """Of all workers together."""
    if not paces:
        return None
    return round(60 * sum(pace.units / (pace.ended - pace.begun) for pace in paces), 2)


def seconds_left(paces: Sequence[Pace], remaining: float) -> float | None:
    """Until units of that weight are done; None where nothing was done yet."""
    if remaining == 0:
        return 0.0
    if not paces:
        return None
    return round(remaining / sum(pace.weight / (pace.ended - pace.begun) for pace in paces), 1)
