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
    "terms are 512, 0:4000, 0:4000:1000, all, early, last, log:12, linear:12 or tokens:2e9:8e9,"
    " separated by commas"
)

_WORDS = ("all", "early", "last")
_NUMBER = re.compile(r"[0-9]+")
_RANGE = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+))?")
_SPREAD = re.compile(r"(log|linear):([0-9]+)")
_TOKENS = re.compile(r"tokens:([^:]+):([^:]+)")
_TOKEN_COUNT = re.compile(r"[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE]\+?[0-9]{1,3})?")

_MOST_CHARACTERS = 200_000
"""Of an expression: room for twenty thousand steps by their numbers."""

_EVERY = 100_000
"""With this many points or more, a spread selects every step."""

_POINTS_A_STEP = 20
"""With this many points for each step or more, the loop is over steps and not over points."""

_MOST_SPREADS, _MOST_SELECTIONS = 20, 200
"""The most different terms of log: or linear:, and the most that are not numbers.

Each of them looks at all published steps.
"""

_MOST = 2**63 - 1
"""The largest step that a table holds."""

_SHOWN = 60
"""Characters of a term that a message quotes."""


def select(
    expression: str, published: Sequence[int], *, tokens_per_step: int | None = None
) -> tuple[int, ...]:
    """The published steps that an expression selects, sorted, each once.

    >>> published = [0, 1, 2, 4, 8, 16, 1000, 2000, 3000]
    >>> select("0,1000:3000", published), select("0:3000:1000", published)
    ((0, 1000, 2000, 3000), (0, 1000, 2000, 3000))
    >>> select("log:4", published), select("linear:4", published)
    ((0, 16, 1000, 3000), (0, 1000, 2000, 3000))
    >>> select("tokens:2e9:5e9", published, tokens_per_step=2_097_152)
    (1000, 2000)
    >>> select("512", published)
    Traceback (most recent call last):
    pythia_traj.errors.StepsError: step 512 is not published: the nearest are 16 and 1000

    Args:
        expression: terms separated by commas (see the module).
        published: the published steps, in any order.
        tokens_per_step: training tokens per step; needed by `tokens:` terms only.

    Raises:
        StepsError: the expression is malformed, names a step that is not published, or a term of it
            selects nothing.
    """
    steps = sorted(set(published))
    if not steps:
        raise StepsError("no step is published, so none can be selected")
    selected: set[int] = set()
    for term in _terms(expression):
        found = _select_term(term, steps, tokens_per_step)
        if not found:
            raise StepsError(
                f"{_quoted(term)} selects no published step:"
                f" they run from {steps[0]} to {steps[-1]}"
            )
        selected.update(found)
    return tuple(sorted(selected))


def selects(expression: str, step: int, *, tokens_per_step: int | None = None) -> bool:
    """Whether an expression selects a step, whatever other steps will be published.

    >>> [selects("0,1000:3000:1000", step) for step in (0, 500, 2000)]
    [True, False, True]

    Raises:
        StepsError: the expression is malformed, or a term of it depends on the other steps.
    """
    for term in (terms := _terms(expression)):
        if term == "last" or _SPREAD.fullmatch(term):
            raise StepsError(
                f"{_quoted(term)} depends on the steps that are still to come: give steps, a range"
                " or all"
            )
    return any(
        _step(term) == step
        if _NUMBER.fullmatch(term)
        else bool(_select_term(term, [step], tokens_per_step))
        for term in terms
    )


def check_steps(expression: str) -> None:
    """Refuses an expression that selects steps of no model.

    Raises:
        StepsError: it is malformed; the message says how terms are written.
    """
    for term in _terms(expression):
        if _NUMBER.fullmatch(term):
            _step(term)
        elif match := _RANGE.fullmatch(term):
            first, last, stride = (None if part is None else _step(part) for part in match.groups())
            _check_stride(f"{first}:{last}:{stride}", stride)
        elif match := _SPREAD.fullmatch(term):
            _check_points(term, match[1], _step(match[2]))
        elif match := _TOKENS.fullmatch(term):
            _check_token_counts(term, match[1], match[2])
        elif term not in _WORDS:
            raise _unreadable(term)


def _terms(expression: str) -> list[str]:
    """Its terms, each once; too many are refused, because they would take long."""
    if len(expression) > _MOST_CHARACTERS:
        raise StepsError(
            f"a step expression has at most {_MOST_CHARACTERS} characters, this one"
            f" {len(expression)}: select steps by a range"
        )
    terms = list(dict.fromkeys(term.strip() for term in expression.split(",")))
    if not any(terms):
        raise StepsError(f"empty step expression: {_GRAMMAR}")
    spreads = sum(_SPREAD.fullmatch(term) is not None for term in terms)
    selections = sum(not _NUMBER.fullmatch(term) for term in terms)
    if spreads > _MOST_SPREADS or selections > _MOST_SELECTIONS:
        raise StepsError(
            f"a step expression has at most {_MOST_SPREADS} different terms of log: or linear:, and"
            f" {_MOST_SELECTIONS} that are not numbers; this one has {spreads} and {selections}:"
            " give one range, or all"
        )
    return terms


