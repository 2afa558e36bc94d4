"""Figures of `head_roles`: which heads have which role, and since when."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import roles
from pythia_traj.analysis.heads import head_name
from pythia_traj.analysis.selection import WHICH
from pythia_traj.figures import style
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import NothingToDraw, drawable, one_each
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import ABOVE, cells_over_steps, height_of, row_labels, two_panels
from pythia_traj.figures.style import Quantity

HEADS = Quantity("heads with the role", "number", rangemode="tozero")
SCORE = Quantity("score", "")

_LEGEND, _BELOW_LEGEND = 20, 32
"""Pixels of the name of a role, which has a line of its own on a phone, and those below them."""


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads have each role at each step."""
    return over_steps(drawable(roles.heads_with_role(rows), "roles of heads"), HEADS)


def roles_of_heads(rows: pd.DataFrame, step: int | None = None) -> go.Figure:
    """Which head has which role: a map at one step, and one of heads over steps.

    A row is a role and a head that ever has it; where a head has several rows, their labels name
    the role too, and the hover of a row always does. A cell has the role's colour where the head
    has it; in the upper map, a head with several roles has the colour of the first.

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
    roles_of_all = list(found["role"].cat.categories)
    over = _timelines(found)
    figure = two_panels(over, found, step, "")
    of_rows = [row["role"] for row in over.meta["rows"]]
    looks = {"mode": "markers", "hoverinfo": "skip", "showlegend": True}
    for role in dict.fromkeys(of_rows):
        marker = {"symbol": "square", "size": 11}
        marker |= {"color": style.colour(roles_of_all.index(role))}
        name = style.literal(role.replace("_", " "))
        figure.add_scatter(x=[None], y=[None], name=name, marker=marker, **looks)
    heads = [head_name(row["layer"], row["head"]) for row in over.meta["rows"]]
    labels = [
        _row_name(role, head) if heads.count(head) > 1 else head
        for role, head in zip(of_rows, heads, strict=True)
    ]
    fits = len(heads) * 12 <= (height := height_of(len(heads), 15))
    above = _BELOW_LEGEND + _LEGEND * len(set(of_rows))
    return figure.update_layout(
        # Where heads have no room, colours alone say where a role begins.
        yaxis=row_labels(labels, of_rows, height) | {"showticklabels": fits},
        coloraxis={"cmin": -0.5, "cmax": len(roles_of_all) - 0.5, "showscale": False}
        | {"colorscale": _bands(len(roles_of_all))},
        # A cell without colour is a head without the role, not one that was not measured.
        plot_bgcolor=None,
        height=figure.layout.height - ABOVE + above,
        margin={"t": above},
        legend={"yref": "container", "y": 1, "yanchor": "top", "itemclick": False}
        | {"itemdoubleclick": False},
    )


def _timelines(found: pd.DataFrame) -> go.Heatmap:
    """The map of roles and heads over steps: the number of the role where the head has it."""
    roles_of_all = list(found["role"].cat.categories)
    placed = found.assign(metric=pd.Categorical(found["metric"], roles_of_all))
    by = ["metric", "layer", "head"]
    over = cells_over_steps(placed, by, SCORE)
    has = placed.pivot(index=by, columns="step", values="has_role").sort_index()
    held = has.fillna(value=False).to_numpy(bool)
    rows = [row | {"role": row["metric"]} for row in over.meta["rows"]]
    number = np.array([roles_of_all.index(row["role"]) for row in rows])
    names = [_row_name(row["role"], head_name(row["layer"], row["head"])) for row in rows]
    return over.update(
        y=[style.literal(name) for name in names],
        z=np.where(held, number[:, None], np.nan).astype(np.float32),
        text=np.where(held, over.z, np.nan),
        hovertemplate="<b>%{y}</b><br>step %{customdata:,.0f}<extra></extra>",
        # What it draws are the scores of the cells that have a colour.
        meta=over.meta | {"rows": rows, "value": "text"},
    )


def _row_name(role: str, head: str) -> str:
    return f"{role.replace('_', ' ')} {head}"


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
