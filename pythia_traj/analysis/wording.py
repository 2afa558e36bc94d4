"""Numbers, steps and lists as words: as many digits as their interval supports."""

import math
from collections.abc import Sequence

_MOST_DECIMALS = 4


def step_words(step: float) -> str:
    """A step, or another count, with separators between thousands.

    >>> step_words(143000)
    '143,000'
    """
    return f"{step:,.0f}"


def between(low: float | None, high: float | None) -> str:
    """A range of steps; an end that is None is open.

    >>> between(550, 1200), between(None, 8), between(64, None)
    ('between 550 and 1,200', 'by step 8', 'after step 64')
    """
    if low is None and high is None:
        return "at any of its steps"
    if low is None:
        return f"by step {step_words(high or 0)}"
    if high is None:
        return f"after step {step_words(low)}"
    return f"between {step_words(low)} and {step_words(high)}"


def rounded_step(step: float, low: float | None, high: float | None) -> float:
    """A step between two measured ones, to the power of ten that half of their distance has.

    >>> rounded_step(593.5, 550, 600), rounded_step(4391.2, 4000, 5000), rounded_step(6.2, 4, 8)
    (590.0, 4400.0, 6.0)
    """
    if low is None or high is None or high <= low:
        return float(round(step))
    unit = 10.0 ** max(0, math.floor(math.log10((high - low) / 2)))
    return min(max(round(step / unit) * unit, float(low)), float(high))


def number_words(value: float, low: float, high: float) -> str:
    """A value with the decimals that half of its interval has.

    >>> number_words(0.3323, 0.2895, 0.3751), number_words(0.5, 0.5, 0.5)
    ('0.33', '0.5')
    """
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return f"{value:.3g}"
    return _zero(f"{value:.{decimals(half)}f}")


def decimals(half: float) -> int:
    """How many decimals a value has whose interval goes so far to each side."""
    return min(max(0, -math.floor(math.log10(half))), _MOST_DECIMALS)


def interval_words(value: float, low: float, high: float) -> str:
    """A value and its interval, in the same digits; the value alone where it has none.

    >>> interval_words(0.3323, 0.2895, 0.3751)
    '0.33 (0.29 to 0.38)'
    """
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return number_words(value, low, high)
    shown = (_zero(f"{one:.{decimals(half)}f}") for one in (value, low, high))
    return "{} ({} to {})".format(*shown)


def _zero(text: str) -> str:
    """Without the sign of a number that is rounded to 0."""
    return text.removeprefix("-") if not text.strip("-0.") else text


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many others there are.

    >>> listed(["L1H1", "L1H2"]), listed(["a", "b", "c", "d", "e"])
    ('L1H1 and L1H2', 'a, b, c and 2 others')
    """
    shown, others = list(names[:most]), len(names) - most
    if others > 0:
        shown.append(f"{others} other{'s' if others > 1 else ''}")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "head"), counted(1200, "step")
    ('1 head', '1,200 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