def _quoted(term: str) -> str:
    return repr(term if len(term) <= _SHOWN else f"{term[:_SHOWN]}...")


def _step(digits: str) -> int:
    """A number of the expression.

    Python refuses to read thousands of digits, and is slow with fewer.
    """
    digits = digits.lstrip("0") or "0"
    if len(digits) > len(str(_MOST)) or int(digits) > _MOST:
        raise StepsError(
            f"the number {_quoted(digits)} is above 2**63 - 1, the largest step: {_GRAMMAR}"
        )
    return int(digits)


def _select_term(term: str, steps: list[int], tokens_per_step: int | None) -> list[int]:
    if term == "all":
        return steps
    if term == "early":
        return [step for step in steps if step <= EARLY_END]
    if term == "last":
        return steps[-1:]
    if _NUMBER.fullmatch(term):
        return [_published(_step(term), steps)]
    if match := _RANGE.fullmatch(term):
        return _stride(
            _step(match[1]), _step(match[2]), None if match[3] is None else _step(match[3]), steps
        )
    if match := _SPREAD.fullmatch(term):
        return _spread(term, match[1], _step(match[2]), steps)
    if match := _TOKENS.fullmatch(term):
        return _token_range(term, match[1], match[2], steps, tokens_per_step)
    raise _unreadable(term)


def _unreadable(term: str) -> StepsError:
    return StepsError(f"cannot read {_quoted(term)} as steps: {_GRAMMAR}")


def _published(step: int, steps: list[int]) -> int:
    at = bisect.bisect_left(steps, step)
    if at < len(steps) and steps[at] == step:
        return step
    neighbours = " and ".join(str(near) for near in steps[max(at - 1, 0) : at + 1])
    raise StepsError(f"step {step} is not published: the nearest are {neighbours}")


def _stride(first: int, last: int, stride: int | None, steps: list[int]) -> list[int]:
    _check_stride(f"{first}:{last}:{stride}", stride)
    between = steps[bisect.bisect_left(steps, first) : bisect.bisect_right(steps, last)]
    return [step for step in between if (step - first) % (stride or 1) == 0]


def _check_stride(term: str, stride: int | None) -> None:
    if stride == 0:
        raise StepsError(f"the stride of {term!r} is 0: it must be at least 1")


def _check_points(term: str, scale: str, n: int) -> None:
    if n < 2:
        raise StepsError(f"{term!r} includes both ends, so it needs at least 2 points: {scale}:2")


def _check_token_counts(term: str, low: str, high: str) -> None:
    if not _TOKEN_COUNT.fullmatch(low) or not _TOKEN_COUNT.fullmatch(high):
        raise StepsError(
            f"cannot read {_quoted(term)}: write numbers of tokens, such as tokens:2e9:8e9"
        )


def _spread(term: str, scale: str, n: int, steps: list[int]) -> list[int]:
    """Even points between the ends, each moved to the published step nearest to it.

    Distance is on the same scale; of two equally near steps it is the lower.
    """
    _check_points(term, scale, n)
    if n >= _EVERY:
        return steps
    forward: Callable[[int], float] = (
        (lambda step: math.log2(step + 1)) if scale == "log" else float
    )
    positions = [forward(step) for step in steps]
    low, high = positions[0], positions[-1]

    def nearest(i: int) -> int:
        return _nearest(low + (high - low) * i / (n - 1), positions)

    if n < _POINTS_A_STEP * len(steps):
        return [steps[at] for at in sorted({nearest(i) for i in range(n)})]
    found, i = [], 0
    while i < n:
        at = nearest(i)
        found.append(steps[at])
        # The nearest step never moves back from one point to the next, so that a binary search
        # finds the first point beyond this step.
        i = bisect.bisect_right(range(n), at, lo=i, key=nearest)
    return found


def _nearest(point: float, positions: list[float]) -> int:
    at = bisect.bisect_left(positions, point)
    candidates = range(max(at - 1, 0), min(at + 1, len(positions)))
    return min(candidates, key=lambda i: (abs(positions[i] - point), i))


def _token_range(
    term: str, low: str, high: str, steps: list[int], tokens_per_step: int | None
) -> list[int]:
    _check_token_counts(term, low, high)
    if tokens_per_step is None:
        raise StepsError(
            f"{_quoted(term)} needs the number of tokens per step, which these checkpoints do not"
            " say: select by step"
        )
    first, last = float(low), float(high)
    return [step for step in steps if first <= step * tokens_per_step <= last]
