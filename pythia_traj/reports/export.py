"""Figures as files: svg, pdf and png for a paper, html to look at.

One Chrome draws all figures. It gets a proxy at which nothing listens, because Chromium by itself
asks its maker for updates and more; so no request leaves the machine. A file is written when it is
whole, and none is before all figures are drawn.
"""

import asyncio
import base64
import hashlib
import html
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from threading import Event
from typing import Any, Literal, cast, get_args

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pythia_traj.errors import FigureError, StoreError
from pythia_traj.printable import one_line
from pythia_traj.store.writing import replacing, writing

Width = Literal["page", "column"]
"""How wide a figure is in a paper: over the page, 6.7 in, or in one column of two, 3.3 in."""

SUFFIXES = ("html", "svg", "pdf", "png")

_INCH = 96
"""Pixels, as browsers print them."""

_INCHES: Mapping[Width, float] = {"page": 6.7, "column": 3.3}
"""Of each width."""

_SHRUNK: Mapping[Width, float] = {"page": 1.0, "column": 0.75}
"""A column's figure is drawn larger and shrunk, so that its text, of 11 to 13 pixels, is of 6 to 7
points: as small as journals allow.
"""

_DOTS = 300
"""Of a png, per inch."""

_TIMEOUT = 120.0
"""Seconds for one figure; most take a third of one."""

_LONGEST = 100
"""Characters of a file's name, without suffix: file systems allow 255 bytes."""

_INSTALL = (
    "pip install 'pythia-traj[figures]', and Chrome or Chromium, in PATH or named by BROWSER_PATH;"
    " .html needs neither"
)

_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "resetScale2d"]],
    "plotlyServerURL": "",
    "typesetMath": False,
}
"""How a browser draws a figure. Plotly's own choice of buttons has one that uploads the data."""

OnFigure = Callable[[int, int], None]
"""Receives how many files are drawn, and how many there will be."""


@dataclass(frozen=True)
class _Wanted:
    """A file: what it shows, its format and width."""

    figure: go.Figure
    path: Path
    suffix: str
    width: Width


def write_figures(
    figures: Mapping[str, go.Figure],
    directory: str | Path,
    formats: Sequence[str] = ("pdf", "svg"),
    *,
    width: Width = "page",
    on_figure: OnFigure | None = None,
) -> list[Path]:
    """Writes figures as files named after them: vector graphics with their fonts.

    Args:
        figures: by name. In the names of files, what is not a letter, digit, `.`, `_` or `-`
            becomes `-`, and names that would be equal get a number.
        directory: where they go; it is made if it does not exist. Files of the same names are
            replaced.
        formats: of `svg`, `pdf`, `png`, `html`. A pdf holds its fonts, an svg names them.
        width: `page`, 6.7 in wide, or `column`, 3.3 in.
        on_figure: is called after each file.

    Returns:
        the files, figure by figure.

    Raises:
        FigureError: a format is unknown; or kaleido or a Chrome is missing, and nothing is written.
        StoreError: a file cannot be written.
    """
    for suffix in formats:
        _check_suffix(suffix, f"format {suffix!r}")
    root, names = Path(directory), file_names(figures)
    return _write(
        [
            _Wanted(figure, root / f"{names[name]}.{suffix}", suffix, width)
            for name, figure in figures.items()
            for suffix in dict.fromkeys(formats)
        ],
        on_figure,
    )


def write_figure(figure: go.Figure, path: str | Path, *, width: Width = "page") -> None:
    """Writes one figure; the suffix of the file says how.

    Args:
        figure: the figure.
        path: the file, `.html`, `.svg`, `.pdf` or `.png`; an existing one is replaced.
        width: as for `write_figures`; an html is as wide as its window.

    Raises:
        FigureError, StoreError: as `write_figures`.
    """
    target = Path(path)
    _write([_Wanted(figure, target, suffix_of(target), width)], None)


