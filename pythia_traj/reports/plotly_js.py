"""plotly.js as our pages carry it."""

import re
from functools import cache

from plotly.offline import get_plotlyjs

TRACES = ("heatmap",)
"""The kinds of trace that our figures have, beside `scatter`, which is part of its core."""

_REGISTERED = re.compile(r"\.register\(\[((?:[\w$]+\(\),?)+)\]\)")
_KIND = re.compile(r'moduleType:"trace",name:"(\w+)"')
_MODULE = 5000
"""Characters in which a module of a trace says what it is."""


@cache
def plotly_js() -> str:
    """The text of plotly.js, which starts with the traces that our figures have and no others.

    All of them, those in three dimensions and on maps of the earth among them, take longer to start
    than a page's first figure to be drawn. A bundle that is written in another way than the one
    that we know stays as it is.
    """
    return _compiled_at_once(_with_few_traces(get_plotlyjs()))


def _with_few_traces(bundle: str) -> str:
    found = [*_REGISTERED.finditer(bundle)]
    if len(found) != 1:
        return bundle
    modules = re.findall(r"[\w$]+(?=\(\))", found[0][1])
    kept = [module for module in modules if _kind(bundle, module) in TRACES]
    if len(kept) != len(TRACES):
        return bundle
    start, end = found[0].span(1)
    return f"{bundle[:start]}{','.join(f'{module}()' for module in kept)}{bundle[end:]}"


def _kind(bundle: str, module: str) -> str:
    """The kind of trace of a module, which passes on what another one holds; empty if unknown."""
    at = bundle.find(f"var {module}=")
    inner = re.match(r"[^;]*;[\w$]+\.exports=([\w$]+)\(\)\}\)", bundle[at : at + 200])
    if at < 0 or inner is None:
        return ""
    at = bundle.find(f"var {inner[1]}=")
    kind = _KIND.search(bundle, at, at + _MODULE) if at >= 0 else None
    return kind[1] if kind else ""


def _compiled_at_once(bundle: str) -> str:
    """Its one large function in parentheses: browsers compile such a one while it arrives."""
    before, begins, rest = bundle.partition(": this, () => {")
    inside, ends, after = rest.rpartition("}));")
    if not begins or not ends or after.strip():
        return bundle
    return f"{before}: this, (() => {{{inside}}})));{after}"
