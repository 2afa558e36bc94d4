"""Rows and what was found of them -> the contents of a page."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.analysis.tables import undefined_metrics
from pythia_traj.analysis.training import training_of
from pythia_traj.analysis.wording import listed
from pythia_traj.reports.drawings import Drawing, Panel, Section, sections_of
from pythia_traj.reports.methods import Methods
from pythia_traj.reports.notes import Note
from pythia_traj.reports.numbers import numbers_of
from pythia_traj.reports.packed import packed
from pythia_traj.reports.page import (
    Page,
    PageDrawing,
    PageFinding,
    PagePanel,
    PageSection,
    PageTexts,
)
from pythia_traj.reports.summary import sentence_of


@dataclass(frozen=True)
class Told:
    """What a page says beside the numbers of its rows.

    Attributes:
        notes: what a reader must know: warnings and defects.
        findings: what was found.
        nothing: what is said where nothing was.
        texts: what models wrote, as `pythia_traj.analysis.samples.sample_texts` has it.
        schedules: the models whose learning rates are drawn.
        methods: how the rows were measured.
        dress: adds to each figure what belongs to it, such as onsets.
    """

    notes: Sequence[Note] = ()
    findings: Sequence[Finding] = ()
    nothing: str = ""
    texts: pd.DataFrame | None = None
    schedules: Sequence[str] = ()
    methods: Methods | None = None
    dress: Callable[[go.Figure], go.Figure] = lambda figure: figure


def page_of(
    rows: pd.DataFrame,
    told: Told | None = None,
    *,
    title: str,
    sections: Sequence[Section] | None = None,
) -> Page:
    """The contents of a page.

    Args:
        rows: rows of one or several runs, with controls.
        told: what is said beside them.
        title: the page's heading.
        sections: what is drawn of them; by default all there is.
    """
    told = told or Told()
    packer = _Packer(told.dress)
    drawn = sections_of(rows) if sections is None else sections
    packed_sections = tuple(
        packer.section(one, _about(one, told.methods), _texts(one, told.texts)) for one in drawn
    )
    keys = {section.heading: section.key for section in packed_sections}
    return Page(
        title=title,
        sentence=sentence_of(rows),
        findings=tuple(
            PageFinding(one.words, one.experiment, keys.get(one.experiment, ""))
            for one in told.findings
        ),
        nothing=told.nothing,
        notes=tuple(told.notes),
        sections=packed_sections,
        numbers=numbers_of(rows),
        undefined=[
            {str(name): value for name, value in row.items()}
            for row in undefined_metrics(rows).to_dict("records")
        ],
        training=training_of(rows),
        schedules=tuple(told.schedules),
        methods=told.methods,
    )


def _about(section: Section, methods: Methods | None) -> str:
    """What an experiment measures, and on which data each of its labels does."""
    own = [one for one in methods.experiments if one.name == section.experiment] if methods else []
    summary = next((one.summary for one in own if one.summary), "")
    sources = [(one.label, dict(one.data).get("source", "")) for one in own]
    named = len(own) > 1 or section.labels != (section.experiment,)
    told = [f"{label}: {source}" if named else source for label, source in sources if source]
    data = f"Data: {'; '.join(told)}." if told else ""
    labels = "" if told or not named else f"Labels: {listed(section.labels, 8)}."
    return " ".join(filter(None, (summary, data, labels)))


def _texts(section: Section, texts: pd.DataFrame | None) -> tuple[PageTexts, ...]:
    """What models wrote after each prompt, for the section of `samples`."""
    if texts is None or section.experiment != "samples":
        return ()
    by = ["model", "label", "prompt_number", "prompt"]
    several = [name for name in by[:2] if texts[name].nunique() > 1]
    return tuple(
        PageTexts(
            of=" · ".join(str(at[name].iloc[0]) for name in several),
            prompt=str(key[-1]),
            texts=tuple(zip(at["step"].astype(int), at["continuation"].astype(str), strict=True)),
        )
        for key, at in texts.groupby(by, sort=False)
        if isinstance(key, tuple)
    )


class _Packer:
    """Gives sections, drawings and figures their ids, and packs the figures."""

    def __init__(self, dress: Callable[[go.Figure], go.Figure]) -> None:
        self._dress = dress
        self._sections, self._drawings, self._figures = count(), count(), count()

    def section(self, section: Section, about: str, texts: tuple[PageTexts, ...]) -> PageSection:
        """A section of the page. Its id is a number: an experiment's name can be any text."""
        return PageSection(
            key=f"experiment-{next(self._sections)}",
            heading=section.experiment,
            about=about,
            drawings=tuple(self._drawing(section.experiment, one) for one in section.drawings),
            texts=texts,
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
