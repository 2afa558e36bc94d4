"""Figures of a run: rows in, Plotly figure out.

They are pure; the page and the live view draw the same ones. Each function takes rows as
`pythia_traj.load` gives them, with controls or without, and finds what it draws by metric, never by
label, as a label can be any name. Trajectories of several models and labels are drawn into one
figure. What has no value is not drawn: `NothingToDraw` says why.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pythia_traj.dashboard import style
from pythia_traj.dashboard.style import Quantity
from pythia_traj.errors import ConfigError, PythiaTrajError

WHICH = ("model", "label")
"""The columns that say whose trajectory a row belongs to."""

HEAD_LABELS = {
    "prefix_matching": "token after the previous occurrence",
    "previous_token": "previous token",
    "duplicate_token": "previous occurrence itself",
    "bos": "first position",
    "self": "own position",
    "local": "2 to 5 tokens back",
}
"""What a head's attention goes to, by metric."""

LOSS = Quantity("loss", "nats per token")
ACCURACY = Quantity("accuracy", "share of tokens")
LEARNING = Quantity("loss difference", "nats per token")
ATTENTION = Quantity("attention", "share, 0 to 1", rangemode="tozero")

_POSITIONS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]


def loss_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Mean loss on text at each step, in nats per token, and on the same tokens shuffled."""
    return _mean_over_steps(on_text(rows), {"nll": "text"}, LOSS)


def accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of tokens predicted rightly at each step, on text and on the same tokens shuffled."""
    return _mean_over_steps(on_text(rows), {"accuracy": "text"}, ACCURACY)


def icl_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss late in the context minus loss early in it at each step.

    Negative is learning from the context.
    """
    metrics = {"icl_score": "tokens 500 and 50", "icl_window": "tokens 450..549 and 40..59"}
    return _mean_over_steps(rows, metrics, LEARNING)


def copies_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss at each step on the first and the second copy of a random segment.

    A gap between them is induction.
    """
    chosen = choose(rows, ["nll"])
    chosen = chosen[chosen["part"].isin(["first_copy", "second_copy"])]
    chosen = chosen.assign(what=chosen["part"].str.replace("_", " "))
    return over_steps(drawable(chosen, "loss on copies"), LOSS)


def induction_over_steps(
    rows: pd.DataFrame, variant: str = "two_halves", top: int = 5
) -> go.Figure:
    """Prefix matching of the head that has most of it, at each step, with its control.

    The top heads are thin lines.

    Args:
        rows: rows of a run.
        variant: the convention of prefix matching; no two are comparable.
        top: how many single heads of each model are drawn, by the most each ever reaches.
    """
    chosen = choose(rows, ["prefix_matching"], component="head")
    chosen = drawable(chosen[chosen["variant"] == variant], f"prefix matching, {variant}")
    figure = over_steps(largest_head(chosen.assign(what="largest head")), ATTENTION)
    units = _unit_names(chosen)
    alone, colours = units.nunique() == 1, {unit: i for i, unit in enumerate(units.unique())}
    thin = []
    for i, head in enumerate(_top_heads(chosen[chosen["control"] == ""], top)):
        unit, name = units[head.index[0]], head["note"].iloc[0]
        # One model alone has colours to spare for its heads; of several, a head has its model's.
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
    """Prefix matching of the head that has most, at each step, in every convention measured."""
    chosen = choose(rows, ["prefix_matching"], component="head")
    chosen = drawable(chosen.assign(what=chosen["variant"]), "prefix matching")
    return over_steps(largest_head(chosen), ATTENTION)


def attention_over_steps(rows: pd.DataFrame, variant: str = "two_halves") -> go.Figure:
    """Where attention goes: the largest share of a head at each step, by kind of target."""
    chosen = choose(rows, list(HEAD_LABELS), component="head")
    chosen = drawable(chosen[chosen["variant"] == variant], f"attention, {variant}")
    return over_steps(
        largest_head(chosen.assign(what=chosen["metric"].map(HEAD_LABELS))), ATTENTION
    )


