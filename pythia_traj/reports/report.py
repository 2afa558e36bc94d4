"""One page of a run: figures, key numbers, and metrics without a value.

It is one file that needs no network and no server. Everything from the run is text: the template
escapes it, and figures are embedded as JSON. The page's own policy lets the browser run only the
two scripts whose hashes it names, and load nothing.
"""

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from pythia_traj.analysis.tables import undefined_metrics
from pythia_traj.errors import StoreError
from pythia_traj.figures import style
from pythia_traj.reports.page import numbers_of, sections_of


def report(rows: pd.DataFrame, *, title: str, facts: Mapping[str, str]) -> str:
    """A run as one self-contained HTML document.

    Args:
        rows: rows of a run, as `pythia_traj.load` gives them.
        title: the page's heading.
        facts: facts below the heading, by name: models, steps, experiments, versions.

    Returns:
        The document. It opens from a file, loads nothing, and treats all that comes from rows,
        title and facts as text.
    """
    templates = Environment(
        loader=PackageLoader("pythia_traj.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    sections = sections_of(rows)
    drawn = [one for section in sections for one in section.drawings if one.figure]
    draw = templates.get_template("draw.js.jinja").render(config=style.CONFIG)
    scripts = [get_plotlyjs(), draw] if drawn else []
    return templates.get_template("report.html.jinja").render(
        title=title,
        facts=facts,
        sections=sections,
        numbers=numbers_of(rows),
        undefined=undefined_metrics(rows).to_dict("records"),
        holds_rows=not rows.empty,
        drawn=drawn,
        scripts=scripts,
        digests=[_digest(script) for script in scripts],
        style=style,
    )


def _digest(script: str) -> str:
    """A script's sha256 as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def write_report(html: str, path: str | os.PathLike[str]) -> None:
    """Writes a page so that the path holds the old page or the whole new one, never a part of it.

    Raises:
        StoreError: the directory does not exist or cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        # Not mkstemp, so that the page has normal permissions. Newlines stay as they are, because
        # the policy names the scripts by hash.
        with partial.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(html)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise StoreError(
            f"cannot write the report to {target}: {error.strerror}; choose another path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
