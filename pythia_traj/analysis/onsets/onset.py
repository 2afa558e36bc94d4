"""What an onset is said to be, and the words for it."""

from dataclasses import dataclass

STATUSES = {
    "onset": "one rise, with an interval",
    "several": "more than one crossing that is sure: which ones, not one date",
    "unsure": "an open end, movement between steps that items do not explain, or no start",
    "none": "no rise was found among so many items",
    "never": "a threshold that was not reached by the last step",
    "present": "a threshold that was passed at the first step",
    "refused": "too few steps or items",
}
"""What `status` can be, and what it means."""

FLAGS = {
    "falls_back": "at the end it is below the level again, surely",
    "still_rising": "it still rose at the last step, so the level is half of what it had reached",
    "several_crossings": "it crosses the level more than once, surely",
    "uneven": "it moves between steps by more than its items explain, as much as it rises",
    "base_not_init": "the first measured step is after 16, so its start was not measured",
    "no_items": "no item is stored at all of its steps: a bracket, and no interval",
    "clusters_unknown": "which items share a cluster is not stored, so intervals are too narrow",
    "few_steps": "fewer than 8 steps",
    "few_items": "fewer than 8 items or clusters",
}
"""What `flags` can hold, and what it means."""


@dataclass(frozen=True)
class Onset:
    """The onset of one trajectory.

    Attributes:
        status: one of STATUSES.
        step: the crossing, linear in log2(step + 1) between the two steps of the bracket.
        low, high: the 95 % interval over items, measured steps; None is open.
        bracket_low, bracket_high: the measured steps between which the crossing lies; None is open.
        level: what is crossed.
        base, top, top_step: the curve's base, the top of the smoothed curve, and where that is.
        p: how likely a flat curve has such a rise; None where that was not asked.
        crossings: the measured steps before and after each crossing that is sure.
        flags: some of FLAGS.
        n, clusters, steps: how many there are.
    """

    status: str
    step: float | None = None
    low: int | None = None
    high: int | None = None
    bracket_low: int | None = None
    bracket_high: int | None = None
    level: float | None = None
    base: float | None = None
    top: float | None = None
    top_step: int | None = None
    p: float | None = None
    crossings: tuple[tuple[int | None, int], ...] = ()
    flags: tuple[str, ...] = ()
    n: int = 0
    clusters: int = 0
    steps: int = 0
