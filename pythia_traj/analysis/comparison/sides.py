"""The models of some runs: their rows, items, and how they were measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pythia_traj.errors import AnalysisError, StoreError, nearest
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import Run
from pythia_traj.store.mixed import differences
from pythia_traj.store.read import Read, read_run

_OF_SEEDS = ("seed", "data_seed", "weight_seed")
_SAME_MODEL = ("size", "deduped", "n_layers", "n_heads", "d_model", "n_parameters")


@dataclass(frozen=True)
class Side:
    """One model of one run.

    Attributes:
        run: the run's directory.
        model: the model's name in it.
        name: what it is called among those that it is compared with.
        rows: its measurements.
        settings: what the rows of each label were made of.
        facts: its row of the table `models`; empty where the run has none.
    """

    run: Path
    model: str
    name: str
    rows: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]

    def items(self, labels: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame | None:
        """The items of the whole model at these labels, over all positions; None where none are.

        Args:
            labels: some labels.
            metrics: some metrics.
        """
        if "items" not in list_tables(Run.open(self.run)):
            return None
        rows = read_run(
            self.run, table="items", mixed=True, model=self.model, head=None, position=None
        ).frame
        chosen = rows["label"].isin(labels) & rows["metric"].isin(metrics)
        return rows[chosen].assign(model=self.name)


def read_sides(
    runs: Sequence[str | Path], models: Sequence[str] = (), **where: Any
) -> tuple[list[Side], list[str]]:
    """The models of some runs, with the notes that their readers must know.

    Args:
        runs: the runs' directories.
        models: the names of some models, in the order that the sides are to have; all if empty.
        **where: filters of `pythia_traj.load`.

    Raises:
        StoreError: one is not a run, or does not hold a word of the filters.
        AnalysisError: a run is given twice, or no run has a model of that name.
    """
    paths = [Path(run) for run in runs]
    if twice := given_twice(paths):
        raise AnalysisError(
            f"{twice} is given twice: compare it with another run, or two of its models with"
            " --model"
        )
    sides: list[Side] = []
    notes: list[str] = []
    for path in paths:
        found = _read(path, where)
        notes += [f"{path}: {note}" for note in found.notes] if len(paths) > 1 else found.notes
        table = read_run(path, table="models").frame.astype(object)
        facts = {str(row["model"]): dict(row) for _, row in table.iterrows()}
        for model, rows in found.frame.groupby("model", observed=True, sort=True):
            settings: dict[str, dict[str, Any]] = {}
            for unit, footer in found.footers.items():
                if unit.model == model:
                    vocabulary = (footer.model_extra or {}).get("vocabulary")
                    settings.setdefault(unit.label, {**footer.settings, "vocabulary": vocabulary})
            name = str(model)
            sides.append(Side(path, name, name, rows, settings, facts.get(name, {})))
    known = {side.model for side in sides}
    for name in models:
        if name not in known:
            raise AnalysisError(f"no run has a model {name!r}: {nearest(name, known)}")
    chosen = [side for side in sides if not models or side.model in models]
    if models:
        chosen.sort(key=lambda side: models.index(side.model))
    return _named(chosen), notes


def _read(path: Path, where: Mapping[str, Any]) -> Read:
    """The rows of a run.

    Raises:
        StoreError: as `read_run`, always with the run's path.
    """
    try:
        return read_run(path, mixed=True, **where)
    except StoreError as error:
        if str(path) in str(error):
            raise
        raise StoreError(f"{path}: {error}") from error


def are_seeds(sides: Sequence[Side]) -> bool:
    """Whether the table of models says that they differ in nothing but their seeds."""
    same = {tuple(str(side.facts.get(name)) for name in _SAME_MODEL) for side in sides}
    seeds = {tuple(str(side.facts.get(name)) for name in _OF_SEEDS) for side in sides}
    return len(same) == 1 and len(seeds) == len(sides) > 1


def other_settings(sides: Sequence[Side]) -> dict[str, str]:
    """The labels whose rows were made with other settings at one of the sides, and which."""
    found = {}
    for label in sides[0].settings:
        made = [side.settings[label] for side in sides if label in side.settings]
        if any(one != made[0] for one in made):
            found[label] = differences(made)
    return found


def given_twice(runs: Sequence[Path]) -> Path | None:
    """The first of some directories that is among them again, by this or another name."""
    counts = Counter(run.resolve() for run in runs)
    return next((run for run in runs if counts[run.resolve()] > 1), None)


def unique_names(models: Sequence[tuple[Path, str]]) -> list[str]:
    """A name for each model of some runs: the model's, with the run's where several have it.

    Args:
        models: the directory of the run and the name in it, each pair once.
    """
    alone = Counter(model for _, model in models)
    of_runs = [f"{run.resolve().name}/{model}" for run, model in models]
    short = Counter(of_runs)
    return [
        model if alone[model] == 1 else of_run if short[of_run] == 1 else f"{run}/{model}"
        for (run, model), of_run in zip(models, of_runs, strict=True)
    ]


def _named(sides: Sequence[Side]) -> list[Side]:
    """The same, each with a name of its own."""
    names = unique_names([(side.run, side.model) for side in sides])
    return [
        replace(side, name=name, rows=side.rows.assign(model=name))
        for side, name in zip(sides, names, strict=True)
    ]
