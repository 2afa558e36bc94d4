"""Runs -> the files of a report: the page, and on demand its figures and its references."""

from collections.abc import Sequence
from pathlib import Path

from pythia_traj.errors import StoreError
from pythia_traj.reports.contents import page_of
from pythia_traj.reports.drawings import drawn, sections_of
from pythia_traj.reports.examined import Examined, OnDated
from pythia_traj.reports.export import OnFigure, write_figures
from pythia_traj.reports.notes import Note
from pythia_traj.reports.reading import read_runs
from pythia_traj.reports.report import rendered, write_text


def report(
    runs: str | Path | Sequence[str | Path],
    path: str | Path,
    figures: str | Path | None = None,
    bibtex: str | Path | None = None,
    *,
    on_dated: OnDated | None = None,
    on_figure: OnFigure | None = None,
) -> tuple[Note, ...]:
    """Draws one or several runs as one self-contained HTML file.

    A run that is empty, being written, partly failed or damaged, or of a newer version, is drawn as
    far as it can be read; the page and the returned notes say what is missing.

    Args:
        runs: the directories of the runs, or of one.
        path: the page; an existing one is replaced.
        figures: also write the page's figures into this directory, as pdf and svg.
        bibtex: also write the works to cite into this file, as BibTeX.
        on_dated: is called while onsets are estimated.
        on_figure: is called after each of the figures' files.

    Returns:
        what a reader must know.

    Raises:
        StoreError: a directory is not a run, or a file cannot be written.
        AnalysisError: a run is given twice.
        FigureError: figures are asked for, and kaleido or a Chrome is missing; no file is written.
    """
    examined = Examined(read_runs([runs] if isinstance(runs, str | Path) else runs), on_dated)
    _refuse_directory(Path(path), "report.html")
    if bibtex is not None:
        _refuse_directory(Path(bibtex), "references.bib")
    sections = sections_of(examined.read.rows)
    if figures is not None:
        dressed = {name: examined.dress(figure) for name, figure in drawn(sections)}
        write_figures(dressed, figures, on_figure=on_figure)
    title = ", ".join(examined.read.names.values())
    page = page_of(examined.read.rows, examined.told, title=title, sections=sections)
    write_text(rendered(page), path)
    if bibtex is not None:
        write_text(examined.methods.bibtex, bibtex)
    return tuple(examined.told.notes)


def _refuse_directory(target: Path, such_as: str) -> None:
    if target.is_dir():
        raise StoreError(
            f"{target} is a directory: give the file to write, such as {target / such_as}"
        )
