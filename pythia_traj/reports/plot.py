"""One metric of a run as a figure in a file: `pythia-traj plot`, `pythia_traj.plot`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pythia_traj.analysis.adaptive.trajectory import Where
from pythia_traj.analysis.named import filters_of, where_of
from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.errors import ConfigError, FigureError
from pythia_traj.figures.metric import metric_figure
from pythia_traj.figures.training import with_training
from pythia_traj.reports.export import Width, suffix_of, write_figure
from pythia_traj.reports.reading import read_models
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run

NO_CONTROL = "none"
"""Asks for the measurement without its controls."""


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
            such as `layer=3,head=5`; null is None.
        training: also draw the learning rate, the end of warm-up and the second epoch, where the
            suite is known.
        width: `page`, 6.7 in wide, or `column`, 3.3 in.

    Returns:
        what a reader of the figure must know: what was left out, what cannot be compared.

    Raises:
        StoreError: it is not a run, has no such model, variant or control, or the file cannot be
            written.
        AnalysisError: it has no such metric.
        ConfigError: `where` names no column, or a word where numbers are.
        FigureError: no row has all of that, the rows are too many kinds for one figure, the file
            has another suffix, or kaleido or a Chrome is missing.
        NothingToDraw: none of the rows has a value.
    """
    suffix_of(Path(path))
    filters = where_of(where, "--where") | filters_of(run, metric)
    for name, chosen in (("model", model), ("variant", variant)):
        filters |= {name: list(chosen)} if chosen else {}
    if control:
        filters["control"] = [None, *(one for one in control if one != NO_CONTROL)]
    opened = Run.open(Path(run))
    found = read_run(opened, controls=True, mixed=True, **filters)
    if found.frame.empty:
        raise FigureError("; ".join(found.notes) or f"{run} has no row of {metric}")
    try:
        figure = metric_figure(found.frame)
    except ConfigError as error:
        raise FigureError(
            f"a figure{str(error).removeprefix('metric_figure')}, by LABEL.METRIC, --model,"
            " --variant or --where COLUMN=VALUE"
        ) from error
    if training:
        figure = with_training(figure, schedules_of(read_models(opened, found.footers)[0]))
    write_figure(figure, path, width=width)
    return found.notes
