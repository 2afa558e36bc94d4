"""Figures as a page carries them: compressed; the browser unpacks those in sight."""

import base64
import gzip

import plotly.graph_objects as go


def packed(figure: go.Figure) -> str:
    """A figure's data and layout as JSON, compressed, in base64.

    Without its template: the page has one for each theme. Arrays keep all their digits.
    """
    bare = go.Figure(figure)
    bare.layout.template = None
    # Without a time of change, so that one figure is one text.
    return base64.b64encode(gzip.compress(bare.to_json().encode(), mtime=0)).decode()
