"""What the page's template shows, as text and packed figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pythia_traj.reports.methods import Methods
from pythia_traj.reports.notes import Note
from pythia_traj.reports.numbers import NumbersOfModel

AXES = {"steps": "steps (log)", "tokens": "tokens", "loss": "loss"}
"""The axes that figures over steps can have, and what they are called."""


@dataclass(frozen=True)
class PagePanel:
    """A figure as the page has it.

    Attributes:
        of: the models and labels that it shows, where there are several beside each other.
        described: what it is called for a screen reader.
        name: of its files when they are saved: letters, digits and hyphens.
        key: the id of its element; empty where nothing is drawn.
        packed: the figure, compressed.
        height: of the figure in pixels.
        reason: why nothing is drawn.
    """

    of: str
    described: str
    name: str = ""
    key: str = ""
    packed: str = ""
    height: int = 0
    reason: str = ""


@dataclass(frozen=True)
class PageDrawing:
    """A chart as the page has it."""

    key: str
    heading: str
    caption: str
    panels: tuple[PagePanel, ...]


@dataclass(frozen=True)
class PageTexts:
    """What a model wrote after a prompt, by step."""

    of: str
    prompt: str
    texts: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class PageSection:
    """An experiment as the page has it: `about` says what its labels are."""

    key: str
    heading: str
    about: str
    drawings: tuple[PageDrawing, ...]
    texts: tuple[PageTexts, ...]


@dataclass(frozen=True)
class PageFinding:
    """A sentence, and the section of the experiment that shows it; empty where none does."""

    words: str
    experiment: str
    section: str


@dataclass(frozen=True)
class Page:
    """What the template shows.

    Attributes:
        title: the heading.
        sentence: what was run on what.
        findings: what was found.
        nothing: what is to say where nothing was found.
        notes: warnings and defects.
        sections: the experiments with their figures.
        numbers: the key numbers.
        undefined: the metrics without a value.
        training: where each model is at each step.
        schedules: the models whose learning rates the figures have.
        methods: how the rows were measured; None where that is not known.
        view: the `axis` and the `step` that it opens with, where they are not the first.
    """

    title: str
    sentence: str
    findings: tuple[PageFinding, ...]
    nothing: str
    notes: tuple[Note, ...]
    sections: tuple[PageSection, ...]
    numbers: Sequence[NumbersOfModel]
    undefined: Sequence[Mapping[str, Any]]
    training: Mapping[str, Mapping[str, Any]]
    schedules: tuple[str, ...]
    methods: Methods | None
    view: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def figures(self) -> list[PagePanel]:
        """The panels with a figure, in order."""
        return [
            panel
            for section in self.sections
            for drawing in section.drawings
            for panel in drawing.panels
            if panel.key
        ]

    @property
    def steps(self) -> list[int]:
        """All measured steps, of all models."""
        return sorted({step for model in self.training.values() for step in model["steps"]})

    @property
    def loss_labels(self) -> list[str]:
        """The labels whose losses the axis of losses has."""
        labels = (model["label"] for model in self.training.values())
        return sorted({label for label in labels if label is not None})

    @property
    def axes(self) -> dict[str, str]:
        """The axes that there is something for."""
        known = {
            axis
            for axis in AXES
            for model in self.training.values()
            if any(value is not None for value in model[axis])
        }
        return {axis: name for axis, name in AXES.items() if axis in known}
