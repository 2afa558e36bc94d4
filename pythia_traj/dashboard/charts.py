"""The figures of the page in order. A file of this folder adds its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pandas as pd
import plotly.graph_objects as go

from pythia_traj import dashboard
from pythia_traj.folder import defined_in


@dataclass(frozen=True)
class Chart:
    """A figure of the page: its heading and caption, and how to draw it from one model's rows.

    Attributes:
        place: where it stands on the page: lower numbers come first.
        heading: its name.
        caption: what it shows, and how to read it.
        draw: rows of `pythia_traj.load`, controls among them -> the figure; raises NothingToDraw
            where the rows hold nothing for it, and it is left out.
        per_label: whether each label gets a figure of its own.
    """

    place: int
    heading: str
    caption: str
    draw: Callable[[pd.DataFrame], go.Figure]
    per_label: bool = False


@cache
def charts() -> tuple[Chart, ...]:
    """The figures of a model's section, in order: those that the files here define as `CHARTS`."""
    return tuple(sorted(defined_in(dashboard, "CHARTS", Chart), key=lambda chart: chart.place))
