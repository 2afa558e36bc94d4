"""One page of a run: figures, key numbers, what is undefined and why.

It is one file that needs no network and no server. Whatever comes from the run is text. Beyond
escaping it, figures travel as JSON, and the page's own policy lets the browser run the two scripts
whose hashes it names and load nothing from anywhere.
"""

import base64
import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pythia_traj.dashboard import circuits, figures, learning, style
from pythia_traj.dashboard.figures import NothingToDraw
from pythia_traj.errors import StoreError


@dataclass(frozen=True)
class Chart:
    """A figure of the page: what stands above it, and how it is drawn from one model's rows."""

    heading: str
    caption: str
    draw: Callable[[pd.DataFrame], go.Figure]
    per_label: bool = False
    """Whether each label gets a figure of its own."""


CHARTS = (
    Chart(
        "Loss on text",
        "Mean loss per token; lower is better. Dotted is the control, the same tokens in random"
        " order: what is left when order says nothing.",
        figures.loss_over_steps,
    ),
    Chart(
        "Accuracy on text",
        "Share of tokens that the model ranks first. Dotted: the same tokens in random order.",
        figures.accuracy_over_steps,
    ),
    Chart(
        "Loss along the context",
        "Loss at each position, for some of the steps; the darker the later. A line that goes on"
        " falling to the right is a model that uses more of its context.",
        figures.loss_by_position,
        per_label=True,
    ),
    Chart(
        "In-context learning",
        "Loss late in the context minus loss early in it, at single tokens and averaged over"
        " windows. Negative means that the model learns from its context.",
        figures.icl_over_steps,
    ),
    Chart(
        "Induction: the strongest heads",
        "Attention to the token after the previous occurrence of the current one (convention"
        " two_halves). Thick: the largest head at each step. Thin: the heads that reach most."
        " Dotted: the largest on shuffled repeats.",
        figures.induction_over_steps,
    ),
    Chart(
        "Induction: loss on a repeated segment",
        "Loss on random tokens and on their exact repeat. The second copy falls below the first"
        " once the model continues what it has seen. Dotted: the repeat is shuffled.",
        figures.copies_over_steps,
    ),
    Chart(
        "Prefix matching by convention",
        "The largest head at each step, under each definition in use. Each has a scale of its own:"
        " compare a line with its dotted control, never with another line.",
        figures.conventions_over_steps,
    ),
    Chart(
        "What heads attend to",
        "For each kind of target, the largest share of attention that any head gives it, at each"
        " step. Previous-token heads are expected before induction heads, which build on them.",
        figures.attention_over_steps,
    ),
    Chart(
        "Prefix matching of every head",
        "One map a layer: heads downwards, training to the right, the darker the more attention"
        " goes to the token after the previous occurrence. All layers share one scale.",
        figures.head_heatmaps,
        per_label=True,
    ),
    Chart(
        "Attention of every head to the previous token",
        "One map a layer, read as the one above.",
        lambda rows: figures.head_heatmaps(rows, metric="previous_token"),
        per_label=True,
    ),
    Chart(
        "Removing sets of heads",
        "What a task's loss rises by when heads are removed together, measured on other prompts"
        " than they were chosen on. Dotted: the mean of other heads of the same layers, as many.",
        circuits.sets_over_steps,
        per_label=True,
    ),
    Chart(
        "Removing single heads",
        "The heads whose removal ever costs most.",
        circuits.removed_heads_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: the metric",
        "The whole model, the corrupted prompts, and a circuit that was found at another step."
        " Where the first two do not differ there is nothing for a circuit to explain. Dotted: a"
        " circuit of random edges.",
        circuits.circuit_metric_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: faithfulness",
        "How much of the difference between clean and corrupted prompts a circuit keeps. Not drawn"
        " where that difference is within three standard errors of 0. Dotted: circuits of as many"
        " random edges.",
        circuits.faithfulness_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: size",
        "The fewest edges that are faithful enough, from the best attributed ones down. Dotted:"
        " taken in random order.",
        circuits.circuit_size_over_steps,
        per_label=True,
    ),
    Chart(
        "Roles of heads",
        "How many heads exceed the 99.9th percentile of their controls, by role. Dotted: the same"
        " of shuffled tokens; a head or two stand out by chance.",
        circuits.roles_over_steps,
        per_label=True,
    ),
    Chart(
        "Statistics of the text",
        "How far the model is from unigram, bigram and trigram models of the corpus. Each line has"
        " its minimum where the model predicts most as that n-gram does. Dotted: shuffled tokens.",
        learning.ngrams_over_steps,
        per_label=True,
    ),
    Chart(
        "Probes: accuracy",
        "Accuracy of a linear probe of the stream after each layer, on documents it was not trained"
        " on. Dotted: the same probe on a control task, in which each token type has a random"
        " label: what can be learnt by heart.",
        learning.probe_accuracy_over_steps,
        per_label=True,
    ),
    Chart(
        "Probes: selectivity",
        "Accuracy minus that on the control tasks. Negative where the token itself is easier to"
        " read off than the label. Dotted: of one control task against the others.",
        learning.probe_selectivity_over_steps,
        per_label=True,
    ),
)
"""The figures of a model's section, in order.

A chart of which the rows hold nothing is left out.
"""

