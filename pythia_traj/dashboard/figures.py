"""Figures of a run: rows in, Plotly figure out.

They are pure; the page and the live view draw the same ones. Each function takes rows as
`pythia_traj.load` gives them, with controls or without; `pythia_traj.analysis` chooses what it
draws. Trajectories of several models and labels share one figure. Rows without a value are not
drawn; without any value, `NothingToDraw` says why.
"""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pythia_traj.analysis import heads, text
from pythia_traj.analysis.selection import WHICH, measured, reasons
from pythia_traj.analysis.trajectories import trajectories, unit_names
from pythia_traj.dashboard import style
from pythia_traj.dashboard.charts import Chart
from pythia_traj.dashboard.style import Quantity
from pythia_traj.errors import ConfigError, PythiaTrajError

LOSS = Quantity("loss", "nats per token")
ACCURACY = Quantity("accuracy", "share of tokens")
LEARNING = Quantity("loss difference", "nats per token")
ATTENTION = Quantity("attention", "share, 0 to 1", rangemode="tozero")

_POSITIONS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]


def loss_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Mean loss on text at each step, in nats per token, and on the same tokens shuffled."""
    return over_steps(drawable(text.loss_on_text(rows), "nll"), LOSS)


def accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of tokens predicted correctly at each step, on text and on the same tokens shuffled."""
    return over_steps(drawable(text.accuracy_on_text(rows), "accuracy"), ACCURACY)


def icl_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss late in the context minus loss early in it at each step.

    Negative is learning from the context.
    """
    chosen = drawable(text.in_context_learning(rows), "icl_score, icl_window")
    return over_steps(chosen, LEARNING)


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
        line = {"color": style.colour(i + 1 if alone else colours[unit]), "width": 1.2}
        looks = {
            "line": line,
            "mode": "lines",
            "opacity": 0.8 if alone else 0.4,
            "showlegend": alone,
            "legendrank": 2000,
        }
        thin.append(style.line(head, name if alone else f"{unit} · {name}", ATTENTION, looks))
    return go.Figure([*thin, *figure.data], figure.layout)


def conventions_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Prefix matching of the head with most of it, at each step, in every convention measured."""
    chosen = drawable(heads.prefix_matching_by_convention(rows), "prefix matching")
    return over_steps(heads.largest_head(chosen), ATTENTION)


def attention_over_steps(rows: pd.DataFrame, variant: str = "two_halves") -> go.Figure:
    """Where attention goes: the largest share of a head at each step, by kind of target."""
    chosen = drawable(heads.attention_by_target(rows, variant), f"attention, {variant}")
    return over_steps(heads.largest_head(chosen), ATTENTION)


def loss_by_position(rows: pd.DataFrame, most: int = 7) -> go.Figure:
    """Loss on text at each position of the context, for some of the steps, dark being late.

    Args:
        rows: rows of one model and one label.
        most: about how many steps are drawn.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(text.loss_by_position(rows), "loss by position")
    _one_each(chosen, "loss_by_position", *WHICH)
    shown = text.at_some_steps(chosen, most - 1).groupby("step")
    title = "position of the predicted token (log scale)"
    figure = style.blank({"title": {"text": title}, "type": "log", "tickvals": _POSITIONS}, LOSS)
    for (step, at), shade in zip(shown, style.shades(len(shown)), strict=True):
        looks = {"line": {"color": shade, "width": 1.4}, "mode": "lines"}
        figure.add_trace(style.line(at, f"step {step}", LOSS, looks, x=at["position"]))
    return figure


def head_heatmaps(
    rows: pd.DataFrame,
    metric: str = "prefix_matching",
    variant: str | None = "two_halves",
    control: str | None = None,
) -> go.Figure:
    """A metric of every head at every step: a heat map a layer, one colour scale.

    Heads go down, steps to the right.

    Args:
        rows: rows of one model and one label, about one target and one reference.
        metric: a metric of heads.
        variant: its variant; None where it has none.
        control: draw this control of it instead, such as `shuffled`.

    Raises:
        ConfigError: the rows hold several models, labels, targets or references.
    """
    named = ", ".join(filter(None, (metric, variant, control)))
    chosen = drawable(heads.values_of_heads(rows, metric, variant, control), named)
    _one_each(chosen, "head_heatmaps", *WHICH, "target", "reference")
    chosen = heads.of_one_head(chosen)
    layers = sorted(int(layer) for layer in chosen["layer"].unique())
    numbers, steps = range(int(chosen["head"].max()) + 1), sorted(chosen["step"].unique())
    band, gap, above, below = min(max(15 * len(numbers), 64), 220), 30, 88, 60
    height = len(layers) * (band + gap) - gap + above + below
    spacing = gap / (height - above - below) if len(layers) > 1 else 0
    names = [f"layer {layer}" for layer in layers]
    figure = make_subplots(
        len(layers), 1, shared_xaxes=True, vertical_spacing=spacing, subplot_titles=names
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 12, "color": style.QUIET})
    for row, layer in enumerate(layers, start=1):
        cells = style.heat_map(chosen[chosen["layer"] == layer], ATTENTION, layer, numbers, steps)
        figure.add_trace(cells, row=row, col=1)
    labelled = list(numbers)[:: -(-len(numbers) * 13 // band)]
    figure.update_yaxes(
        title={"text": "head"}, autorange="reversed", tickvals=labelled, showgrid=False
    )
    axis = style.step_axis(steps)
    figure.update_xaxes(axis | {"title": {"text": ""}, "showgrid": False})
    figure.update_xaxes(title=axis["title"], row=len(layers))
    place = {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 1,
        "yanchor": "bottom",
        "yshift": above - 22,
    }
    figure.add_annotation(text=str(ATTENTION), xanchor="left", showarrow=False, **place)
    looks = {"template": style.TEMPLATE, "plot_bgcolor": style.ABSENT, "coloraxis": style.scale()}
    return figure.update_layout(
        height=height, margin={"t": above, "b": below, "l": 60, "r": 24}, **looks
    )


def over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A line for each model, label and `what`, dotted in the same colour for its control.

    Bands are one standard error up and down.
    """
    figure = style.blank(style.step_axis(chosen["step"]), quantity)
    colours, beside_lines = dict[str, int](), dict[str, None]()
    for trajectory in trajectories(chosen):
        name, control = trajectory.name, trajectory.control.replace("_", " ")
        # A control is shown and hidden with its line; without a line it has its own legend entry.
        beside = bool(control) and name in colours
        beside_lines |= {control: None} if beside else {}
        index = colours.setdefault(name, len(colours))
        line = {
            "color": style.colour(index),
            "width": 1.4 if control else 2.2,
            "dash": "dot" if control else "solid",
        }
        marker = {"symbol": style.symbol(index), "size": 4 if control else 5}
        looks = {
            "line": line,
            "marker": marker,
            "mode": "lines+markers",
            "legendgroup": f"line-{index}",
        }
        at = trajectory.rows
        figure.add_traces(list(style.bands(at, style.colour(index), f"line-{index}")))
        shown = f"{name}, {control}" if control else name
        figure.add_trace(style.line(at, shown, quantity, looks | {"showlegend": not beside}))
    return figure.add_trace(style.dotted(", ".join(beside_lines))) if beside_lines else figure


