"""A page as one HTML document that needs no network and no server.

Everything from the run is text: the template escapes it, and figures are embedded in base64. The
page's own policy lets the browser run only the two scripts whose hashes it names, and load nothing.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pythia_traj.figures import style
from pythia_traj.figures.data import COLUMNS, NUMBERS
from pythia_traj.reports.page import Page
from pythia_traj.reports.plotly_js import plotly_js
from pythia_traj.store.writing import replacing, writing

SHARED = ("unpack.js", "axes.js", "room.js", "moving.js", "figures.js", "saving.js", "controls.js")
"""The parts of the script that every page of figures has: each uses only those before it."""


def rendered(page: Page) -> str:
    """A page as one self-contained HTML document.

    It opens from a file, loads nothing, and treats all that comes from the page as text.
    """
    scripts = [plotly_js(), _own_script()] if page.figures else []
    return template_of("pythia_traj.reports", "report.html.jinja").render(
        page=page,
        data=json_for_html(_data_of(page)),
        scripts=scripts,
        digests=[_digest(script) for script in scripts],
    )


def template_of(package: str, name: str) -> Template:
    """A template of a package's `templates`, which escapes what it is given."""
    templates = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template(name)


def _data_of(page: Page) -> dict[str, Any]:
    known = known_of(page.training, page.steps, page.loss_labels)
    return known | {"view": page.view}


def known_of(
    training: Mapping[str, Any], steps: Sequence[int], loss_labels: Sequence[str]
) -> dict[str, Any]:
    """What a page's script knows beside its figures.

    Args:
        training: where each model is at each step, as `training_of` says it.
        steps: all of them, ascending.
        loss_labels: the labels whose loss is an axis.
    """
    return {
        "training": training,
        "steps": steps,
        "loss_labels": loss_labels,
        "themes": _themes(),
        "columns": COLUMNS,
        "numbers": NUMBERS,
    }


@cache
def _themes() -> Mapping[str, Any]:
    """What differs between the themes: the same for every page, and slow to make."""
    return {
        name: {
            "template": style.template(theme).to_plotly_json(),
            "sequential": style.even(theme.sequential),
            "diverging": style.even(theme.diverging),
            "absent": theme.absent,
            "quiet": theme.quiet,
        }
        for name, theme in style.THEMES.items()
    }


def json_for_html(value: Any) -> str:
    """JSON without the only character that could end its HTML element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _own_script() -> str:
    return "\n".join(map(part, (*SHARED, "report.js")))


@cache
def part(name: str) -> str:
    """A part of a page's script, or its style sheet."""
    return (files("pythia_traj.reports") / "templates" / name).read_text(encoding="utf-8")


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
