"""Which figures a report has. A file of this folder adds its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.folder import defined_in


@dataclass(frozen=True)
class Chart:
    """A figure of a report: its heading and caption, and how to draw it.

    Attributes:
        experiment: whose rows it draws; they stand in one section.
        place: where it stands among the others of its experiment: lower numbers come first.
        heading: its name.
        caption: what it shows, and how to read it.
        draw: rows of the experiment as `pythia_traj.load` gives them, controls among them -> the
            figure; raises NothingToDraw where they hold nothing for it, and it is left out.
        each: what gets a figure of its own: `experiment` is one for all its models and labels,
            `label` one for each label, with all models, `unit` one for each model and label.
    """

    experiment: str
    place: int
    heading: str
    caption: str
    draw: Callable[[pd.DataFrame], go.Figure]
    each: Literal["experiment", "label", "unit"] = "label"


@cache
def charts() -> dict[str, tuple[Chart, ...]]:
    """The charts of each experiment in order: those that the files here define as `CHARTS`."""
    found: dict[str, list[Chart]] = {}
    for chart in sorted(
        defined_in(import_module(__package__), "CHARTS", Chart), key=lambda chart: chart.place
    ):
        found.setdefault(chart.experiment, []).append(chart)
    return {experiment: tuple(of_it) for experiment, of_it in found.items()}