SCALARS = ("nll", "accuracy", "icl_score", "icl_window")
"""Metrics of the whole model in the table of key numbers.

Beside them stands the largest head of each metric of heads.
"""

_DRAW = f"""
const config = {json.dumps(style.CONFIG)};
const touched = matchMedia("(pointer: coarse)").matches;
if (touched) config.displayModeBar = false;
for (const holder of document.querySelectorAll(".plotly-graph-div")) {{
  const figure = JSON.parse(document.getElementById(holder.dataset.figure).textContent);
  if (touched) figure.layout.dragmode = false;
  Plotly.newPlot(holder, figure.data, figure.layout, config);
}}
"""


def report(rows: pd.DataFrame, *, title: str, facts: Mapping[str, str]) -> str:
    """A run as one self-contained HTML document.

    Args:
        rows: rows of a run, as `pythia_traj.load` gives them.
        title: the page's heading.
        facts: what stands below it, by name: models, steps, experiments, versions.

    Returns:
        The document. It opens from a file, loads nothing, and treats all that comes from rows,
        title and facts as text.
    """
    body = [f"<header><h1>{escape(title)}</h1>", _facts(facts), "</header>", "<main>"]
    models = [] if rows.empty else [str(model) for model in rows["model"].dropna().unique()]
    drawn = _Figures()
    sections = [(model, _section(rows[rows["model"].isin([model])], drawn)) for model in models]
    if not any(section for _, section in sections):
        what = "holds no rows" if rows.empty else "holds no metric that this page draws"
        body.append(f"<p class='lead'>This run {what}: there is no figure to show.</p>")
    else:
        body.append(f"<p class='lead'>{_HOW_TO_READ}</p>")
        if len(models) > 1:
            links = (f"<a href='#model-{i}'>{escape(model)}</a>" for i, model in enumerate(models))
            body.append(f"<nav aria-label='Models'>{' '.join(links)}</nav>")
        for i, (model, section) in enumerate(sections):
            nothing = "<p>None of this model's metrics is drawn here.</p>"
            body.append(
                f"<section id='model-{i}'><h2>{escape(model)}</h2>{section or nothing}</section>"
            )
    if not rows.empty:
        body += [_key_numbers(rows), _undefined(rows)]
    body.append(f"</main><footer><p>{_WHERE_NUMBERS_ARE}</p></footer>")
    return _document(title, "\n".join(body), drawn)


_HOW_TO_READ = (
    "Training steps lie at log2(step + 1), so that the first steps have as much room as the last."
    " Bands are one standard error up and down; dotted lines are controls, the same measure where"
    " there is nothing to find. Point at a line to read step, tokens, value, standard error and n;"
    " click in the legend to hide a line."
)

_WHERE_NUMBERS_ARE = (
    "The same numbers, of every step, are in the run's <code>metrics</code> directory as Parquet."
)


def write_report(html: str, path: str | os.PathLike[str]) -> None:
    """Writes a page so that the path holds the old page or the whole new one, never a part.

    Raises:
        StoreError: the directory does not exist or cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        # Not mkstemp: the page gets any other file's permissions. Newlines stay, as the scripts are
        # named by hash.
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


class _Figures:
    """The figures of a page so far, as JSON in elements that no browser runs."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def add(self, figure: go.Figure, name: str) -> str:
        """Keeps a figure and returns the element it will be drawn into."""
        key = f"figure-{len(self.elements)}"
        # The only character with which JSON could end its element.
        data = figure.to_json().replace("<", "\\u003c")
        self.elements.append(f"<script type='application/json' id='{key}'>{data}</script>")
        size, label = f"height:{figure.layout.height}px", escape(name)
        attributes = f"data-figure='{key}' style='{size}' role='img' aria-label='{label}'"
        return f"<div class='plotly-graph-div' {attributes}></div>"


def _section(rows: pd.DataFrame, drawn: _Figures) -> str:
    """The figures of one model; empty where there is nothing to draw, nor a reason why not."""
    parts = []
    for chart in CHARTS:
        for label, of_label in _labels(rows) if chart.per_label else [("", rows)]:
            heading = f"{chart.heading} ({label})" if label else chart.heading
            try:
                drawing = drawn.add(chart.draw(of_label), heading)
            except NothingToDraw as nothing:
                if not nothing.reasons:
                    continue
                drawing = f"<p class='undefined'>Not drawn. {escape(str(nothing))}</p>"
            caption = (
                f"<figcaption><h3>{escape(heading)}</h3><p>{escape(chart.caption)}</p></figcaption>"
            )
            parts.append(f"<figure>{caption}{drawing}</figure>")
    return "".join(parts)


