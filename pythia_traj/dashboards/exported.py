"""What a reader sees, as a page of its own that needs no server."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from pythia_traj.analysis.training import training_of
from pythia_traj.live.choice import Choice
from pythia_traj.live.offered import offered
from pythia_traj.live.view import Views
from pythia_traj.live.watched import State
from pythia_traj.reports.contents import Told, page_of
from pythia_traj.reports.drawings import Section
from pythia_traj.reports.page import AXES
from pythia_traj.reports.report import rendered


def view_page(state: State, views: Views, title: str, query: str, view: Mapping[str, str]) -> str:
    """The figures of a choice as one HTML document, which opens on the same axis and step.

    Args:
        state: what the runs hold.
        views: what draws them.
        title: the page's heading.
        query: the choice, as its address has it.
        view: `axis` and `step`, where they are not the page's first.

    Raises:
        ConfigError: the choice's layers or heads are not numbers.
        AnalysisError: seeds are to be one band, and there is one model.
    """
    choice = offered(state, Choice.from_query(query)).choice
    rows = views.rows(state, choice)
    places = range(len(views.charts(state, choice)))
    drawn = [*(views.drawing(state, choice, place) for place in places)]
    drawings = [one for one in (*views.followed(state, choice), *drawn) if one is not None]
    section = Section(choice.experiment, tuple(state.labels[choice.experiment]), tuple(drawings))
    told = Told(notes=state.notes, schedules=tuple(state.schedules))
    page = page_of(rows, told, title=title, sections=[section])
    training = {**_of_seeds(rows), **state.training}
    return rendered(replace(page, training=training, view=_known(view, page.steps)))


def _of_seeds(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Where a band of seeds lies: at the tokens that its seeds share, and at no loss."""
    return {
        model: one | {"loss": [None] * len(one["steps"])}
        for model, one in training_of(rows).items()
    }


def _known(view: Mapping[str, str], steps: list[int]) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    if view.get("axis") in AXES:
        found["axis"] = view["axis"]
    step = next((step for step in steps if str(step) == view.get("step")), None)
    if step is not None:
        found["step"] = step
    return found
