"""A dataset card from a run's provenance: what was measured, on which commits, how to read it.

The front matter names the files that `datasets.load_dataset` reads. All words from a run are
escaped: a card is Markdown, which may hold HTML.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pythia_traj.reports.methods import Methods

LOADED = {"metrics": "data/metrics.parquet", "items": "data/items.parquet"}
"""The configurations of `load_dataset`, and the one file that each is read from."""

_ESCAPED = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "[": "\\[", "\n": " "})


@dataclass(frozen=True)
class Told:
    """What a card says beside how it was measured.

    Attributes:
        name: `org/name`.
        revision: the branch; None is the main one.
        run: the name of the run's directory.
        loaded: configurations of `load_dataset` that the dataset has.
        tables: all tables beside the metrics.
        version: of the pythia-traj that publishes it.
        notes: what a reader of the rows must know.
    """

    name: str
    revision: str | None
    run: str
    loaded: Sequence[str]
    tables: Sequence[str]
    version: str
    notes: Sequence[str]


def card(told: Told, methods: Methods) -> str:
    """The card as Markdown, front matter first."""
    parts = [
        _front_matter(told, methods),
        f"# {_plain(told.run)}",
        _summary(methods),
        *_known(told.notes),
        "## Read it",
        _how_to_read(told),
        "## Models",
        _table(
            ("model", "suite", "published at", "parameters", "steps", "commits"),
            (
                (one.name, one.suite, one.published_at, one.parameters, one.steps, one.commits)
                for one in methods.models
            ),
        ),
        "## Experiments",
        *(_experiment(one) for one in methods.experiments),
        "## Made with",
        _made_with(told, methods),
        "## What the files say of themselves",
        (
            "Each Parquet file has its provenance in its footer, under the key `pythia_traj`:"
            " parameters, digests, the model's commit, versions, device and times. The names of"
            " hosts, workers, jobs and folders were left out, and so were logs and job scripts."
        ),
        "## Works to cite",
        "\n".join(f"- {_plain(one)}" for one in methods.references) or "None is recorded.",
        *([f"```bibtex\n{methods.bibtex.strip()}\n```"] if methods.bibtex.strip() else []),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(told: Told, methods: Methods) -> str:
    suites = dict.fromkeys(one.suite for one in methods.models if one.suite)
    configs: list[Mapping[str, Any]] = [
        {"config_name": name, "data_files": LOADED[name]} for name in told.loaded
    ]
    document = {
        "pretty_name": told.run,
        "license": "unknown",
        "tags": ["pythia-traj", "interpretability", "training-dynamics", *suites],
        "configs": [{**configs[0], "default": True}, *configs[1:]],
    }
    return f"---\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=True)}---"


def _summary(methods: Methods) -> str:
    models = ", ".join(_plain(one.name) for one in methods.models)
    labels = ", ".join(_plain(one.label) for one in methods.experiments)
    return (
        f"Measurements of {models} over training: {labels}. One row is one value of one metric, at"
        " one training step."
    )


def _known(notes: Sequence[str]) -> list[str]:
    lines = "\n".join(f"- {_plain(note)}" for note in notes)
    return [f"To know before you use it:\n\n{lines}"] if notes else []


def _how_to_read(told: Told) -> str:
    at = "" if told.revision is None else f"@{told.revision}"
    address = f"hf://datasets/{told.name}{at}"
    revision = "" if told.revision is None else f', revision="{told.revision}"'
    tables = ", ".join(f"`{table}`" for table in told.tables)
    others = f" Its tables: {tables}." if told.tables else ""
    return (
        "```python\n"
        "import pythia_traj as pt\n\n"
        f'pt.describe("{address}")\n'
        f'rows = pt.load("{address}")\n'
        "```\n\n"
        "or, without pythia-traj,\n\n"
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'rows = load_dataset("{told.name}", "{told.loaded[0]}", split="train"{revision})\n'
        "```\n\n"
        "`data/` has one file each of metrics and items, controls included: a measurement is a row"
        " whose `control` is null. `metrics/` and `tables/` are the run, one file for each model,"
        f" label and step.{others}"
    )


def _experiment(one: Any) -> str:
    facts = (
        ("experiment", f"{one.name} version {one.version}" if one.version else one.name),
        ("defined in", one.defined_in),
        ("parameters", ", ".join(f"{name} = {value}" for name, value in one.parameters)),
        ("data", ", ".join(f"{name} = {value}" for name, value in one.data)),
        ("seeds", ", ".join(one.seeds)),
        ("variants", ", ".join(one.conventions)),
        ("controls", ", ".join(one.controls)),
        ("weights", one.processing),
        ("compared with", ", ".join(one.compared_with)),
        ("from", "; ".join(one.cites)),
        ("units", one.units),
    )
    known = "\n".join(f"- {name}: {_plain(value)}" for name, value in facts if value)
    return f"### {_plain(one.label)}\n\n{_plain(one.summary)}\n\n{known}".replace(
        "\n\n\n\n", "\n\n"
    )


def _made_with(told: Told, methods: Methods) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in methods.versions)
    facts = (
        ("versions", versions),
        ("device", methods.device),
        ("precision", methods.dtype),
        ("published by", f"pythia-traj {told.version}"),
    )
    return "\n".join(f"- {name}: {_plain(value)}" for name, value in facts if value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table without the columns that are empty in all rows."""
    every = [[_plain(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] for row in every)]
    lines = [[columns[i] for i in kept], ["---"] * len(kept)]
    lines += [[row[i] for i in kept] for row in every]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.translate(_ESCAPED).split())
