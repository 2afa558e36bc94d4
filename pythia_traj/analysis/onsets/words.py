"""What a row of onsets says, in a sentence that a reader cannot take for more than it is."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd


def words(row: Mapping[str, Any]) -> str:
    """The sentence of one row of a table of onsets.

    Args:
        row: the columns that `pythia_traj.onset` gives.
    """
    said = _SENTENCES[row["status"]](row)
    for flag, more in _MORE.items():
        if flag in row["flags"].split(", "):
            said += "; " + more(row)
    if row["left_out"] and "no_items" not in row["flags"]:
        said += f"; {row['left_out']} items are missing at some step and were left out"
    return said


def _onset(row: Mapping[str, Any]) -> str:
    said = f"step {_step(row['step'])}, 95 % interval {between(row['low'], row['high'])}"
    return f"{said}, {_items(row)}"


def _unsure(row: Mapping[str, Any]) -> str:
    if "no_items" in row["flags"]:
        return f"between the measured steps {between(row['bracket_low'], row['bracket_high'])}"
    return f"not dated: {between(row['low'], row['high'])} is possible, {_items(row)}"


def _several(row: Mapping[str, Any]) -> str:
    places = " and ".join(between(low, high) for low, high in row["crossings"])
    return f"it crosses {_number(row['level'])} more than once, at steps {places}: not one date"


def _none(row: Mapping[str, Any]) -> str:
    if _missing(row["p"]):
        return "the method finds no onset" if _missing(row["base"]) else f"no {_move(row)} is seen"
    return (
        f"no {_move(row)} was found among {_items(row)}: base {_number(row['base'])}, top"
        f" {_number(row['top'])}, p {row['p']:.2g}; that nothing happened is not shown"
    )


def _never(row: Mapping[str, Any]) -> str:
    return (
        f"{_number(row['level'])} was not reached by step {row['bracket_low']}: the top was"
        f" {_number(row['top'])}"
    )


def _present(row: Mapping[str, Any]) -> str:
    return f"it was past {_number(row['level'])} at its first step, {row['bracket_high']}"


def _refused(row: Mapping[str, Any]) -> str:
    return "not estimated"


_SENTENCES = {
    "onset": _onset,
    "unsure": _unsure,
    "several": _several,
    "none": _none,
    "never": _never,
    "present": _present,
    "refused": _refused,
}

_MORE: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "still_rising": lambda row: (
        f"its {_move(row)} still went on at its last step, so this is half of what it had reached"
        f" by then ({_number(row['top'])})"
    ),
    "base_not_init": lambda row: "its start was not measured",
    "uneven": lambda row: "it moves between steps by more than its items explain",
    "falls_back": lambda row: "at the end it is back on the side of the level where it began",
    "no_items": lambda row: (
        f"no item is stored at every one of its {row['steps']} steps, so it has a bracket alone"
    ),
    "clusters_unknown": lambda row: (
        f"its items are in {row['unknown_clusters']} clusters that are not stored:"
        f" {_too_sure(row)}name them by cluster= of pythia_traj.onset"
    ),
    "few_steps": lambda row: f"it has {row['steps']} steps, and 8 are needed",
    "few_items": lambda row: f"it has {row['clusters']} independent items, and 8 are needed",
}
"""What flags add."""


def between(low: Any, high: Any) -> str:
    """A range of measured steps, `512..1000`; an open end says so."""
    return f"{'open' if _missing(low) else int(low)}..{'open' if _missing(high) else int(high)}"


def _move(row: Mapping[str, Any]) -> str:
    return "fall" if row["top"] < row["base"] else "rise"


def _items(row: Mapping[str, Any]) -> str:
    n, clusters = int(row["n"]), int(row["clusters"])
    return f"{n} items" if n == clusters else f"{n} items in {clusters} clusters"


def number(value: Any) -> str:
    """A number as a table shows it; empty where it is missing."""
    if _missing(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _too_sure(row: Mapping[str, Any]) -> str:
    if not (_missing(row["low"]) and _missing(row["high"])):
        return "the interval is too narrow, "
    return "" if _missing(row["p"]) else "p is too small, "


def _step(step: float) -> str:
    return f"{step:.0f}" if step >= 100 else f"{step:.3g}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))
