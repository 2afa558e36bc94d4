"""One metric as a figure, in a notebook or a file: `pythia-traj plot`, `pythia_traj.plot`."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pythia_traj import schema
from pythia_traj.analysis.adaptive.trajectory import Where
from pythia_traj.analysis.named import filters_among, filters_of, where_of
from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.errors import ConfigError, FigureError
from pythia_traj.figures.data import data_of
from pythia_traj.figures.drawable import SeveralKindsError
from pythia_traj.figures.metric import metric_figure
from pythia_traj.figures.training import with_training
from pythia_traj.outside import shown
from pythia_traj.reports.export import Width, suffix_of, write_figure
from pythia_traj.reports.reading import read_models
from pythia_traj.store.layout import Run
from pythia_traj.store.read import published_models, read_run
from pythia_traj.suites.schedules import Schedule

NO_CONTROL = "none"
"""Asks for the measurement without its controls; in another column, for rows without a word."""


def plot(
    run: str | Path | pd.DataFrame,
    metric: str | None = None,
    path: str | Path | None = None,
    *,
    model: Sequence[str] | None = None,
    variant: Sequence[str] | None = None,
    control: Sequence[str] | None = None,
    where: Where | Iterable[str] = (),
    training: bool = False,
    width: Width = "page",
) -> go.Figure:
    """Draws one metric over its steps, in a notebook or into a file.

        plot(rows, metric="prefix_matching", variant=["two_halves"])
        plot("runs/induction", "prefix_matching", "prefix.pdf", variant=["two_halves"])

    What was left out, cannot be compared, or was asked for and is not drawn is a warning.

    Args:
        run: the run's directory, or rows of `pythia_traj.load`.
        metric: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`. Rows of one metric need none.
        path: a file to write too: `.html`, `.svg`, `.pdf` or `.png`; an existing one is replaced.
            All but `.html` need `pip install 'pythia-traj[figures]'` and a Chrome.
        model: of these models; None are all.
        variant: these variants; None are all.
        control: these controls beside the measurement; None are all, `none` is none.
        where: words and numbers in the other columns of `pythia_traj.load`, by name, or as texts
            such as `layer=3,head=5`; null is None, or `none` in a text.
        training: also draw the learning rate, the end of warm-up and the second epoch, where the
            suite is known.
        width: of the file: `page`, 6.7 in wide, or `column`, 3.3 in.

    Returns:
        the figure, which a notebook shows.

    Raises:
        StoreError: it is not a run, has no such model, variant or control, or the file cannot be
            written.
        AnalysisError: it has no such metric.
        ConfigError: `where` names no column, a word where numbers are, or what `model`, `variant`
            or `control` name too.
        FigureError: no row has all of that, the rows are too many kinds for one figure, the file
            has another suffix, or kaleido or a Chrome is missing.
        NothingToDraw: none of the rows has a value.
    """
    figure, notes = drawn(
        run,
        metric,
        path,
        model=model,
        variant=variant,
        control=control,
        where=where,
        training=training,
        width=width,
    )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return figure


def drawn(
    run: str | Path | pd.DataFrame,
    metric: str | None,
    path: str | Path | None,
    *,
    model: Sequence[str] | None,
    variant: Sequence[str] | None,
    control: Sequence[str] | None,
    where: Where | Iterable[str],
    training: bool,
    width: Width,
) -> tuple[go.Figure, tuple[str, ...]]:
    """The figure of `plot`, written where a path is given, with what a reader of it must know."""
    if path is not None:
        suffix_of(Path(path))
    controls = [one for one in control or () if one != NO_CONTROL]
    with_measured = (None, *controls) if control else None
    named = (("model", model), ("variant", variant), ("control", with_measured))
    by_option: dict[str, Any] = {name: list(chosen) for name, chosen in named if chosen}
    by_column = where_of(where, "--where")
    for name in by_column.keys() & by_option.keys():
        raise ConfigError(
            f"--where {name}={by_column[name] or 'none'} and --{name} are both given: give one"
        )
    chosen = _chosen(run, metric, by_column | by_option)
    try:
        figure = metric_figure(chosen.rows)
    except SeveralKindsError as several:
        # Rows are given in Python alone, a run's directory at the command line too.
        say = _how_to_choose_rows if isinstance(run, pd.DataFrame) else _how_to_choose
        raise FigureError(f"a figure {several.told}{say(several)}") from several
    notes = [*chosen.notes, *_controls_not_drawn(figure, controls)]
    if training:
        measured, figure = figure, with_training(figure, chosen.schedules())
        notes += _training_not_drawn(measured, figure, chosen.schedules())
    if path is not None:
        write_figure(figure, path, width=width)
    return figure, tuple(notes)


@dataclass(frozen=True)
class _Chosen:
    """Rows to draw.

    Attributes:
        rows: as `pythia_traj.load` gives them.
        notes: what a reader of them must know.
        models: gives the table of their models, with where each is published.
    """

    rows: pd.DataFrame
    notes: Sequence[str]
    models: Callable[[], pd.DataFrame]

    def schedules(self) -> Mapping[str, Schedule]:
        """How their models were trained, where that is known."""
        return schedules_of(self.models())


def _chosen(
    run: str | Path | pd.DataFrame, metric: str | None, filters: Mapping[str, Any]
) -> _Chosen:
    if isinstance(run, pd.DataFrame):
        return _among(run, metric, filters)
    if metric is None:
        raise FigureError(f"{run}: give a metric; pythia_traj.describe(run) lists them")
    opened = Run.open(Path(run))
    chosen = {**filters, **filters_of(run, metric)}
    found = read_run(opened, controls=True, mixed=True, **chosen)
    if found.frame.empty:
        raise FigureError("; ".join(found.notes) or f"{run} has no row of {metric}")
    return _Chosen(found.frame, found.notes, lambda: read_models(opened, found.footers)[0])


def _among(rows: pd.DataFrame, metric: str | None, filters: Mapping[str, Any]) -> _Chosen:
    """Those of some rows that were asked for."""
    missing = [name for name in (*schema.KEYS, "step", "value") if name not in rows.columns]
    if missing:
        raise FigureError(
            f"these rows have no column {', '.join(missing)}: give rows of pythia_traj.load"
        )
    by_name = {} if metric is None else filters_among(rows, metric, "this DataFrame")
    chosen = {**filters, **by_name}
    for name, value in chosen.items():
        values = value if isinstance(value, list) else [value]
        known = rows[name].isin([one for one in values if one is not None])
        rows = rows[known | rows[name].isna()] if None in values else rows[known]
    if rows.empty:
        asked = ", ".join(f"{name}={shown(value)}" for name, value in chosen.items())
        raise FigureError(f"no row of this DataFrame has all of this: {asked}")
    return _Chosen(rows, (), lambda: _published(rows))


def _published(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of the rows' models that are published ones: rows alone tell no more."""
    of_hub = rows.loc[rows["commit"].notna(), ["model", "suite"]].drop_duplicates().astype(str)
    there = published_models().merge(of_hub, on=["model", "suite"])
    return there.assign(origin=[f"hub:{repo}" for repo in there["repo"]])


def _how_to_choose(several: SeveralKindsError) -> str:
    """What to give so that one figure can show what is left, with an example."""
    options = {"label": "LABEL.METRIC", "experiment": "EXPERIMENT.METRIC"}
    options |= {"model": "--model", "variant": "--variant"}
    ways = [options.get(one, f"--where {one}=VALUE") for one in several.columns]
    if several.values and ways[0].startswith("--"):
        (column,) = several.columns
        # Where some rows are of no part, say, they are of everything.
        first = NO_CONTROL if NO_CONTROL in several.values else several.values[0]
        plain = ways[0].startswith("--where") or first == NO_CONTROL
        ways = [f"--where {column}={first}" if plain else f"{ways[0]} {first}"]
    return f": choose by {' or '.join(ways)}" if ways else ""


def _how_to_choose_rows(several: SeveralKindsError) -> str:
    """As `_how_to_choose`, in Python's words."""
    values = [None if one == NO_CONTROL else one for one in several.values]
    first = repr(None if None in values else values[0]) if values else "..."
    ways = {
        "label": "metric='LABEL.METRIC'",
        "experiment": "metric='EXPERIMENT.METRIC'",
        "metric": f"metric={first}",
    }
    if first != "None":
        ways |= {name: f"{name}=[{first}]" for name in ("model", "variant")}
    chosen = [ways.get(one, f"where={{{one!r}: {first}}}") for one in several.columns]
    return f": choose by {' or '.join(chosen)}" if chosen else ""


def _controls_not_drawn(figure: go.Figure, wanted: Sequence[str]) -> Iterator[str]:
    shown = data_of(figure)
    left = [one for one in wanted if "control" not in shown or one not in {*shown["control"]}]
    if left and "control" in shown:
        yield f"the figure shows no control {', '.join(left)}: it has no value here"
    elif left:
        yield (
            f"the figure shows the measurement without the control {', '.join(left)}:"
            f" --where control={left[0]} draws the control alone"
        )


def _training_not_drawn(
    measured: go.Figure, figure: go.Figure, schedules: Mapping[str, Schedule]
) -> Iterator[str]:
    models = [*map(str, data_of(measured)["model"].unique())]
    unknown = [one for one in models if one not in schedules]
    if unknown:
        yield f"the training of {', '.join(unknown)} is not drawn: its learning rate is not known"
    elif figure is measured:
        yield "the training is not drawn: it stands beside lines over steps, this is another figure"
