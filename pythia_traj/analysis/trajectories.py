"""The lines of chosen rows: their names, their order, and which of many are shown."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from pythia_traj.analysis.selection import WHICH
from pythia_traj.analysis.steps import steps_to_show


@dataclass(frozen=True)
class Trajectory:
    """One measure over the steps.

    Attributes:
        name: the model, the label and `what`, each where several of them are compared; a control
            has the name of its measurement.
        control: which control it is; empty for a measurement.
        rows: its chosen rows in the order of steps.
    """

    name: str
    control: str
    rows: pd.DataFrame


def trajectories(chosen: pd.DataFrame) -> Iterator[Trajectory]:
    """One for each model, label, `what` and control that has a value at any step.

    Measurements come before controls, otherwise in the order of the rows.
    """
    keys = [*WHICH, "what", "control"]
    known = chosen.groupby(keys)["value"].transform("count") > 0
    ordered = chosen[known].sort_values("control", kind="stable")
    for key, at in ordered.groupby([unit_names(chosen), "what", "control"], sort=False):
        name = " · ".join(part for part in map(str, key[:-1]) if part)
        yield Trajectory(name, str(key[-1]), at.sort_values("step"))


def unit_names(chosen: pd.DataFrame) -> pd.Series:
    """The parts of models and labels that vary: empty where the rows have one of each."""
    varying = [key for key in WHICH if chosen[key].nunique() > 1]
    if not varying:
        return pd.Series("", index=chosen.index)
    named = chosen[varying].astype(str)
    return named[varying[0]].str.cat(named[varying[1:]], sep=" · ")


def at_some_steps(chosen: pd.DataFrame, by: str, most: int) -> pd.DataFrame:
    """The chosen rows of some of their steps, in the order of steps and of another column.

    Args:
        chosen: chosen rows of one model and one label.
        by: the other column, such as position.
        most: about how many steps are kept.
    """
    kept = chosen[chosen["step"].isin(steps_to_show(chosen["step"], most))]
    return kept.sort_values(["step", by], kind="stable")


def of_some_layers(chosen: pd.DataFrame, most: int = 5) -> pd.DataFrame:
    """The chosen rows of a few layers at equal distances, the first and the last among them.

    Args:
        chosen: chosen rows, each of a layer.
        most: the most layers that are kept.
    """
    layers = sorted(chosen["layer"].dropna().unique())
    few = min(most, len(layers))
    kept = {layers[round(i * (len(layers) - 1) / max(few - 1, 1))] for i in range(few)}
    return chosen[chosen["layer"].isin(kept)]
