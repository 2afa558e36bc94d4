"""The components that Dash fills; where the page's script draws is in its template."""

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
            html.Section(
                [html.H2("What models write at this step"), html.Div(id="samples")],
                id="samples-section",
                hidden=True,
            ),
        ]
    )