class NothingToDraw(PythiaTrajError):  # noqa: N818 - not an error
    """The rows hold no value of what was asked for.

    Attributes:
        reasons: each reason for a missing value, with its row count; empty without any row.
    """

    def __init__(self, what: str, reasons: dict[str, int]) -> None:
        told = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons.items())
        super().__init__(f"{what}: no value, {told}" if reasons else f"{what}: no rows")
        self.reasons = reasons


def drawable(chosen: pd.DataFrame, what: str) -> pd.DataFrame:
    """The chosen rows if any of them has a value; else raises NothingToDraw."""
    if chosen["value"].isna().all():
        raise NothingToDraw(what, reasons(chosen))
    return chosen


def _one_each(chosen: pd.DataFrame, figure: str, *keys: str) -> None:
    """Raises ConfigError for rows of several models, say, which a figure cannot tell apart."""
    for key in keys:
        names = sorted(chosen[key].unique())
        if len(names) > 1:
            raise ConfigError(
                f"{figure} draws one {key}, these rows hold {', '.join(names)}: select one first"
            )


CHARTS = (
    Chart(
        10,
        "Loss on text",
        "Mean loss per token; lower is better. Dotted is the control, the same tokens in random"
        " order: what is left when order says nothing.",
        loss_over_steps,
    ),
    Chart(
        20,
        "Accuracy on text",
        "Share of tokens that the model ranks first. Dotted: the same tokens in random order.",
        accuracy_over_steps,
    ),
    Chart(
        30,
        "Loss along the context",
        "Loss at each position, for some of the steps; the darker the later. A line that goes on"
        " falling to the right is a model that uses more of its context.",
        loss_by_position,
        per_label=True,
    ),
    Chart(
        40,
        "In-context learning",
        "Loss late in the context minus loss early in it, at single tokens and averaged over"
        " windows. Negative means that the model learns from its context.",
        icl_over_steps,
    ),
    Chart(
        50,
        "Induction: the strongest heads",
        "Attention to the token after the previous occurrence of the current one (convention"
        " two_halves). Thick: the largest head at each step. Thin: the heads that reach most."
        " Dotted: the largest on shuffled repeats.",
        induction_over_steps,
    ),
    Chart(
        60,
        "Induction: loss on a repeated segment",
        "Loss on random tokens and on their exact repeat. The second copy falls below the first"
        " once the model continues what it has seen. Dotted: the repeat is shuffled.",
        copies_over_steps,
    ),
    Chart(
        70,
        "Prefix matching by convention",
        "The largest head at each step, under each definition in use. Each has a scale of its own:"
        " compare a line with its dotted control, never with another line.",
        conventions_over_steps,
    ),
    Chart(
        80,
        "What heads attend to",
        "For each kind of target, the largest share of attention that any head gives it, at each"
        " step. Previous-token heads are expected before induction heads, which build on them.",
        attention_over_steps,
    ),
    Chart(
        90,
        "Prefix matching of every head",
        "One map a layer: heads downwards, training to the right, the darker the more attention"
        " goes to the token after the previous occurrence. All layers share one scale.",
        head_heatmaps,
        per_label=True,
    ),
    Chart(
        100,
        "Attention of every head to the previous token",
        "One map a layer, read as the one above.",
        lambda rows: head_heatmaps(rows, metric="previous_token"),
        per_label=True,
    ),
)
"""What the page shows of these, and where."""
