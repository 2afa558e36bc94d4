"""A page as one HTML document that needs no network and no server.

Everything from the run is text: the template escapes it, and figures are embedded in base64. The
page's own policy lets the browser run only the two scripts whose hashes it names, and load nothing.
"""

import base64
import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from pythia_traj.figures import style
from pythia_traj.figures.data import COLUMNS, NUMBERS
from pythia_traj.reports.page import Page
from pythia_traj.store.writing import replacing, writing

SCRIPTS = ("unpack.js", "axes.js", "figures.js", "saving.js", "controls.js")
"""The page's own script, in parts: each uses only those before it."""


def rendered(page: Page) -> str:
    """A page as one self-contained HTML document.

    It opens from a file, loads nothing, and treats all that comes from the page as text.
    """
    templates = Environment(
        loader=PackageLoader("pythia_traj.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    scripts = [get_plotlyjs(), _own_script()] if page.figures else []
    return templates.get_template("report.html.jinja").render(
        page=page,
        data=_as_json(_data_of(page)),
        scripts=scripts,
        digests=[_digest(script) for script in scripts],
    )


def _data_of(page: Page) -> dict[str, Any]:
    """What the page's script reads beside the figures."""
    themes = {
        name: {
            "template": style.template(theme).to_plotly_json(),
            "sequential": style.even(theme.sequential),
            "diverging": style.even(theme.diverging),
            "absent": theme.absent,
            "quiet": theme.quiet,
        }
        for name, theme in style.THEMES.items()
    }
    return {
        "training": page.training,
        "steps": page.steps,
        "loss_labels": page.loss_labels,
        "themes": themes,
        "columns": COLUMNS,
        "numbers": NUMBERS,
    }


def _as_json(value: Any) -> str:
    """JSON without the only character that could end its HTML element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


@cache
def _own_script() -> str:
    folder = files("pythia_traj.reports") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)


def _digest(script: str) -> str:
    """A script's sha256 as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Writes a file so that the path holds the old text or the whole new one, never a part of it.

    Raises:
        StoreError: it cannot be written.
    """
    target = Path(path)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, target.parent) as temporary:
            # Newlines stay as they are, because a page's policy names its scripts by hash.
            temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
