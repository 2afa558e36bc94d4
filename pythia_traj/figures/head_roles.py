"""Figures of `head_roles`: which heads have which role, and since when."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import roles
from pythia_traj.analysis.selection import WHICH
from pythia_traj.figures import style
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import NothingToDraw, drawable, one_each
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import ABOVE, cells_over_steps, height_of, row_labels, two_panels
from pythia_traj.figures.style import Quantity
from pythia_traj.schema import WORDS

HEADS = Quantity("heads with the role", "number", rangemode="tozero")
SCORE = Quantity("score", "")

_LEGEND = 60
"""Pixels of the names of roles above the maps, more than a colour bar takes."""


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads have each role at each step."""
    return over_steps(drawable(roles.heads_with_role(rows), "roles of heads"), HEADS)


def roles_of_heads(rows: pd.DataFrame, step: int | None = None) -> go.Figure:
    """Which head has which role: a map at one step, and one of heads over steps.

    A row is a role and a head that ever has it. A cell has the role's colour where the head has
    it; in the upper map, a head with several roles has the colour of the first.

    Args:
        rows: rows of one model and one label.
        step: the step of the upper map, a measured one; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
        NothingToDraw: no head has a role at any step.
    """
    found = roles.roles_of_heads(rows)
    if found.empty:
        counted = drawable(roles.heads_with_role(rows), "roles of heads")
        raise NothingToDraw("roles of heads", {"no head has a role at any step": len(counted)})
    one_each(found, "roles_of_heads", *WHICH)
    order = sorted(found["metric"].unique(), key=_place)
    over = _timelines(found.assign(metric=pd.Categorical(found["metric"], order)))
    figure = two_panels(over, found, step, "")
    names = [style.literal(role.replace("_", " ")) for role in order]
    heads = [f"L{row['layer']}H{row['head']}" for row in over.meta["rows"]]
    fits = len(heads) * 12 <= (height := height_of(len(heads), 15))
    of_roles = [row["role"] for row in over.meta["rows"]]
    looks = {"mode": "markers", "hoverinfo": "skip", "showlegend": True}
    for i, name in enumerate(names):
        marker = {"symbol": "square", "size": 11, "color": style.colour(i)}
        figure.add_scatter(x=[None], y=[None], name=name, marker=marker, **looks)
    return figure.update_layout(
        # Where heads have no room, colours alone say where a role begins.
        yaxis=row_labels(heads, of_roles, height) | {"showticklabels": fits},
        coloraxis={"cmin": -0.5, "cmax": len(order) - 0.5, "showscale": False}
        | {"colorscale": _bands(len(order))},
        # A cell without colour is a head without the role, not one that was not measured.
        plot_bgcolor=None,
        height=figure.layout.height + _LEGEND,
        margin={"t": ABOVE + _LEGEND},
        legend={"yref": "container", "y": 1, "yanchor": "top", "itemclick": False}
        | {"itemdoubleclick": False},
    )


def _place(role: str) -> tuple[int, str]:
    """Ours in the order of the words, then others."""
    known = WORDS["target"]
    return (known.index(role) if role in known else len(known), role)


def _timelines(found: pd.DataFrame) -> go.Heatmap:
    """The map of roles and heads over steps: the number of the role where the head has it."""
    by = ["metric", "layer", "head"]
    over = cells_over_steps(found, by, SCORE)
    has = found.pivot(index=by, columns="step", values="has_role").sort_index()
    held = has.fillna(value=False).to_numpy(bool)
    numbers = {role: i for i, role in enumerate(found["metric"].cat.categories)}
    number = np.array([numbers[row["metric"]] for row in over.meta["rows"]])
    rows = [row | {"role": row["metric"]} for row in over.meta["rows"]]
    names = [f"{row['role'].replace('_', ' ')} L{row['layer']}H{row['head']}" for row in rows]
    return over.update(
        y=[style.literal(name) for name in names],
        z=np.where(held, number[:, None], np.nan).astype(np.float32),
        text=np.where(held, over.z, np.nan),
        hovertemplate="<b>%{y}</b><br>step %{customdata:,.0f}<extra></extra>",
        # What it draws are the scores of the cells that have a colour.
        meta=over.meta | {"rows": rows, "value": "text"},
    )


def _bands(n: int) -> list[list[object]]:
    """A colour scale of n colours without transitions."""
    return [[(i + end) / n, style.colour(i)] for i in range(n) for end in (0, 1)]


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
    Chart(
        "head_roles",
        20,
        "Which head has which role",
        "Above, each head at one step, which the slider moves; a head with several roles has the"
        " colour of the first. Below, each head that ever has a role, by role: coloured at the"
        " steps at which it has it.",
        roles_of_heads,
        each="unit",
    ),
)
"""What a report shows of these."""
