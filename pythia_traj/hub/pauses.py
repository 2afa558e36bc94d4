"""How long a server asks to wait, from the headers of its refusal.

Retry-After: 120                             seconds
Retry-After: Wed, 21 Oct 2026 07:28:00 GMT   a date, which is compared with the answer's own `Date`
RateLimit: "api";r=0;t=55                    as the Hub says it: 0 requests left, more in 55 seconds
RateLimit: limit=500, remaining=0, reset=55  as earlier drafts of that header do
RateLimit-Remaining: 0, RateLimit-Reset: 55  and still earlier ones
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_LIMIT = re.compile(r"\b(?:r|remaining)\s*=\s*0+\b.*?\b(?:t|reset)\s*=\s*(\d{1,18})\b")
"""One policy of which nothing is left, and when it begins anew."""

_NUMBER = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE
)

_ROUNDED = 1.0
"""Seconds that are added to what was rounded down."""


def pause_asked(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from its refusal; None if it does not say.

    A time that cannot be waited for is infinite: a negative one, not a number, beyond all dates.
    """
    named = {name.lower(): str(value) for name, value in headers.items()}
    asked = _retry_after(named)
    # Every answer states the limits: they are the reason for this one only.
    limited = _rate_limit(named) if status == 429 else None
    known = [seconds for seconds in (asked, limited) if seconds is not None]
    return max(known) if known else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return seconds if seconds >= 0 else math.inf
    until = _seconds_of(text)
    if until is None:
        return None
    # By the server's clock if it gives the time: ours may be wrong.
    now = _seconds_of(headers.get("date", ""))
    return max(until - (time.time() if now is None else now), 0.0)


def _seconds_of(date: str) -> float | None:
    """A date as HTTP writes it, in seconds since the epoch."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _rate_limit(headers: Mapping[str, str]) -> float | None:
    text = headers.get("ratelimit", "")
    # One policy after the other; the earlier form gives one, with commas in it.
    policies = text.split(",") if ";" in text else [text]
    spent = [int(match[1]) for policy in policies if (match := _LIMIT.search(policy))]
    reset = headers.get("ratelimit-reset", "").strip()
    if re.fullmatch(r"\d{1,18}", reset) and re.fullmatch(
        r"0*", headers.get("ratelimit-remaining", "").strip()
    ):
        spent.append(int(reset))
    return max(spent) + _ROUNDED if spent else None
