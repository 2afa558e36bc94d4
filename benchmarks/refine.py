"""How few steps find the onset that all 154 would: the rule of `sweep --refine` on known curves.

    python benchmarks/refine.py                 # 500 curves a kind, some minutes
    python benchmarks/refine.py --curves 50 --kind Bernoulli --kind small

A curve's items are revealed at the steps that the rule asks for. Printed for each kind: the share
of intervals that hold the crossing of the curve without noise, the number of steps measured, how
often the bracket is the one that all steps give, and how often no interval was said.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import numpy as np
from curves import KINDS, ORDINARY, PUBLISHED, Curve, draw

from pythia_traj.analysis.adaptive.rule import BUDGET, START, choose
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.steps import select

CURVES = 500

FEWEST_DRAWS = 2
"""Where only the bracket is wanted."""


@dataclass(frozen=True)
class Search:
    """How a search on one curve ended.

    Attributes:
        truth: where the curve without noise crosses; None where it is flat.
        onset: of the steps it measured.
        full: the bracket of all published steps.
        steps: how many it measured.
        bracketed: how many it had measured when the bracket was one published interval; None where
            it never was.
        why: one of `refine.ENDS`.
    """

    truth: float | None
    onset: Onset
    full: Onset
    steps: int
    bracketed: int | None
    why: str

    @property
    def holds(self) -> bool:
        """Whether the interval holds the crossing of the curve without noise; an open end does."""
        if self.truth is None or self.onset.step is None:
            return False
        low, high = self.onset.low, self.onset.high
        return (low is None or low <= self.truth) and (high is None or self.truth <= high)

    @property
    def brackets_apart(self) -> int | None:
        """By how many published intervals its bracket is from that of all steps."""
        found, other = self.onset.bracket_low, self.full.bracket_low
        if found is None or other is None:
            return None
        return abs(PUBLISHED.index(found) - PUBLISHED.index(other))


def search(curve: Curve, budget: int = BUDGET, draws: int = 1000) -> Search:
    """Measures a curve at the steps that the rule asks for."""
    measured: set[int] = set()
    bracketed = None
    while True:
        onset = None
        if measured.issuperset(select(START, PUBLISHED)):
            onset = onset_at(curve, measured, draws)
            is_one = has_one_interval(onset)
            bracketed = (bracketed or len(measured)) if is_one else None
        choice = choose(PUBLISHED, measured, onset, budget)
        if not choice.steps:
            assert onset is not None
            # Its interval is the subject of benchmarks/onset.py.
            full = onset_at(curve, PUBLISHED, FEWEST_DRAWS)
            return Search(curve.onset, onset, full, len(measured), bracketed, choice.why)
        measured.update(choice.steps)


def onset_at(curve: Curve, steps: Iterable[int], draws: int) -> Onset:
    """The onset of a curve of which only these steps are measured."""
    chosen = sorted(steps)
    items = curve.items[:, np.isin(PUBLISHED, chosen)]
    return estimate(Curves.of_items(chosen, items), falling=curve.falling, draws=draws)[0]


def has_one_interval(onset: Onset) -> bool:
    """Whether nothing is published within the bracket."""
    low, high = onset.bracket_low, onset.bracket_high
    if low is None or high is None:
        return False
    return PUBLISHED.index(high) - PUBLISHED.index(low) == 1


def summary(found: Iterable[Search]) -> Mapping[str, float | None]:
    """The figures of searches on curves of one kind."""
    searches = list(found)
    dated = [one for one in searches if one.onset.step is not None]
    apart = [one.brackets_apart for one in dated if one.brackets_apart is not None]
    bracketed = [one.bracketed for one in searches if one.bracketed is not None]
    steps = [one.steps for one in searches]
    share = len(searches)
    return {
        "holds": round(sum(one.holds for one in dated) / len(dated), 3) if dated else None,
        "dated": round(len(dated) / share, 3),
        "steps": median(steps),
        "steps_95": round(quantiles(steps, n=20)[-1], 1) if share > 1 else steps[0],
        "bracketed": median(bracketed) if bracketed else None,
        "same_bracket": round(sum(one == 0 for one in apart) / len(apart), 3) if apart else None,
        "within_one": round(sum(one <= 1 for one in apart) / len(apart), 3) if apart else None,
        "several": round(sum(one.onset.status == "several" for one in searches) / share, 3),
        "onset": round(sum(one.onset.status == "onset" for one in searches) / share, 3),
        "budget_spent": round(sum(one.why == "budget" for one in searches) / share, 3),
    }


def main() -> None:
    """Prints a line of JSON for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=CURVES)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    arguments = parser.parse_args()
    ordinary: list[Search] = []
    for kind in arguments.kind or KINDS:
        found = [search(draw(kind, number)) for number in range(arguments.curves)]
        ordinary += found if kind in ORDINARY else []
        _say(kind, arguments.curves, found)
    if ordinary:
        _say("all ordinary kinds", arguments.curves, ordinary)


def _say(kind: str, curves: int, found: list[Search]) -> None:
    print(json.dumps({"kind": kind, "curves": curves, **summary(found)}), flush=True)


if __name__ == "__main__":
    main()
