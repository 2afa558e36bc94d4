"""The grammar of `--steps`: an expression and the published steps in, the selected steps out. Pure.

    0,1,512          these steps; each must be published
    1000:5000        every published step from 1000 to 5000, both included
    0:143000:5000    the published ones among 0, 5000, 10000, ...
    all  early  last every step; 0 to 512; the last one
    log:12           at most 12 steps evenly spread in log2(step + 1), both ends included
    linear:12        at most 12 steps evenly spread in step, both ends included
    tokens:2e9:8e9   steps at which between 2e9 and 8e9 tokens had been seen, both included

Terms are separated by commas; the selection is sorted and holds each step once.
"""

import bisect
import math
import re
from collections.abc import Callable, Sequence

from pythia_traj.errors import StepsError

EARLY_END = 512
"""The last of Pythia's log-spaced early checkpoints."""

_GRAMMAR = (
    "terms are 512, 0:4000, 0:4000:1000, all, early, last, log:12, linear:12 or tokens:2e9:8e9, separated by commas"
)

_NUMBER = re.compile(r"\d+")
_RANGE = re.compile(r"(\d+):(\d+)(?::(\d+))?")
_SPREAD = re.compile(r"(log|linear):(\d+)")
_TOKENS = re.compile(r"tokens:([^:]+):([^:]+)")


def select(expression: str, published: Sequence[int], *, tokens_per_step: int | None = None) -> tuple[int, ...]:
    """The published steps that an expression selects, sorted, each once.

    Args:
        expression: terms separated by commas (see the module).
        published: the steps there are, in any order.
        tokens_per_step: training tokens per step; needed by `tokens:` terms only.

    Raises:
        StepsError: the expression is malformed, names a step that is not published, or a term of it selects nothing.
    """
    steps = sorted(set(published))
    if not steps:
        raise StepsError("no step is published, so none can be selected")
    terms = [term.strip() for term in expression.split(",")]
    if not any(terms):
        raise StepsError(f"empty step expression: {_GRAMMAR}")
    selected: set[int] = set()
    for term in terms:
        found = _select_term(term, steps, tokens_per_step)
        if not found:
            raise StepsError(f"{term!r} selects no published step: they run from {steps[0]} to {steps[-1]}")
        selected.update(found)
    return tuple(sorted(selected))


def _select_term(term: str, steps: list[int], tokens_per_step: int | None) -> list[int]:
    if term == "all":
        return steps
    if term == "early":
        return [step for step in steps if step <= EARLY_END]
    if term == "last":
        return steps[-1:]
    if _NUMBER.fullmatch(term):
        return [_published(int(term), steps)]
    if match := _RANGE.fullmatch(term):
        return _stride(int(match[1]), int(match[2]), match[3], steps)
    if match := _SPREAD.fullmatch(term):
        return _spread(term, match[1], int(match[2]), steps)
    if match := _TOKENS.fullmatch(term):
        return _token_range(term, match[1], match[2], steps, tokens_per_step)
    raise StepsError(f"cannot read {term!r} as steps: {_GRAMMAR}")


def _published(step: int, steps: list[int]) -> int:
    at = bisect.bisect_left(steps, step)
    if at < len(steps) and steps[at] == step:
        return step
    neighbours = " and ".join(str(near) for near in steps[max(at - 1, 0) : at + 1])
    raise StepsError(f"step {step} is not published: the nearest are {neighbours}")


def _stride(first: int, last: int, stride: str | None, steps: list[int]) -> list[int]:
    if stride is None:
        return [step for step in steps if first <= step <= last]
    if int(stride) == 0:
        raise StepsError(f"the stride of '{first}:{last}:0' is 0: it must be at least 1")
    return [step for step in steps if first <= step <= last and (step - first) % int(stride) == 0]


def _spread(term: str, scale: str, n: int, steps: list[int]) -> list[int]:
    """Even points between the ends, each moved to the published step nearest to it on the same scale (the lower of two)."""
    if n < 2:
        raise StepsError(f"{term!r} includes both ends, so it needs at least 2 points: {scale}:2")
    forward: Callable[[int], float] = (lambda step: math.log2(step + 1)) if scale == "log" else float
    positions = [forward(step) for step in steps]
    low, high = positions[0], positions[-1]
    # No more points than steps can be told apart; a huge N then costs nothing.
    points = [low + (high - low) * i / (n - 1) for i in range(n)] if n < 100_000 else positions
    return sorted({_nearest(point, positions, steps) for point in points})


def _nearest(point: float, positions: list[float], steps: list[int]) -> int:
    at = bisect.bisect_left(positions, point)
    candidates = range(max(at - 1, 0), min(at + 1, len(steps)))
    return steps[min(candidates, key=lambda i: (abs(positions[i] - point), i))]


def _token_range(term: str, low: str, high: str, steps: list[int], tokens_per_step: int | None) -> list[int]:
    try:
        first, last = float(low), float(high)
    except ValueError:
        raise StepsError(f"cannot read {term!r}: write numbers of tokens, such as tokens:2e9:8e9") from None
    if tokens_per_step is None:
        raise StepsError(
            f"{term!r} needs the number of tokens per step, which these checkpoints do not say: select by step"
        )
    return [step for step in steps if first <= step * tokens_per_step <= last]
