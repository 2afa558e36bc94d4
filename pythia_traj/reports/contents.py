"""Rows and what was found of them -> the contents of a page."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.tables import undefined_metrics
from pythia_traj.analysis.training import training_of
from pythia_traj.figures.marks import with_onsets
from pythia_traj.reports.drawings import Drawing, Panel, Section, sections_of
from pythia_traj.reports.numbers import numbers_of
from pythia_traj.reports.packed import packed
from pythia_traj.reports.page import Page, PageDrawing, PageFinding, PagePanel, PageSection
from pythia_traj.reports.summary import sentence_of


def page_of(
    rows: pd.DataFrame,
    *,
    title: str,
    notes: Sequence[str] = (),
    findings: Sequence[tuple[str, str]] = (),
    onsets: pd.DataFrame | None = None,
) -> Page:
    """The contents of a page.

    Args:
        rows: rows of one or several runs, with controls.
        title: the page's heading.
        notes: what a reader must know: warnings and defects.
        findings: sentences, each with the experiment that shows it.
        onsets: the onsets to mark, as `pythia_traj.onset` gives them.
    """
    dress = partial(with_onsets, onsets=onsets) if onsets is not None else _as_it_is
    packer = _Packer(dress)
    sections = tuple(packer.section(section) for section in sections_of(rows))
    keys = {section.heading: section.key for section in sections}
    return Page(
        title=title,
        sentence=sentence_of(rows),
        findings=tuple(PageFinding(words, keys.get(name, "")) for words, name in findings),
        nothing=(),
        notes=tuple(notes),
        sections=sections,
        numbers=numbers_of(rows),
        undefined=[
            {str(name): value for name, value in row.items()}
            for row in undefined_metrics(rows).to_dict("records")
        ],
        training=training_of(rows),
    )


def _as_it_is(figure: go.Figure) -> go.Figure:
    return figure


class _Packer:
    """Gives sections, drawings and figures their ids, and packs the figures."""

    def __init__(self, dress: Callable[[go.Figure], go.Figure]) -> None:
        self._dress = dress
        self._sections, self._drawings, self._figures = count(), count(), count()

    def section(self, section: Section) -> PageSection:
        """A section of the page. Its id is a number: an experiment's name can be any text."""
        return PageSection(
            key=f"experiment-{next(self._sections)}",
            heading=section.experiment,
            about=section.about,
            drawings=tuple(self._drawing(section.experiment, one) for one in section.drawings),
        )

    def _drawing(self, experiment: str, drawing: Drawing) -> PageDrawing:
        name = f"{experiment} {drawing.heading}"
        return PageDrawing(
            key=f"drawing-{next(self._drawings)}",
            heading=drawing.heading,
            caption=drawing.caption,
            panels=tuple(self._panel(name, drawing.heading, one) for one in drawing.panels),
        )

    def _panel(self, name: str, heading: str, panel: Panel) -> PagePanel:
        described = f"{heading}, {panel.of}" if panel.of else heading
        if panel.figure is None:
            return PagePanel(panel.of, described, reason=panel.reason)
        return PagePanel(
            of=panel.of,
            described=described,
            name=file_name(f"{name} {panel.of}"),
            key=f"figure-{next(self._figures)}",
            packed=packed(self._dress(panel.figure)),
            height=panel.figure.layout.height,
        )


def file_name(text: str) -> str:
    """A name for a file of this text: lower-case letters, digits and hyphens.

    >>> file_name("ablation: Removing <single> heads / mine")
    'ablation-removing-single-heads-mine'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "figure"
