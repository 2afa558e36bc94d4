"""Figures of `induction`: prefix matching, what heads attend to, and the loss on a repeat."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import heads, text
from pythia_traj.analysis.selection import WHICH, measured
from pythia_traj.analysis.trajectories import unit_names
from pythia_traj.figures import style
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import line, over_steps
from pythia_traj.figures.loss import LOSS
from pythia_traj.figures.maps import heads_over_steps
from pythia_traj.figures.style import Quantity

ATTENTION = Quantity("attention", "share, 0 to 1", rangemode="tozero", scale="share")
MATCHING = Quantity("prefix matching", "1 or less, by convention")
"""In any convention: one of them is below 0 where attention goes elsewhere."""


def copies_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss at each step on the first and the second copy of a random segment.

    A gap between them is induction.
    """
    return over_steps(drawable(text.loss_on_copies(rows), "loss on copies"), LOSS)


def induction_over_steps(
    rows: pd.DataFrame, variant: str = "two_halves", top: int = 5
) -> go.Figure:
    """Prefix matching of the head with most of it, at each step, with its control.

    The top heads are thin lines.

    Args:
        rows: rows of a run.
        variant: the convention of prefix matching; no two are comparable.
        top: how many single heads of each model are drawn, by the highest value of each.
    """
    chosen = drawable(heads.prefix_matching(rows, variant), f"prefix matching, {variant}")
    figure = over_steps(heads.largest_head(chosen.assign(what="largest head")), ATTENTION)
    units = unit_names(chosen)
    alone, colours = units.nunique() == 1, {unit: i for i, unit in enumerate(units.unique())}
    thin = []
    reaching_most = heads.top_heads(measured(chosen), top).groupby([*WHICH, "note"], sort=False)
    for i, (key, head) in enumerate(reaching_most):
        unit, name = units[head.index[0]], str(key[-1])
        # With one model, each head has its own colour; with several, a head has its model's.
        looks = {
            "line": {"color": style.colour(i + 1 if alone else colours[unit]), "width": 1.2},
            "mode": "lines",
            "opacity": 0.8 if alone else 0.4,
            "showlegend": alone,
            "legendrank": 2000,
        }
        thin.append(line(head, name if alone else f"{unit} · {name}", ATTENTION, looks))
    return go.Figure([*thin, *figure.data], figure.layout)


def conventions_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Prefix matching of the head with most of it, at each step, in every convention measured."""
    chosen = drawable(heads.prefix_matching_by_convention(rows), "prefix matching")
    return over_steps(heads.largest_head(chosen), MATCHING)


def attention_over_steps(rows: pd.DataFrame, variant: str = "two_halves") -> go.Figure:
    """Where attention goes: the largest share of a head at each step, by kind of target."""
    chosen = drawable(heads.attention_by_target(rows, variant), f"attention, {variant}")
    return over_steps(heads.largest_head(chosen), ATTENTION)


def attention_of_heads(
    rows: pd.DataFrame,
    metric: str = "prefix_matching",
    variant: str | None = "two_halves",
    control: str | None = None,
    step: int | None = None,
) -> go.Figure:
    """A metric of every head: a map of layers and heads at one step, and one of heads over steps.

    Args:
        rows: rows of one model and one label.
        metric: a metric of heads that is a share of attention.
        variant: its variant; None where it has none.
        control: draw this control of it instead, such as `shuffled`.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models, labels, targets or references; or the step was
            not measured.
    """
    named = ", ".join(filter(None, (metric, variant, control)))
    chosen = drawable(heads.values_of_heads(rows, metric, variant, control), named)
    return heads_over_steps(chosen, ATTENTION, step)


def previous_token_of_heads(rows: pd.DataFrame) -> go.Figure:
    """Attention of every head to the previous token, as `attention_of_heads`."""
    return attention_of_heads(rows, "previous_token")


CHARTS = (
    Chart(
        "induction",
        10,
        "The strongest heads",
        "Attention to the token after the previous occurrence of the current one (convention"
        " two_halves). Thick: the largest head at each step. Thin: the heads that reach most."
        " Dotted: the largest on shuffled repeats.",
        induction_over_steps,
        each="experiment",
    ),
    Chart(
        "induction",
        20,
        "Loss on a repeated segment",
        "Loss on random tokens and on their exact repeat. The second copy falls below the first"
        " once the model continues what it has seen. Dotted: the repeat is shuffled.",
        copies_over_steps,
        each="experiment",
    ),
    Chart(
        "induction",
        30,
        "Prefix matching of every head",
        "Above, each head at one step, which the slider moves; below, over training. The stronger"
        " the colour, the more attention goes to the token after the previous occurrence.",
        attention_of_heads,
        each="unit",
    ),
    Chart(
        "induction",
        40,
        "Attention of every head to the previous token",
        "Read as the one above. Such heads are expected first: induction heads build on them.",
        previous_token_of_heads,
        each="unit",
    ),
    Chart(
        "induction",
        50,
        "What heads attend to",
        "For each kind of target, the largest share of attention that any head gives it.",
        attention_over_steps,
        each="experiment",
    ),
    Chart(
        "induction",
        60,
        "Prefix matching by convention",
        "The largest head at each step, under each definition in use. Each has a scale of its own:"
        " compare a line with its dotted control, never with another line.",
        conventions_over_steps,
        each="experiment",
    ),
)
"""What a report shows of these."""
