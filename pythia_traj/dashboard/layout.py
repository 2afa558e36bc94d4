"""The components of the page."""

from typing import Any

from dash import dcc, html

TICK = 2000
"""Milliseconds between two questions of the page whether anything is new."""

CONTROLS = (
    *("experiment", "models", "labels", "metric", "variant"),
    *("layers", "heads", "controls", "several"),
)
"""The components by which a reader chooses; each is named after the field of `Choice` it sets."""

SEVERAL = {"lines": "each", "band": "as seeds: mean and band"}


def aria(label: str) -> Any:
    """What a component is called for those who do not see it."""
    return {"aria-label": label}


def layout() -> Any:
    """All components; they are filled by callbacks."""
    stores = ("asked", "choice", "pulse", "page", "drawn-for", "followed-drawn", "patterns-drawn")
    return html.Div(
        [
            dcc.Interval(id="tick", interval=TICK),
            dcc.Store(id="followed", data=[]),
            dcc.Store(id="at-step", data=None),
            *(dcc.Store(id=name) for name in stores),
            html.Div(id="state", role="status"),
            html.Div([_choices(), _shown()], className="sides"),
        ],
        id="live",
    )


def _choices() -> Any:
    return html.Section(
        [
            html.H2("Show"),
            _field("experiment", "Experiment", dcc.Dropdown(id="experiment", clearable=False)),
            _field("models", "Models", _several_of("models")),
            _field("labels", "Labels", _several_of("labels")),
            _field(
                "metric", "Metric", dcc.Dropdown(id="metric", placeholder="the report's figures")
            ),
            _field(
                "variant", "Variant", dcc.Dropdown(id="variant", placeholder="as in the report")
            ),
            _field("layers", "Layers", _numbers("layers")),
            _field("heads", "Heads", _numbers("heads")),
            dcc.Checklist(id="controls", options=[{"label": "controls", "value": "yes"}]),
            html.Fieldset(
                [html.Legend("Several models"), dcc.RadioItems(id="several", options=SEVERAL)]
            ),
        ],
        className="choices",
        **aria("What is shown"),
    )


def _field(name: str, words: str, component: Any) -> Any:
    return html.Div(
        [html.Label(words, htmlFor=name, id=f"{name}-name"), component], className="field"
    )


def _several_of(name: str) -> Any:
    return dcc.Dropdown(id=name, multi=True, placeholder="all")


def _numbers(name: str) -> Any:
    return dcc.Input(id=name, type="text", debounce=True, placeholder="all, or 0-3,7", value="")


def _shown() -> Any:
    return html.Div(
        [
            html.P(id="why-not", className="quiet"),
            html.Div(id="figures"),
            html.Section(
                [html.H2("Heads at this step"), html.Div(id="heads-table")],
                id="heads-section",
                hidden=True,
            ),
            html.Div(id="followed-figures"),
            html.Section(
                [
                    html.H2("Attention of followed heads at this step"),
                    html.P(id="patterns-note", className="quiet"),
                    html.Div(id="patterns-figures"),
                ],
                id="patterns-section",
                hidden=True,
            ),
            html.Section(
                [html.H2("What models write at this step"), html.Div(id="samples")],
                id="samples-section",
                hidden=True,
            ),
        ],
        className="shown",
    )


def slot(place: int, of: dict[str, Any]) -> Any:
    """The place of one chart: which one it is, what was drawn of it, and where it is shown."""
    return html.Div(
        [
            dcc.Store(id={"type": "chart", "place": place}, data=of),
            dcc.Store(id={"type": "drawn", "place": place}),
            html.Div(id={"type": "slot", "place": place}, className="slot"),
        ]
    )
