"""The components that the server fills, and the places where the page's script draws."""

from typing import Any

from dash import dcc, html

TICK = 2000
"""Milliseconds between two questions of the page whether anything is new."""

STORES = (
    # What the page says: the choice asked for, the slider's step.
    *("asked", "at-step"),
    # What the server says: what changed, what there is to choose and to draw.
    *("pulse", "page", "offered"),
)


def aria(label: str) -> Any:
    """What a component is called for those who do not see it."""
    return {"aria-label": label}


def layout() -> Any:
    """All components; they are filled by callbacks."""
    return html.Div(
        [
            dcc.Interval(id="tick", interval=TICK),
            *(dcc.Store(id=name) for name in STORES),
            html.Div(id="state", role="status"),
            html.P(id="why-not", className="quiet"),
            html.Div(id="figures"),
            _section("heads", "Heads at this step", html.Div(id="heads-table")),
            html.Div(id="followed-figures"),
            _section(
                "patterns",
                "Attention of followed heads at this step",
                html.Div(id="patterns-figures"),
            ),
            _section("samples", "What models write at this step", html.Div(id="samples")),
        ],
        id="live",
    )


def _section(name: str, heading: str, content: Any) -> Any:
    return html.Section([html.H2(heading), content], id=f"{name}-section", hidden=True)
