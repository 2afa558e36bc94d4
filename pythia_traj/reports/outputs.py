"""Runs -> the files of a report: the page, and on demand its figures."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import plotly.graph_objects as go

from pythia_traj.errors import StoreError
from pythia_traj.reports.contents import page_of
from pythia_traj.reports.drawings import Section, sections_of
from pythia_traj.reports.export import OnFigure, write_figures
from pythia_traj.reports.notes import Note
from pythia_traj.reports.reading import read_runs
from pythia_traj.reports.report import rendered, write_report
from pythia_traj.store.writing import writing


def report(
    runs: str | Path | Sequence[str | Path],
    path: str | Path,
    figures: str | Path | None = None,
    *,
    on_figure: OnFigure | None = None,
) -> tuple[Note, ...]:
    """Draws one or several runs as one self-contained HTML file.

    A run that is empty, being written, partly failed or damaged, or of a newer version, is drawn as
    far as it can be read; the page and the returned notes say what is missing.

    Args:
        runs: the directories of the runs, or of one.
        path: the page; an existing one is replaced.
        figures: also write the page's figures into this directory, as pdf and svg.
        on_figure: is called after each of these files.

    Returns:
        what a reader must know.

    Raises:
        StoreError: a directory is not a run, or a file cannot be written.
        AnalysisError: a run is given twice.
        FigureError: figures are asked for, and kaleido or a Chrome is missing; no file is written.
    """
    read, target = read_runs([runs] if isinstance(runs, str | Path) else runs), Path(path)
    if target.is_dir():
        raise StoreError(
            f"{target} is a directory: give the file to write, such as {target / 'report.html'}"
        )
    if figures is not None:
        write_figures(figures_of(sections_of(read.rows)), figures, on_figure=on_figure)
    page = page_of(
        read.rows,
        title=", ".join(read.names.values()),
        notes=[note.words for note in read.notes],
    )
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_report(rendered(page), target)
    return read.notes


def figures_of(
    sections: Iterable[Section], dress: Callable[[go.Figure], go.Figure] = lambda figure: figure
) -> dict[str, go.Figure]:
    """The figures of a page by name: experiment, heading, and of several the model and label.

    Args:
        sections: those of the page.
        dress: adds to each figure what the page adds, such as onsets.
    """
    return {
        " ".join(filter(None, (section.experiment, drawing.heading, panel.of))): dress(panel.figure)
        for section in sections
        for drawing in section.drawings
        for panel in drawing.panels
        if panel.figure is not None
    }