def _labels(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for label in rows["label"].dropna().unique():
        yield str(label), rows[rows["label"].isin([label])]


def _facts(facts: Mapping[str, str]) -> str:
    pairs = (
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(fact))}</dd></div>"
        for name, fact in facts.items()
    )
    return f"<dl>{''.join(pairs)}</dl>" if facts else ""


def _key_numbers(rows: pd.DataFrame) -> str:
    """A table of the first and the last value of each metric, with the control of the last."""
    scalars = figures.choose(figures.on_text(rows), SCALARS)
    heads = figures.choose(rows, list(figures.HEAD_LABELS), component="head")
    # Roles of heads have some of these metrics too, without a convention.
    heads = heads[heads["variant"] != ""]
    numbers = pd.concat(
        [scalars.assign(what=_what(scalars)), figures.largest_head(heads.assign(what=_what(heads)))]
    )
    numbers = numbers.dropna(subset=["value"]).sort_values("step", kind="stable")
    bodies = []
    for model, of_model in numbers.groupby("model", sort=False):
        bodies.append(f"<tbody><tr><th colspan='4' scope='rowgroup'>{escape(str(model))}</th></tr>")
        for key, at in of_model.groupby(["label", "what"], sort=False):
            label, what = map(str, key)
            found, controls = at[at["control"] == ""], at[at["control"] != ""]
            last = found["step"].max()
            cells = (found.head(1), found.tail(1), controls[controls["step"] == last].head(1))
            bodies.append(f"<tr><td><code>{escape(what)}</code><small>{escape(label)}</small></td>")
            bodies.append("".join(map(_cell, cells)) + "</tr>")
        bodies.append("</tbody>")
    if not bodies:
        return ""
    names = ("metric", "first step", "last step", "control, last step")
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    note = (
        "<p>Mean and standard error; of heads, the largest at that step. Losses are in nats per"
        " token.</p>"
    )
    table = (
        "<div class='scroll'><table class='numbers'>"
        f"<thead>{head}</thead>{''.join(bodies)}</table></div>"
    )
    return f"<section><h2>Key numbers</h2>{note}{table}</section>"


_FURTHER = ("part", "target", "size", "reference", "variant")
"""The columns that tell the values of one metric apart, in the order in which they are shown."""


def _what(rows: pd.DataFrame, further: tuple[str, ...] = _FURTHER) -> list[str]:
    """The metric of each of some rows, with what tells it from others of its name."""
    words = rows[["metric", *further]].astype(object)
    words["size"] = [None if pd.isna(size) else f"size {size:.0f}" for size in rows["size"]]
    words = words.where(words.notna(), "")
    return [" · ".join(filter(None, row)) for row in words.itertuples(index=False)]


def _cell(at: pd.DataFrame) -> str:
    if at.empty:
        return "<td>–</td>"
    row = at.iloc[0]
    # Two digits of the error, and as many places of the value.
    exact = pd.isna(row["stderr"]) or row["stderr"] <= 0
    places = 4 if exact else min(max(1 - math.floor(math.log10(row["stderr"])), 0), 8)
    error = "" if pd.isna(row["stderr"]) else f" ±\u00a0{row['stderr']:.{places}f}"
    value = f"{row['value']:z.{places}f}".replace("-", "−")
    where = f"step\u00a0{row['step']}" + (f" · {row['note']}" if row["note"] else "")
    return f"<td>{value}<span>{error}</span><small>{escape(where)}</small></td>"


def _undefined(rows: pd.DataFrame) -> str:
    """A table of the metrics without a value, each with its reason and the number of its rows."""
    missing = rows[rows["value"].isna()]
    if missing.empty:
        return ""
    missing = missing.assign(
        what=_what(missing, (*_FURTHER, "control")),
        reason=missing["reason"].astype(object).fillna("no reason given"),
    )
    lines = []
    for key, at in missing.groupby(["what", "label", "reason"], sort=False, observed=True):
        what, label, reason = map(str, key)
        models = ", ".join(map(str, at["model"].unique()))
        lines.append(
            f"<tr><td><code>{escape(what)}</code>"
            f"<small>{escape(label)} · {escape(models)}</small></td>"
        )
        lines.append(f"<td class='text'>{escape(reason)}</td><td>{len(at):,}</td></tr>")
    head = "<tr><th>metric</th><th class='text'>reason</th><th>rows</th></tr>"
    table = (
        f"<div class='scroll'><table><thead>{head}</thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    return (
        f"<section><h2>Undefined</h2><p>Metrics that have no value, and why.</p>{table}</section>"
    )


def _document(title: str, body: str, drawn: _Figures) -> str:
    scripts = [get_plotlyjs(), _DRAW] if drawn.elements else []
    digests = (base64.b64encode(hashlib.sha256(js.encode()).digest()).decode() for js in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )
    head = [
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{style.PAGE}</style></head><body>",
        (
            "<noscript>"
            "<p>The figures need JavaScript, which is in this file; the tables do not.</p>"
            "</noscript>"
        ),
    ]
    return "\n".join(
        [
            *head,
            body,
            *drawn.elements,
            *(f"<script>{js}</script>" for js in scripts),
            "</body></html>\n",
        ]
    )
