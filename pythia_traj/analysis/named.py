"""The names by which a user asks for a metric of a run, and for some of its rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pythia_traj.analysis.adaptive.trajectory import COLUMNS, NUMBERS, Where, Word
from pythia_traj.errors import AnalysisError, ConfigError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.describe import describe

_NULL = ("", "null", "none")
"""How null is written in a word's place, in small letters or large ones."""


def filters_of(run: str | Path, name: str) -> dict[str, Any]:
    """The filters of `pythia_traj.load` that the name of a metric stands for.

    Args:
        run: the run's directory.
        name: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`.

    Raises:
        StoreError: it is not a run.
        AnalysisError: it has no such metric; the text has the names that are near.
    """
    return filters_among(describe(run).metrics, name, str(run))


def filters_among(rows: pd.DataFrame, name: str, called: str) -> dict[str, Any]:
    """The same among some rows, or among those of `describe(run).metrics`.

    Args:
        rows: with the columns `label`, `experiment` and `metric`.
        name: as for `filters_of`.
        called: what a message calls the rows.

    Raises:
        AnalysisError: as `filters_of`.
    """
    there = rows[["label", "experiment", "metric"]].drop_duplicates().astype(str)
    where, _, metric = name.rpartition(".")
    some = there[there["metric"] == metric]
    if some.empty and name in {*there["label"], *there["experiment"]}:
        own = there[(there["label"] == name) | (there["experiment"] == name)]["metric"].iloc[0]
        raise AnalysisError(f"{name!r} is a label or an experiment: give a metric, {name}.{own}")
    if some.empty:
        raise AnalysisError(
            f"{called} has no metric {metric!r}: {nearest(metric, set(there['metric']))}"
        )
    if not where:
        return {"metric": metric}
    labels = some.loc[(some["label"] == where) | (some["experiment"] == where), "label"]
    if labels.empty:
        known = {f"{one}.{metric}" for one in {*some["label"], *some["experiment"]}}
        raise AnalysisError(f"{called} has no {name!r}: {nearest(name, known)}")
    return {"metric": metric, "label": sorted(set(labels))}


def where_of(given: Where | Iterable[str], option: str) -> dict[str, Word]:
    """Which rows of a metric a user means, by words and numbers in its key columns.

    Args:
        given: words and numbers by column, or texts such as `layer=3,head=5`; nothing, `null`
            or `none` stands for null.
        option: what a message calls it: `--where`.

    Raises:
        ConfigError: a column is unknown, or holds whole numbers and not this word.
    """
    by_name = given if isinstance(given, Mapping) else _parsed(given, option)
    return {name: _checked(name, one, option) for name, one in by_name.items()}


def _parsed(texts: Iterable[str], option: str) -> dict[str, str]:
    """Texts such as `layer=3,head=5`, by name."""
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",") if part.strip()):
        name, equals, word = part.partition("=")
        if not equals:
            raise ConfigError(f"{option} {shown(part)}: write NAME=VALUE, such as layer=3,head=5")
        found[name.strip()] = word.strip()
    return found


def _checked(name: str, value: Word, option: str) -> Word:
    """What is looked for in a key column."""
    if name not in COLUMNS:
        raise ConfigError(f"{option} {shown(name)}: unknown column: {nearest(name, COLUMNS)}")
    if value is None or str(value).lower() in _NULL:
        return None
    if name not in NUMBERS:
        return str(value)
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"{option} {name}={value}: {name} is a whole number") from None