def loss_by_position(rows: pd.DataFrame, most: int = 7) -> go.Figure:
    """Loss on text at each position of the context, for some of the steps, dark being late.

    Args:
        rows: rows of one model and one label.
        most: about how many steps are drawn.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = of_everything(choose(rows, ["nll"], by_position=True))
    chosen = drawable(chosen[chosen["control"] == ""], "loss by position")
    _one_each(chosen, "loss_by_position", *WHICH)
    steps = style.step_ticks(chosen["step"], most - 1)
    title = "position of the predicted token (log scale)"
    figure = style.blank({"title": {"text": title}, "type": "log", "tickvals": _POSITIONS}, LOSS)
    for step, shade in zip(steps, style.shades(len(steps)), strict=True):
        at = chosen[chosen["step"] == step].sort_values("position")
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
    chosen = choose(rows, [metric], component="head")
    chosen = chosen[(chosen["variant"] == (variant or "")) & (chosen["part"] == "")]
    named = ", ".join(filter(None, (metric, variant, control)))
    chosen = drawable(chosen[chosen["control"] == (control or "")], named)
    _one_each(chosen, "head_heatmaps", *WHICH, "target", "reference")
    chosen = chosen.dropna(subset=["layer", "head"])
    layers = sorted(int(layer) for layer in chosen["layer"].unique())
    heads, steps = range(int(chosen["head"].max()) + 1), sorted(chosen["step"].unique())
    band, gap, above, below = min(max(15 * len(heads), 64), 220), 30, 88, 60
    height = len(layers) * (band + gap) - gap + above + below
    spacing = gap / (height - above - below) if len(layers) > 1 else 0
    names = [f"layer {layer}" for layer in layers]
    figure = make_subplots(
        len(layers), 1, shared_xaxes=True, vertical_spacing=spacing, subplot_titles=names
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 12, "color": style.QUIET})
    for row, layer in enumerate(layers, start=1):
        cells = style.heat_map(chosen[chosen["layer"] == layer], ATTENTION, layer, heads, steps)
        figure.add_trace(cells, row=row, col=1)
    stride = -(-len(heads) * 13 // band)
    figure.update_yaxes(
        title={"text": "head"}, autorange="reversed", tickvals=list(heads)[::stride], showgrid=False
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


TASKS = ("ablation", "attribution", "behaviour", "logit_attribution", "patching", "transplant")
"""The experiments on tasks."""

_OF_ANSWERS = ("logit_diff", "prob_diff")
"""Metrics by which an experiment of a user's own is known to be one on a task."""


def on_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of experiments on tasks.

    They have a loss and an accuracy too, of the answers.
    """
    if rows.empty:
        return rows
    of_answers = rows.loc[rows["metric"].isin(_OF_ANSWERS), "experiment"]
    return rows[~rows["experiment"].isin([*TASKS, *of_answers.unique()])]


def of_everything(chosen: pd.DataFrame) -> pd.DataFrame:
    """Those of the chosen rows of the whole: no variant, part, target, reference or size."""
    return chosen[(chosen[list(_APART)] == "").all(axis=1) & chosen["size"].isna()]


def _mean_over_steps(rows: pd.DataFrame, metrics: dict[str, str], quantity: Quantity) -> go.Figure:
    chosen = of_everything(choose(rows, list(metrics)))
    return over_steps(
        drawable(chosen.assign(what=chosen["metric"].map(metrics)), ", ".join(metrics)), quantity
    )


def over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A line for each model, label and `what`, dotted in the same colour for its control.

    Bands are one standard error up and down.
    """
    figure = style.blank(style.step_axis(chosen["step"]), quantity)
    measured = chosen.groupby([*WHICH, "what", "control"])["value"].transform("count") > 0
    ordered = chosen[measured].sort_values("control", kind="stable")
    units, colours, beside_lines = _unit_names(chosen), dict[str, int](), dict[str, None]()
    for key, at in ordered.groupby([units, "what", "control"], sort=False):
        name = " · ".join(part for part in map(str, key[:-1]) if part)
        control = str(key[-1]).replace("_", " ")
        # A control comes and goes with its own line; it stands in the legend where it has none.
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
        at = at.sort_values("step")
        figure.add_traces(list(style.bands(at, style.colour(index), f"line-{index}")))
        shown = f"{name}, {control}" if control else name
        figure.add_trace(style.line(at, shown, quantity, looks | {"showlegend": not beside}))
    return figure.add_trace(style.dotted(", ".join(beside_lines))) if beside_lines else figure


