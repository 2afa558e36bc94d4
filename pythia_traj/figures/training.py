"""How training went, beside what was measured: learning rate, warm-up, a second epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pythia_traj.analysis.steps import step_position
from pythia_traj.figures import style
from pythia_traj.figures.data import array
from pythia_traj.suites.schedules import Schedule

_QUIET = "#7f7f7f"
"""On white and on dark."""

_ROOM = 1.08
"""How far the axis of learning rates goes above the highest."""


def with_training(figure: go.Figure, schedules: Mapping[str, Schedule]) -> go.Figure:
    """A figure of lines over steps with how the training of its models went.

    The learning rate is a quiet line with an axis of its own on the right; the end of warm-up and
    the beginning of a second epoch are vertical lines. Each has an entry in the legend, by which it
    can be hidden. Nothing is drawn outside the measured steps of a model.

    Args:
        figure: one of `pythia_traj.figures`.
        schedules: of some models, as `pythia_traj.analysis.schedules.schedules_of` finds them.

    Returns:
        a copy with more traces, whose `meta` has `steps` and `model`; the same figure where it has
        no lines over steps, or none of a model whose schedule is known.
    """
    if not isinstance(figure.layout.meta, Mapping) or figure.layout.meta.get("over") != "steps":
        return figure
    measured = {name: ends for name, ends in _measured(figure).items() if name in schedules}
    if not measured:
        return figure
    axis = next(f"y{i}" for i in count(2) if f"yaxis{i}" not in figure.layout)
    parts = [_Part(model, schedules[model], *ends) for model, ends in measured.items()]
    highest = max(part.highest for part in parts)
    names = len(parts) > 1
    traces = [trace for part in parts for trace in part.traces(axis, _ROOM * highest, names)]
    seen: set[str] = set()
    for trace in traces:
        trace.showlegend = trace.legendgroup not in seen
        seen.add(trace.legendgroup)
    drawn = go.Figure([*figure.data, *traces], figure.layout)
    return drawn.update_layout({axis.replace("y", "yaxis"): _axis(highest)})


def _measured(figure: go.Figure) -> dict[str, tuple[int, int]]:
    """The first and last step of each model that has lines on the first axes."""
    found: dict[str, tuple[int, int]] = {}
    for trace in figure.data:
        meta = trace.meta
        is_line = (
            trace.type == "scatter" and trace.xaxis in (None, "x") and trace.yaxis in (None, "y")
        )
        if not is_line or not isinstance(meta, Mapping) or "key" not in meta:
            continue
        known = ~np.isnan(array(trace.y))
        steps = [step for step, one in zip(meta["steps"], known, strict=True) if one]
        if steps and meta.get("model"):
            first, last = found.get(meta["model"], (steps[0], steps[0]))
            found[meta["model"]] = min(first, *steps), max(last, *steps)
    return found


@dataclass(frozen=True)
class _Part:
    """The schedule of one model between two steps."""

    model: str
    schedule: Schedule
    first: int
    last: int

    @property
    def steps(self) -> list[int]:
        """The steps at which the rate is drawn: where it is known, between the two."""
        inside = {step for step in self.schedule.steps if self.first <= step <= self.last}
        ends = (self.first, min(self.last, self.schedule.steps[-1]))
        return sorted(inside | {end for end in ends if end <= self.schedule.steps[-1]})

    @property
    def rates(self) -> list[float]:
        """The learning rate at these steps."""
        return [
            float(rate) for rate in np.interp(self.steps, self.schedule.steps, self.schedule.lr)
        ]

    @property
    def highest(self) -> float:
        """The highest of all of its training: figures of any part of it have the same axis."""
        return max(self.schedule.lr)

    def traces(self, axis: str, top: float, named: bool) -> Iterator[go.Scatter]:
        """The rate, and the marks between the two steps."""
        of = f" of {style.literal(self.model)}" if named else ""
        if len(self.steps) > 1:
            yield go.Scatter(
                y=self.rates,
                hovertemplate=f"learning rate{of} %{{y:.2e}}<br>step %{{customdata:,}}"
                "<extra></extra>",
                customdata=self.steps,
                line={"color": _QUIET, "width": 1},
                **self._common("learning rate", self.steps, axis),
            )
        marks = (
            ("end of warm-up", self.schedule.warmup_end, "dash"),
            ("second epoch begins", self.schedule.second_epoch, "dashdot"),
        )
        for name, step, dash in marks:
            if step is not None and self.first <= step <= self.last:
                yield go.Scatter(
                    y=[0, top],
                    hovertemplate=f"{name}{of}<br>step {step:,}<extra></extra>",
                    line={"color": _QUIET, "width": 1.2, "dash": dash},
                    **self._common(name, [step, step], axis),
                )

    def _common(self, name: str, steps: list[int], axis: str) -> dict[str, Any]:
        return {
            "x": [*map(step_position, steps)],
            "yaxis": axis,
            "mode": "lines",
            "opacity": 0.75,
            "name": name,
            "legendgroup": f"training: {name}",
            "meta": {"steps": steps, "model": self.model},
        }


def _axis(highest: float) -> dict[str, Any]:
    """An axis of learning rates, on the right of the figure's own."""
    font = {"size": 11, "color": _QUIET}
    return {
        "overlaying": "y",
        "anchor": "x",
        "side": "right",
        "range": [0, _ROOM * highest],
        "showgrid": False,
        "showline": False,
        "tickmode": "array",
        "tickvals": [0, highest / 2, highest],
        "ticktext": ["0", _short(highest / 2), _short(highest)],
        "tickfont": font,
        "title": {"text": "learning rate", "font": font},
    }


def _short(rate: float) -> str:
    """A learning rate as an axis has room for it.

    >>> _short(1e-3), _short(1.2e-4)
    ('1e-3', '1.2e-4')
    """
    digits, _, exponent = f"{rate:.2e}".partition("e")
    return (
        f"{digits.rstrip('0').rstrip('.')}e{exponent[0].strip('+')}{exponent[1:].lstrip('0') or 0}"
    )
