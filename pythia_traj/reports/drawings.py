"""The figures of a page: the charts of each experiment, drawn or with the reason why not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.steps import step_position
from pythia_traj.errors import ConfigError
from pythia_traj.figures.charts import Chart, charts
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.own import own_charts


@dataclass(frozen=True)
class Panel:
    """One figure of a drawing.

    Attributes:
        of: the models and labels that it shows, where the drawing has several panels.
        figure: the figure; None where there is nothing to draw.
        reason: why nothing is drawn.
    """

    of: str
    figure: go.Figure | None = None
    reason: str = ""


@dataclass(frozen=True)
class Drawing:
    """A chart of some rows: its texts, and its panels beside each other."""

    heading: str
    caption: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Section:
    """An experiment and its drawings; none where nothing of it can be drawn.

    Attributes:
        experiment: its name.
        labels: those under which it was requested.
        drawings: its figures.
    """

    experiment: str
    labels: tuple[str, ...]
    drawings: tuple[Drawing, ...]


def drawn(sections: Iterable[Section]) -> Iterator[tuple[str, go.Figure]]:
    """The figures of some sections in order.

    Each has a name: experiment, heading, and of several beside each other the model and label.
    """
    for section in sections:
        for drawing in section.drawings:
            for panel in drawing.panels:
                if panel.figure is not None:
                    named = filter(None, (section.experiment, drawing.heading, panel.of))
                    yield " ".join(named), panel.figure


def sections_of(rows: pd.DataFrame) -> list[Section]:
    """The experiments of some rows in order, each with its drawings."""
    return [_section(name, rows[rows["experiment"].isin([name])]) for name in in_order(rows)]


def in_order(rows: pd.DataFrame) -> list[str]:
    """The experiments of some rows: ours in the order of a page's sections, then others."""
    there = set() if rows.empty else {str(name) for name in rows["experiment"].dropna().unique()}
    return [*(name for name in ORDER if name in there), *sorted(there - set(ORDER))]


ORDER = (
    *("loss", "induction", "attention", "head_roles", "ngram", "logit_lens", "linear_probe"),
    *("representation", "weights", "activations", "memorization", "samples"),
    *("behaviour", "logit_attribution", "ablation", "patching", "transplant", "attribution"),
)
"""The experiments in the order of a page's sections; others follow."""


def _section(experiment: str, rows: pd.DataFrame) -> Section:
    drawings = [
        drawing
        for chart in charts_of(experiment, rows)
        if (drawing := drawing_of(chart, rows)) is not None
    ]
    labels = tuple(str(label) for label in rows["label"].dropna().unique())
    return Section(experiment, labels, tuple(drawings))


def charts_of(experiment: str, rows: pd.DataFrame) -> tuple[Chart, ...]:
    """The charts of an experiment, of whose rows its own are made where it has none."""
    return charts().get(experiment) or own_charts(rows)


def drawing_of(chart: Chart, rows: pd.DataFrame) -> Drawing | None:
    """A chart's panels; None where no rows are for it.

    Args:
        chart: one of those of an experiment.
        rows: of that experiment.
    """
    groups = list(_groups(chart, rows))
    panels = [
        panel
        for of, group in groups
        if (panel := _panel(chart, of if len(groups) > 1 else "", group)) is not None
    ]
    _align([panel.figure for panel in panels if panel.figure is not None])
    return Drawing(chart.heading, chart.caption, tuple(panels)) if panels else None


def _align(beside: Sequence[go.Figure]) -> None:
    """Gives figures beside each other one range of steps, so that they can be compared."""
    steps = [
        step
        for figure in beside
        for trace in figure.data
        if "key" in (trace.meta or {}) and (figure.layout.meta or {}).get("over") == "steps"
        for step in trace.meta["steps"]
    ]
    if len(beside) > 1 and steps:
        ends = [step_position(min(steps)), step_position(max(steps))]
        margin = 0.02 * (ends[1] - ends[0]) or 0.5
        for figure in beside:
            figure.update_layout(xaxis={"range": [ends[0] - margin, ends[1] + margin]})


def _panel(chart: Chart, of: str, rows: pd.DataFrame) -> Panel | None:
    try:
        return Panel(of, chart.draw(rows))
    except NothingToDraw as nothing:
        return Panel(of, reason=str(nothing)) if nothing.reasons else None
    except ConfigError as several:
        # Rows of a user's experiment can be of kinds that no figure tells apart.
        return Panel(of, reason=str(several))


def _groups(chart: Chart, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    by = {"experiment": [], "label": ["label"], "unit": ["model", "label"]}[chart.each]
    if not by:
        yield "", rows
        return
    varying = [name for name in by if rows[name].nunique() > 1]
    for key, group in rows.groupby(by, observed=True, sort=False):
        named: Mapping[str, object] = dict(zip(by, key, strict=True))
        yield " · ".join(str(named[name]) for name in varying), group
