"""What is shown of one step: what models write there, and where followed heads attend."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from pythia_traj.analysis.samples import sample_texts
from pythia_traj.errors import StoreError
from pythia_traj.live.choice import Choice
from pythia_traj.live.runs import Identity, identity
from pythia_traj.live.watched import State, UnitOf, Watched
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run

_TABLES = 64
"""Tables of units that are kept."""

MOST_MODELS = 4
"""Models whose texts are shown beside each other."""


@dataclass(frozen=True)
class Written:
    """What a model writes after a prompt.

    Attributes:
        of: model and label.
        step: the one at which it was measured.
        texts: prompt and continuation.
    """

    of: str
    step: int
    texts: tuple[tuple[str, str], ...]


def written_at(watched: Watched, state: State, choice: Choice, step: int) -> list[Written]:
    """What the chosen models write at a step, or at the last one before it that has it."""
    found: list[Written] = []
    for (model, label), (at, unit) in _units_at(state, choice, "samples", step):
        if len(found) == MOST_MODELS:
            break
        table = _table(watched, unit, "samples", label, at)
        if table is not None:
            texts = sample_texts(table)
            pairs = zip(texts["prompt"], texts["continuation"], strict=True)
            found.append(Written(f"{model} · {label}", at, tuple(pairs)))
    return found


def _units_at(
    state: State, choice: Choice, experiment: str, step: int
) -> Iterator[tuple[tuple[str, str], tuple[int, UnitOf]]]:
    """For each chosen model and label of an experiment its last unit that is not after a step."""
    last: dict[tuple[str, str], tuple[int, UnitOf]] = {}
    for (model, label, at), unit in sorted(state.units.items()):
        is_chosen = not choice.models or model in choice.models
        if unit.held.experiment == experiment and at <= step and is_chosen:
            last[model, label] = at, unit
    yield from last.items()


def _table(watched: Watched, unit: UnitOf, name: str, label: str, step: int) -> pd.DataFrame | None:
    """The rows that a unit has in a table beside the metrics; None without."""
    path = watched.path_of(unit)
    run = Run(path)
    try:
        written = identity(run.unit_path(unit.model, label, step, table=name))
        return _read(path, name, unit.model, label, step, written)
    except StoreError:
        # The run is gone, which is said of the looks at it.
        return None


@lru_cache(_TABLES)
def _read(
    path: Path, name: str, model: str, label: str, step: int, _written: Identity
) -> pd.DataFrame | None:
    """As `_table`; a file that was written again is read again."""
    run = Run.open(path, newer=True)
    if name not in list_tables(run):
        return None
    found = read_run(
        run, table=name, mixed=True, unknown=True, model=model, label=label, step=step
    ).frame
    return found if len(found) else None