def suffix_of(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        FigureError: it asks for another than these.
    """
    return _check_suffix(path.suffix.removeprefix(".").lower(), str(path))


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A file's name for each name, without suffix: one folder holds them, on any system.

    >>> file_names(["loss / text", "loss, text", "../../etc", ".."])
    {'loss / text': 'loss-text', 'loss, text': 'loss-text-2', '../../etc': 'etc', '..': 'figure'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_LONGEST] or "figure"
        unique, count = plain, 1
        # Some file systems do not tell upper from lower case.
        while unique.lower() in taken:
            count += 1
            unique = f"{plain}-{count}"
        taken.add(unique.lower())
        found[name] = unique
    return found


def _check_suffix(suffix: str, given: str) -> str:
    if suffix not in SUFFIXES:
        known = ", ".join(f".{one}" for one in SUFFIXES[:-1])
        raise FigureError(f"{one_line(given)}: figures are written as {known} or .{SUFFIXES[-1]}")
    return suffix


def check_width(given: str) -> Width:
    """A width as a user gave it.

    Raises:
        FigureError: it is another word.
    """
    for width in get_args(Width):
        if width == given:
            return cast(Width, width)
    raise FigureError(f"width {one_line(given)!r}: give one of {', '.join(get_args(Width))}")


def _write(wanted: Sequence[_Wanted], on_figure: OnFigure | None) -> list[Path]:
    """Draws all, then writes all."""
    for one in wanted:
        check_width(one.width)
        if one.path.is_dir():
            example = one.path / f"figure.{one.suffix}"
            raise StoreError(
                f"{one.path} is a directory: give the file to write, such as {example}"
            )
    images = [one for one in wanted if one.suffix != "html"]
    drawn = dict(zip(map(id, images), _draw(images, on_figure) if images else (), strict=True))
    for one in wanted:
        data = drawn[id(one)] if one.suffix != "html" else document(one.figure, one.path.stem)
        with writing(one.path):
            one.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(one.path, one.path.parent) as temporary:
                temporary.write_bytes(data)
    return [one.path for one in wanted]


def _draw(wanted: Sequence[_Wanted], on_figure: OnFigure | None) -> list[bytes]:
    """The images, drawn by one Chrome.

    It is spoken to in a thread of its own: a notebook's thread has an event loop already.
    """
    try:
        from choreographer.errors import (
            BrowserClosedError,
            BrowserDepsError,
            BrowserFailedError,
            ChromeNotFoundError,
        )
        from kaleido import Kaleido
    except ImportError as error:
        raise FigureError(f"kaleido is not installed, or too old: {_INSTALL}") from error
    try:
        return _in_a_thread(lambda stopped: _drawn(Kaleido, wanted, on_figure, stopped))
    except ChromeNotFoundError:
        raise FigureError(
            f"no Chrome was found, which draws figures for files: {_INSTALL}"
        ) from None
    except (BrowserClosedError, BrowserDepsError, BrowserFailedError) as error:
        why = one_line(str(error).partition("\n")[0]) or type(error).__name__
        raise FigureError(
            f"the Chrome that draws figures does not run ({why}): {_INSTALL}"
        ) from error
    except TimeoutError:
        raise FigureError(
            f"Chrome has not drawn a figure within {_TIMEOUT:.0f} s: repeat the command when the"
            " machine has less to do"
        ) from None


def _in_a_thread(work: Callable[[Event], Coroutine[Any, Any, list[bytes]]]) -> list[bytes]:
    """Runs it to its end; where this thread is interrupted, only until it sees the event."""
    stopped = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(asyncio.run, work(stopped)).result()
        finally:
            stopped.set()


async def _drawn(
    browser: Any, wanted: Sequence[_Wanted], on_figure: OnFigure | None, stopped: Event
) -> list[bytes]:
    images: list[bytes] = []
    # A port that is taken and not listened at: whoever asks this proxy is refused.
    with socket() as nowhere:
        nowhere.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{nowhere.getsockname()[1]}"
        async with browser(mathjax=False, timeout=_TIMEOUT, proxy_server=proxy) as chrome:
            for one in wanted:
                if stopped.is_set():
                    break
                images.append(await chrome.calc_fig(one.figure, _options(one)))
                if on_figure is not None:
                    on_figure(len(images), len(wanted))
    return images


def _options(one: _Wanted) -> dict[str, Any]:
    """The image's size: its height is the figure's own."""
    shrunk = _SHRUNK[one.width]
    options: dict[str, Any] = {
        "format": one.suffix,
        "width": round(_INCHES[one.width] * _INCH / shrunk),
        "scale": shrunk * (_DOTS / _INCH if one.suffix == "png" else 1),
    }
    return options | ({"height": one.figure.layout.height} if one.figure.layout.height else {})


def document(figure: go.Figure, title: str) -> bytes:
    """A figure as one HTML file that loads nothing and lets only its own scripts run."""
    drawing = figure.to_html(
        full_html=False, include_plotlyjs=False, config=_CONFIG, div_id="figure"
    )
    body = f"<script>{get_plotlyjs()}</script>\n{drawing}"
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", body, flags=re.DOTALL)
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n</head>\n<body>\n"
    )
    return f"{head}{body}\n</body>\n</html>\n".encode(errors="replace")


def _digest(script: str) -> str:
    """A script's sha256 as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
