"""What a reader of a live page chose, and its form in an address."""

import re
from dataclasses import dataclass, fields
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from pythia_traj.errors import ConfigError
from pythia_traj.outside import shown

Several = Literal["lines", "band"]
"""How several models are shown: each, or as seeds of one model with the band of their mean."""

HEAD = re.compile(r"L([0-9]{1,4})H([0-9]{1,4})")

_LONGEST = 32_000
"""Characters of an address that are read."""

_MOST_SIGNS = 400
"""Characters of layers or heads: more ranges than a reader would type."""

_RANGE = re.compile(r"([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?")


@dataclass(frozen=True)
class Choice:
    """What is shown; empty words and tuples are all there is.

    Attributes:
        experiment: its name; empty is the first.
        models, labels: some of them.
        metric: one of the experiment's; empty for the figures that a report has.
        variant: one of them.
        layers, heads: numbers and ranges, as `0-3,7`.
        controls: whether controls are shown.
        several: how several models are shown.
        followed: heads that are followed, as `L3H5`.
    """

    experiment: str = ""
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    metric: str = ""
    variant: str = ""
    layers: str = ""
    heads: str = ""
    controls: bool = True
    several: Several = "lines"
    followed: tuple[str, ...] = ()

    @classmethod
    def from_query(cls, query: str) -> "Choice":
        """The choice that an address holds after its question mark; what is not one is left out."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(query.removeprefix("?")[:_LONGEST]):
            found.setdefault(name, []).append(value)

        def last(name: str) -> str:
            return found.get(name, [""])[-1]

        return cls(
            experiment=last("experiment"),
            models=tuple(dict.fromkeys(found.get("models", []))),
            labels=tuple(dict.fromkeys(found.get("labels", []))),
            metric=last("metric"),
            variant=last("variant"),
            layers=last("layers"),
            heads=last("heads"),
            controls=last("controls") != "no",
            several="band" if last("several") == "band" else "lines",
            followed=heads_of(found.get("followed")),
        )

    def as_query(self) -> str:
        """As an address holds it: what is not the default.

        >>> Choice(experiment="induction", models=("a", "b"), controls=False).as_query()
        'experiment=induction&models=a&models=b&controls=no'
        """
        pairs = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            words = value if isinstance(value, tuple) else [value]
            pairs += [(field.name, "no" if word is False else str(word)) for word in words]
        return urlencode(pairs)

    @property
    def followed_heads(self) -> list[tuple[int, int]]:
        """Layer and head of those that are followed."""
        matches = [HEAD.fullmatch(one) for one in self.followed]
        return [(int(one[1]), int(one[2])) for one in matches if one]


def heads_of(words: object) -> tuple[str, ...]:
    """The heads among some words, each once; words come from a page, and may be anything.

    >>> heads_of(["L0H1", "<b>", "L0H1"])
    ('L0H1',)
    """
    some = words if isinstance(words, list | tuple) else []
    return tuple(dict.fromkeys(one for one in some if isinstance(one, str) and HEAD.fullmatch(one)))


def numbers_of(text: str, what: str) -> set[int] | None:
    """The numbers that a text names; None for an empty one.

    >>> sorted(numbers_of("0-2, 7", "layers"))
    [0, 1, 2, 7]

    Args:
        text: numbers and ranges with both ends, the lower one first, separated by commas.
        what: they are, for the message.

    Raises:
        ConfigError: it is something else.
    """
    if not text.strip():
        return None
    found: set[int] = set()
    for part in text.split(",") if len(text) <= _MOST_SIGNS else [""]:
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(f"{what} {shown(text)}: give numbers and ranges, such as 0-3,7")
        found |= {*range(first, last + 1)}
    return found
