"""One metric of a run as a figure in a file: `pythia-traj plot`, `pythia_traj.plot`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from pythia_traj.analysis.adaptive.trajectory import Where
from pythia_traj.analysis.named import filters_of, where_of
from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.errors import ConfigError, FigureError
from pythia_traj.figures.data import data_of
from pythia_traj.figures.drawable import SeveralKindsError
from pythia_traj.figures.metric import metric_figure
from pythia_traj.figures.training import with_training
from pythia_traj.reports.export import Width, suffix_of, write_figure
from pythia_traj.reports.reading import read_models
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run
from pythia_traj.suites.schedules import Schedule

NO_CONTROL = "none"
"""Asks for the measurement without its controls; in another column, for rows without a word."""


def plot(
    run: str | Path,
    metric: str,
    path: str | Path,
    *,
    model: Sequence[str] | None = None,
    variant: Sequence[str] | None = None,
    control: Sequence[str] | None = None,
    where: Where | Iterable[str] = (),
    training: bool = False,
    width: Width = "page",
) -> tuple[str, ...]:
    """Draws one metric of a run, over its steps, into a file.

        plot("runs/induction", "prefix_matching", "prefix.pdf", variant=["two_halves"])

    Args:
        run: the run's directory.
        metric: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`.
        path: the file: `.html`, `.svg`, `.pdf` or `.png`; an existing one is replaced. All but
            `.html` need `pip install 'pythia-traj[figures]'` and a Chrome.
        model: of these models; None are all.
        variant: these variants; None are all.
        control: these controls beside the measurement; None are all, `none` is none.
        where: words and numbers in the other columns of `pythia_traj.load`, by name, or as texts
            such as `layer=3,head=5`; null is None, or `none` in a text.
        training: also draw the learning rate, the end of warm-up and the second epoch, where the
            suite is known.
        width: `page`, 6.7 in wide, or `column`, 3.3 in.

    Returns:
        what a reader of the figure must know: what was left out, what cannot be compared, what
        was asked for and is not drawn.

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
    suffix_of(Path(path))
    controls = [one for one in control or () if one != NO_CONTROL]
    with_measured = (None, *controls) if control else None
    named = (("model", model), ("variant", variant), ("control", with_measured))
    by_option = {name: list(chosen) for name, chosen in named if chosen}
    by_column = where_of(where, "--where")
    for name in by_column.keys() & by_option.keys():
        raise ConfigError(
            f"--where {name}={by_column[name] or 'none'} and --{name} are both given: give one"
        )
    filters = by_column | filters_of(run, metric) | by_option
    opened = Run.open(Path(run))
    found = read_run(opened, controls=True, mixed=True, **filters)
    if found.frame.empty:
        raise FigureError("; ".join(found.notes) or f"{run} has no row of {metric}")
    try:
        figure = metric_figure(found.frame)
    except SeveralKindsError as several:
        raise FigureError(f"a figure {several.told}{_how_to_choose(several)}") from several
    notes = [*found.notes, *_controls_not_drawn(figure, controls)]
    if training:
        schedules = schedules_of(read_models(opened, found.footers)[0])
        measured, figure = figure, with_training(figure, schedules)
        notes += _training_not_drawn(measured, figure, schedules)
    write_figure(figure, path, width=width)
    return tuple(notes)


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
