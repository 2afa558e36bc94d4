"""What is found in runs that were read: onsets, findings, schedules, methods, texts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.findings.chosen import findings, nothing_found
from pythia_traj.analysis.findings.dated import dated, dated_rows, marked
from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.analysis.samples import sample_texts
from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.figures.marks import with_onsets
from pythia_traj.figures.training import with_training
from pythia_traj.reports.contents import Told
from pythia_traj.reports.methods import Methods, methods_of
from pythia_traj.reports.reading import ReadRuns
from pythia_traj.suites.schedules import Schedule

OnDated = Callable[[int, int], None]
"""Receives how many trajectories are dated, and of how many."""


@dataclass(frozen=True)
class Examined:
    """What is found in runs, each part when it is first asked for.

    Attributes:
        read: the runs.
        on_dated: is called while onsets are estimated, the slowest part.
    """

    read: ReadRuns
    on_dated: OnDated | None = None

    @cached_property
    def onsets(self) -> pd.DataFrame:
        """The onsets that a page marks, with items where they are kept."""
        rows = self.read.rows
        metrics = [] if rows.empty else list(map(str, dated_rows(rows)["metric"].unique()))
        items = self.read.items(metrics) if metrics else None
        measured = None if items is None else items[items["control"].isna()]
        return dated(rows, measured, self.on_dated)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The most important of what the runs show."""
        return findings(self.read.rows, self.onsets)

    @cached_property
    def nothing(self) -> str:
        """What is to say where there are no findings; else empty."""
        return "" if self.findings else nothing_found(self.read.rows, self.onsets)

    @cached_property
    def schedules(self) -> dict[str, Schedule]:
        """How training went, of the models where that is known."""
        return schedules_of(self.read.models)

    @cached_property
    def methods(self) -> Methods:
        """How the rows were measured."""
        return methods_of(self.read.rows, self.read.footers, self.onsets, self.read.models)

    @cached_property
    def texts(self) -> pd.DataFrame:
        """What models wrote at some of the steps, as `sample_texts` has it."""
        samples = self.read.samples
        return sample_texts(pd.DataFrame() if samples is None else samples)

    @cached_property
    def told(self) -> Told:
        """All of it, as a page says it."""
        return Told(
            findings=self.findings,
            nothing=self.nothing,
            texts=self.texts,
            # Last, when all tables have been read.
            notes=(*self.read.notes, *self.read.notes_on_tables),
            schedules=tuple(self.schedules),
            methods=self.methods,
            dress=self.dress,
        )

    def dress(self, figure: go.Figure) -> go.Figure:
        """A figure with the onsets of its trajectories, and how training went."""
        return with_training(with_onsets(figure, marked(self.onsets)), self.schedules)
