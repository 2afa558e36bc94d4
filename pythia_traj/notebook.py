"""What a notebook shows of our objects: small tables and sentences as HTML, and a bar.

All text is escaped: names of models and messages come from elsewhere. IPython is used where a
kernel has loaded it and never imported.
"""

import html
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from pythia_traj.printable import one_line

_ROWS = 20
"""Rows of a table; a notebook is read, not searched."""

_CELL = 'style="text-align: left"'


def text(value: Any) -> str:
    """A value as text that HTML takes for nothing else; None is empty.

    >>> text("<b>&")
    '&lt;b&gt;&amp;'
    """
    return "" if value is None else html.escape(one_line(str(value)))


def paragraph(sentence: str, title: str = "") -> str:
    """A sentence, with a title in front of it in bold."""
    begins = f"<b>{text(title)}</b> " if title else ""
    return f"<p>{begins}{text(sentence)}</p>"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a row of names; empty without rows. Of many rows, the first are shown."""
    if not rows:
        return ""
    head = "".join(f"<th {_CELL}>{text(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td {_CELL}>{text(cell)}</td>' for cell in row)}</tr>"
        for row in rows[:_ROWS]
    )
    more = paragraph(f"and {len(rows) - _ROWS} more") if len(rows) > _ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def bar(done: int, total: int, sentence: str) -> str:
    """How much is done, as a bar, and what is being done."""
    return (
        f'<div><progress value="{done}" max="{max(total, 1)}"></progress>'
        f" {done} of {total}: {text(sentence)}</div>"
    )


class Spot:
    """A place below a notebook's cell, whose content is replaced."""

    def __init__(self, display: Any) -> None:
        """`display` is the module IPython.display."""
        self._display, self._id = display, f"pythia-traj-{uuid.uuid4().hex}"
        self._shown = False

    def show(self, content: str) -> None:
        """Shows HTML there, in place of what was there before."""
        how = {"display_id": self._id, **({"update": True} if self._shown else {})}
        self._display.display(self._display.HTML(content), **how)
        self._shown = True


def spot() -> Spot | None:
    """A place below the cell that runs; None outside a notebook.

    A terminal's IPython is not a notebook: it has no kernel.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    display = sys.modules.get("IPython.display")
    is_notebook = getattr(shell, "kernel", None) is not None
    return Spot(display) if is_notebook and display is not None else None