def _unit_names(chosen: pd.DataFrame) -> pd.Series:
    """What tells the rows' models and labels apart: empty where there is one of each."""
    varying = [key for key in WHICH if chosen[key].nunique() > 1]
    return chosen[varying].agg(" · ".join, axis=1) if varying else pd.Series("", index=chosen.index)


class NothingToDraw(PythiaTrajError):  # noqa: N818 - it is no failure
    """The rows hold no value of what was asked for.

    Attributes:
        reasons: why, in the rows' words, with the number of rows that say so; empty where there is
            no row at all.
    """

    def __init__(self, what: str, reasons: dict[str, int]) -> None:
        told = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons.items())
        super().__init__(f"{what}: no value, {told}" if reasons else f"{what}: no row of it")
        self.reasons = reasons


def choose(
    rows: pd.DataFrame, metrics: Sequence[str], component: str = "", by_position: bool = False
) -> pd.DataFrame:
    """The rows of some metrics with plain columns: where absent, strings are empty and numbers NaN.

    Args:
        rows: rows of a run.
        metrics: the names of the metrics.
        component: what the values belong to; empty for those of the whole model.
        by_position: whether to take the values at each position or those over all positions.
    """
    if rows.empty:
        rows = rows.reindex(columns=[*_TEXT, *_NUMBERS, "component", "step"])
    wanted = rows["metric"].isin(metrics) & (rows["position"].notna() == by_position)
    wanted &= rows["component"].isin([component]) if component else rows["component"].isna()
    found = rows.loc[wanted]
    columns: dict[str, object] = {
        name: found[name].astype(object).where(found[name].notna(), "").to_numpy(object)
        for name in _TEXT
    }
    columns |= {
        name: found[name].astype("Float64").to_numpy(float, na_value=float("nan"))
        for name in _NUMBERS
    }
    return pd.DataFrame(columns | {"step": found["step"].astype("int64").to_numpy(), "note": ""})


_APART = ("variant", "part", "target", "reference")
_TEXT = (*WHICH, "experiment", "metric", "control", *_APART, "reason")
_NUMBERS = ("tokens", "layer", "head", "position", "size", "value", "stderr", "n")


def drawable(chosen: pd.DataFrame, what: str) -> pd.DataFrame:
    """The chosen rows if any of them has a value; else raises NothingToDraw."""
    if chosen["value"].isna().all():
        counts = chosen["reason"].replace("", "no reason given").value_counts()
        raise NothingToDraw(what, {str(reason): int(count) for reason, count in counts.items()})
    return chosen


def _one_each(chosen: pd.DataFrame, figure: str, *keys: str) -> None:
    """Raises ConfigError for rows of several models, say, which a figure cannot tell apart."""
    for key in keys:
        names = sorted(chosen[key].unique())
        if len(names) > 1:
            raise ConfigError(
                f"{figure} draws one {key}, these rows hold {', '.join(names)}: select one first"
            )


def largest_head(chosen: pd.DataFrame) -> pd.DataFrame:
    """Of each trajectory and step, the row of the head whose value is largest.

    `note` names the head.
    """
    known = chosen.dropna(subset=["value", "layer", "head"])
    keys = [*WHICH, "what", "control", "step"]
    largest = known.loc[known.groupby(keys, sort=False)["value"].idxmax()]
    return largest.assign(note=head_names(largest))


def _top_heads(chosen: pd.DataFrame, top: int) -> Iterator[pd.DataFrame]:
    """The trajectories of the heads that reach most at any step, highest first.

    There are `top` of each model and label.
    """
    known = chosen.dropna(subset=["value", "layer", "head"])
    known = known.assign(note=head_names(known)).sort_values("step")
    for _, unit in known.groupby(list(WHICH), sort=False):
        reached = unit.groupby("note", sort=False)["value"].max().nlargest(top)
        for name in reached.index:
            yield unit[unit["note"] == name]


def head_names(heads: pd.DataFrame) -> list[str]:
    """The heads of some rows, as L4H6."""
    return [
        f"L{layer:.0f}H{head:.0f}"
        for layer, head in zip(heads["layer"], heads["head"], strict=True)
    ]
