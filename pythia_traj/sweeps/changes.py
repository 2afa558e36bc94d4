"""How what a unit was made of differs from what it would be made of now, in words. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pythia_traj.outside import shown

_FIRST = ("schema", "version", "parameters")
"""Changes that are named first."""

_NAMED = 3
"""The most settings of one kind that a reason names."""

_SHORT = 24
"""The most characters of a value that a reason quotes; a longer one is only called changed."""

_ABSENT = object()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, such as `version 3 -> 4; parameters: length 32 -> 64`.

    If the experiment itself differs, nothing else can be compared.
    """
    if not before:
        return "what it was made of is not recorded"
    kinds = dict.fromkeys((*_FIRST, *now, *before))
    if before.get("experiment") != now.get("experiment"):
        kinds = dict.fromkeys(["experiment"])
    said = []
    for kind in kinds:
        found = list(_differences(before.get(kind, _ABSENT), now.get(kind, _ABSENT)))
        named = ", ".join(f"{name} {change}" if name else change for name, change in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        if found:
            said.append(f"{kind}{':' if found[0][0] else ''} {named}{more}")
    return "; ".join(said) or "its digest is another one"


def _differences(before: Any, now: Any, *above: str) -> Iterator[tuple[str, str]]:
    """The name of each setting that differs, and how."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*now, *before)):
            yield from _differences(before.get(name, _ABSENT), now.get(name, _ABSENT), *above, name)
    elif not _is_same(before, now):
        words = ["absent" if value is _ABSENT else shown(value) for value in (before, now)]
        is_short = max(map(len, words)) <= _SHORT
        yield ".".join(above), " -> ".join(words) if is_short else "changed"


def _is_same(before: Any, now: Any) -> bool:
    """As digests distinguish them: 1, 1.0 and True differ."""
    if before is _ABSENT or now is _ABSENT:
        return before is now
    return json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)
