"""What is shown of one step: what models write there, and where followed heads attend."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pandas as pd

from pythia_traj.analysis.heads import head_name
from pythia_traj.analysis.patterns import Pattern, patterns_at
from pythia_traj.analysis.samples import sample_texts
from pythia_traj.errors import PythiaTrajError, StoreError
from pythia_traj.figures.attention import attention_pattern
from pythia_traj.live.choice import Choice
from pythia_traj.live.runs import Identity, identity
from pythia_traj.live.watched import State, UnitOf, Watched
from pythia_traj.reports.drawings import Drawing, Panel
from pythia_traj.store.compacted import holder_of
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run

_TABLES = 64
"""Tables of units that are kept."""

MOST_MODELS = 4
"""Models and labels whose texts and patterns are shown."""

MOST_HEADS = 3
"""Followed heads whose patterns are shown."""


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
    units = _units_at(state, choice, "samples", step)
    for (model, label), (at, unit) in islice(units, MOST_MODELS):
        table = _table(watched, unit, "samples", label, at)
        if table is not None:
            texts = sample_texts(table)
            pairs = zip(texts["prompt"], texts["continuation"], strict=True)
            found.append(Written(f"{model} · {label}", at, tuple(pairs)))
    return found


def patterns_at_step(watched: Watched, state: State, choice: Choice, step: int) -> list[Drawing]:
    """What followed heads attend to on their prompts at a step, or at the last measured before it.

    Of the heads that are followed the last ones, each in each of some models.
    """
    found: list[Drawing] = []
    for (model, label), (at, unit) in islice(
        _units_at(state, choice, "attention", step), MOST_MODELS
    ):
        table = _table(watched, unit, "patterns", label, at)
        if table is None:
            continue
        for layer, head in choice.followed_heads[-MOST_HEADS:]:
            try:
                patterns = patterns_at(table, at, layer, head)
            except PythiaTrajError:
                # A damaged pattern costs itself.
                continue
            if patterns:
                found.append(
                    _of_head(f"{head_name(layer, head)} · {model} · {label}", at, patterns)
                )
    return found


def _of_head(of: str, step: int, patterns: Sequence[Pattern]) -> Drawing:
    caption = (
        f"At step {step:,}: from each token, downwards, to those before it, from left to right."
    )
    panels = tuple(Panel(one.prompt, attention_pattern(one)) for one in patterns)
    return Drawing(of, caption, panels)


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
        written = identity(holder_of(run.unit_path(unit.model, label, step, table=name)))
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
