"""Figures of `head_roles`: which heads have which role, and since when."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import roles
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

HEADS = Quantity("heads with the role", "number", rangemode="tozero")


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads have each role at each step."""
    return over_steps(drawable(roles.heads_with_role(rows), "roles of heads"), HEADS)


CHARTS = (
    Chart(
        "head_roles",
        10,
        "Roles of heads",
        "How many heads have each role: significant among the model's heads, at a false discovery"
        " rate of 5 %, at this step and, on other items, at the measured step before. Dotted: by"
        " the same rule on shuffled tokens.",
        roles_over_steps,
    ),
)
"""What a report shows of these."""
