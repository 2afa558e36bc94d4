"""What runs show: their rows and items read, and `findings` made of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pythia_traj.analysis.findings import chosen
from pythia_traj.analysis.findings.chosen import MOST, nothing_found
from pythia_traj.analysis.findings.dated import dated, dated_rows
from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.analysis.selection import WHICH
from pythia_traj.errors import AnalysisError
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run


def findings(run: str | Path | Sequence[str | Path], most: int = MOST) -> tuple[Finding, ...]:
    """What a run shows, in sentences: the few most important findings.

        for one in pt.findings("runs/induction"):
            print(one.words)

    A sentence is only made where its interval, its control and the q over all heads allow it, so
    there may be none; `nothing_found` of `pythia_traj.analysis.findings.chosen` says then what was
    looked at. Several models, of one run or of several, are in one sentence.

    Args:
        run: the run's directory, or several.
        most: the most findings.

    Raises:
        StoreError: a directory is not a run.
        AnalysisError: a run is given twice, or `most` is not a number from 1.
    """
    rows, items = rows_of_runs(run)
    return chosen.findings(rows, dated(rows, items), most)


def words_of_runs(run: str | Path | Sequence[str | Path], most: int = MOST) -> tuple[str, ...]:
    """The sentences of `findings`, or the one that says that there are none.

    Raises:
        StoreError, AnalysisError: as `findings`.
    """
    rows, items = rows_of_runs(run)
    onsets = dated(rows, items)
    found = chosen.findings(rows, onsets, most)
    return tuple(one.words for one in found) or (nothing_found(rows, onsets),)


def rows_of_runs(
    run: str | Path | Sequence[str | Path],
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows of runs, with controls, and the items of what `dated` dates; None without any.

    A model that several runs have gets the run's name in front.

    Raises:
        StoreError: a directory is not a run.
        AnalysisError: a run is given twice, or none is given.
    """
    paths = [Path(run)] if isinstance(run, str | Path) else [Path(one) for one in run]
    twice = [str(path) for path, n in Counter(map(Path.resolve, paths)).items() if n > 1]
    if twice or not paths:
        raise AnalysisError(f"{twice[0]} is given twice" if twice else "no run is given: give one")
    rows = [read_run(path, controls=True, mixed=True).frame for path in paths]
    items = [items_of(path, some) for path, some in zip(paths, rows, strict=True)]
    if len(paths) == 1:
        return rows[0], items[0]
    models = Counter(str(name) for some in rows for name in some["model"].unique())
    shared = {name for name, n in models.items() if n > 1}
    short = Counter(path.resolve().name for path in paths)
    named, of_items = [], []
    for path, some, kept in zip(paths, rows, items, strict=True):
        own = path.resolve().name if short[path.resolve().name] == 1 else str(path)
        called = {name: f"{own}/{name}" for name in shared}
        named.append(_renamed(some, called))
        of_items += [] if kept is None else [_renamed(kept, called)]
    return pd.concat(named, ignore_index=True), _together(of_items)


def items_of(run: str | Path, rows: pd.DataFrame) -> pd.DataFrame | None:
    """The items of what `dated` dates in a run's rows; None where none are kept.

    Args:
        run: the run's directory.
        rows: its rows.

    Raises:
        StoreError: it is not a run.
    """
    to_date = dated_rows(rows)
    if to_date.empty or "items" not in list_tables(Run.open(Path(run))):
        return None
    # A metric or a label that keeps no items is an unknown word to `load`: the last steps of the
    # models know which of them do.
    last = sorted({int(n) for n in to_date.groupby(list(WHICH), observed=True)["step"].max()})
    at_last = read_run(run, table="items", mixed=True, step=last).frame
    there = at_last[["label", "metric"]].astype(str)
    wanted = to_date[["label", "metric"]].astype(str).drop_duplicates()
    both = there.drop_duplicates().merge(wanted)
    if both.empty:
        return None
    where: dict[str, Any] = {name: sorted(set(both[name])) for name in ("label", "metric")}
    return read_run(run, table="items", mixed=True, **where).frame


def _renamed(rows: pd.DataFrame, called: dict[str, str]) -> pd.DataFrame:
    return rows.assign(model=rows["model"].astype(str).replace(called))


def _together(items: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(items, ignore_index=True) if items else None
