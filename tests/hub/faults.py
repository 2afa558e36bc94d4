"""Planned faults: which answers go wrong, how, and how often."""

import itertools
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Protocol
from urllib.parse import unquote

from tests.hub.answers import Answer, Body, MemorySlice, Request, error
from tests.hub.log import KINDS

MID_BODY = ("reset-in-body", "truncate", "stall", "corrupt")
STATUSES = {"429": "Too many requests", "500": "Internal error", "503": "Service unavailable"}
FAULTS = (*STATUSES, "reset", *MID_BODY, "ignore-range", "expired")

_CORRUPTED_BYTES = 16


@dataclass(frozen=True)
class Fault:
    """What goes wrong with `times` answers.

    `429` (Retry-After: `seconds`, rounded down), `500` and `503` are answered instead; `reset` ends
    the connection by a RST before any byte. After `after` bytes of the body (half of it if None,
    and always at least one byte before its end) `reset-in-body` does so too, `truncate` closes the
    connection, `stall` sends nothing for `seconds`, and `corrupt` sends some wrong bytes.
    `ignore-range` answers a Range with the whole file and status 200; `expired` is the content
    host's 403 for an old address.

    `where` is a kind of request (`refs`, `resolve`, `content` ...) or a regular expression to be
    found in the path; None is everywhere. The first `skip` answers that could have been spoiled are
    spared. Answers that a fault cannot spoil do not count: a body that is empty, a request without
    a Range.
    """

    kind: str
    _: KW_ONLY
    where: str | None = None
    times: int = 1
    after: int | None = None
    seconds: float = 0.0
    skip: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"there is no fault {self.kind!r}: choose one of {', '.join(FAULTS)}")

    def fits(self, request: Request, answer: Answer) -> bool:
        """Whether the answer is one that this fault can spoil, and should."""
        if self.where in KINDS:
            meant = self.where == answer.kind
        else:
            meant = self.where is None or re.search(self.where, unquote(request.path)) is not None
        return meant and _can_spoil(self.kind, request, answer)


class Source(Protocol):
    """Whatever decides which answers go wrong."""

    def take(self, request: Request, answer: Answer) -> Fault | None:
        """The fault of this answer, which thereby counts as used."""


class Faults:
    """The faults planned for a hub; the first source that has one for an answer gives it."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, *planned: Fault | Source) -> None:
        """Plans faults, after those planned before."""
        self._sources += [
            _Planned(entry) if isinstance(entry, Fault) else entry for entry in planned
        ]

    def clear(self) -> None:
        self._sources = []

    def take(self, request: Request, answer: Answer) -> Fault | None:
        return next(
            (fault for source in self._sources if (fault := source.take(request, answer))), None
        )


class _Planned:
    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._lock = threading.Lock()
        self._met = 0

    def take(self, request: Request, answer: Answer) -> Fault | None:
        if not self._fault.fits(request, answer):
            return None
        with self._lock:
            self._met += 1
            due = self._fault.skip < self._met <= self._fault.skip + self._fault.times
        return self._fault if due else None


class RandomFaults:
    """Spoils a share of all answers, for a soak.

    Whether the n-th answer is spoiled follows from the seed and n alone. The same file and range is
    never spoiled more than twice in a row, so that a client that tries three times gets through.
    `seconds` is what a stall takes and what Retry-After says.
    """

    IN_A_ROW = 2

    def __init__(
        self,
        rate: float,
        seed: int,
        kinds: tuple[str, ...] = FAULTS,
        *,
        where: str | None = None,
        seconds: float = 0.2,
    ) -> None:
        self.rate = rate
        self.seed = seed
        self.faults = [Fault(kind, where=where, seconds=seconds) for kind in kinds]
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._in_a_row: dict[tuple[str, ...], int] = {}

    def take(self, request: Request, answer: Answer) -> Fault | None:
        fitting = [fault for fault in self.faults if fault.fits(request, answer)]
        # Without the query: the content host's addresses have another signature each time.
        same = (request.origin, request.method, request.path, request.range or "")
        with self._lock:
            dice = random.Random(f"{self.seed}:{next(self._numbers)}")
            if (
                dice.random() >= self.rate
                or not fitting
                or self._in_a_row.get(same, 0) >= self.IN_A_ROW
            ):
                self._in_a_row.pop(same, None)
                return None
            self._in_a_row[same] = self._in_a_row.get(same, 0) + 1
        chosen = dice.choice(fitting)
        after = dice.randrange(len(answer.body)) if len(answer.body) else None
        return Fault(chosen.kind, where=chosen.where, after=after, seconds=chosen.seconds)


@dataclass(frozen=True)
class Pause:
    """Nothing is sent for so long."""

    seconds: float


@dataclass(frozen=True)
class Ending:
    """The connection ends here, by a RST or as if all had been said."""

    reset: bool


def spoil(
    fault: Fault, request: Request, answer: Answer, respond: Callable[[Request], Answer]
) -> Answer:
    """The answer given in place of the right one.

    It is the right one for faults that only show in the body.
    """
    if fault.kind == "ignore-range":
        return respond(request.without_range())
    if fault.kind == "expired":
        return error(answer.kind, 403, "Request has expired")
    if fault.kind in STATUSES:
        wait = {"Retry-After": str(int(fault.seconds))} if fault.kind == "429" else {}
        return error(answer.kind, int(fault.kind), STATUSES[fault.kind], **wait)
    return answer


def parts(body: Body, fault: Fault | None) -> Iterator[Body | Pause | Ending]:
    """What is sent for a body, in order, and what happens in between."""
    if fault is None or fault.kind not in MID_BODY or not len(body):
        yield body
        return
    cut = min(len(body) // 2 if fault.after is None else fault.after, len(body) - 1)
    yield body.part(0, cut)
    if fault.kind in ("truncate", "reset-in-body"):
        yield Ending(reset=fault.kind == "reset-in-body")
        return
    resume = cut
    if fault.kind == "stall":
        yield Pause(fault.seconds)
    else:
        resume = min(cut + _CORRUPTED_BYTES, len(body))
        yield MemorySlice(bytes(byte ^ 0xFF for byte in body.part(cut, resume).read()))
    yield body.part(resume, len(body))


def _can_spoil(kind: str, request: Request, answer: Answer) -> bool:
    if kind in MID_BODY:
        return request.method != "HEAD" and len(answer.body) > 0
    if kind == "ignore-range":
        return answer.status == 206
    return kind != "expired" or request.origin == "content"
