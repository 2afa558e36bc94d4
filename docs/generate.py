"""Writes the parts of the documentation made from the code and from the benchmarks' results.

    python docs/generate.py

`reference.md`: the columns, their words, the experiments and their tables. `figures.md`: what the
benchmarks measured, from benchmarks/results.json, benchmarks/toy_seeds.json and
benchmarks/toy_circuits.json. In `experiments.md` the table of what a step costs, in `cluster.md`
those of what a suite takes, from budget.py. In `onsets.md` what methods say of curves whose onset
is known, from benchmarks/onset.json and onset_claims.json. In `configs/` the schema by which
editors check the files there.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import budget
import known_onsets
from markup import table

from pythia_traj import schema
from pythia_traj.discovery import Unavailable, describe, discover
from pythia_traj.editor import schema as schema_of_configs
from pythia_traj.experiment import Experiment

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BENCHMARKS = ROOT / "benchmarks"


def files() -> dict[str, str]:
    """The generated files, by their paths in the repository."""
    return {
        "docs/reference.md": _reference(),
        "docs/figures.md": _figures(),
        "docs/experiments.md": _filled(
            "experiments.md", {"made from benchmarks/results.json": _costs()}
        ),
        "docs/cluster.md": _filled(
            "cluster.md",
            {
                "bytes and requests, by docs/budget.py": budget.of_weights(),
                "files and hours, by docs/budget.py": budget.of_experiments(),
            },
        ),
        "docs/onsets.md": _filled(
            "onsets.md",
            {
                "the default, by docs/known_onsets.py": known_onsets.of_default(),
                "thresholds, by docs/known_onsets.py": known_onsets.of_thresholds(),
                "methods, by docs/known_onsets.py": known_onsets.of_methods(),
                "orders, by docs/known_onsets.py": known_onsets.of_orders(),
                "heads, by docs/known_onsets.py": known_onsets.of_heads(),
            },
        ),
        "configs/schema.json": json.dumps(schema_of_configs(), indent=1) + "\n",
    }


def _reference() -> str:
    parts = [
        "# Reference\n\nMade from the code by `make docs`.",
        (
            "## Columns of `metrics/`\n\n"
            "One row is one value of one metric. `model` and `label` are hive partitions of the"
            " path, and columns wherever a run is read."
        ),
        _columns(schema.METRICS),
        (
            "## Columns of `tables/items/`\n\n"
            "Per-item values of experiments that keep them, with the same keys."
        ),
        _columns(schema.ITEMS),
        (
            "## Columns of `tables/models/`\n\n"
            "A row for each model of the run; joins on `model`. `pythia_traj.published_models()`"
            " has the same columns for all that are known."
        ),
        _columns(schema.MODELS),
        (
            "## Words\n\n"
            "What these columns hold in the rows of the experiments below. A `part` is also the"
            f" name of a set of heads (`{schema.PART_PATTERN}`) or of a template of your own; a"
            " `reference` is named as a request names it."
        ),
        _words(),
        (
            "## Experiments\n\n"
            "Every experiment with data also takes `seed`, for its data alone. Tables of their own"
            " begin with the columns from `suite` to `tokens`, as `metrics/` does."
        ),
        *(
            _experiment(found)
            for found in discover().values()
            if not isinstance(found, Unavailable)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _columns(columns: Iterable[schema.Column]) -> str:
    types = {"dictionary": "dictionary<int32, string>"}
    rows = [
        (
            f"`{c.name}`",
            types.get(c.type, c.type),
            "yes" if c.nullable else "",
            f"{c.meaning}; null too in files from before it was added" if c.added else c.meaning,
        )
        for c in columns
    ]
    return table(("column", "type", "null", "meaning"), rows)


def _words() -> str:
    rows = [
        (f"`{column}`", ", ".join(f"`{word}`" for word in words))
        for column, words in schema.WORDS.items()
    ]
    return table(("column", "words"), rows)


def _experiment(experiment: Experiment) -> str:
    found = describe(experiment)
    first, _, rest = found["documentation"].partition("\n")
    rows = [
        (f"`{p['name']}`", f"`{p['default']!r}`", p["type"], p["meaning"])
        for p in found["parameters"]
    ]
    heading = (
        f"### `{found['name']}`\n\n{first} Version {found['version']};"
        f" {found['cites'] or 'no source'}."
    )
    tables = (
        f"Columns of `tables/{name}/`:\n\n{_columns(columns)}"
        for name, columns in experiment.tables.items()
    )
    return "\n\n".join(
        [heading, rest.strip(), table(("parameter", "default", "type", "meaning"), rows), *tables]
    )


def _filled(page: str, parts: Mapping[str, str]) -> str:
    """A page as it is, with new text after the marks that begin its generated parts.

    Raises:
        ValueError: the page lacks one of the marks.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, part in parts.items():
        before, begin, rest = text.partition(f"<!-- begin: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"docs/{page}: it lacks the marks of the part {name!r}")
        text = f"{before}{begin}{part}\n{end}{after}"
    return text


def _costs() -> str:
    result = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))["step_cost"]
    taken: dict[str, tuple[Any, ...]] = {
        name: (phases["compute"]["median"], phases["command"]["median"], memory)
        for (name, phases), (_, memory) in zip(
            result["seconds"].items(), _memory(result["memory"]), strict=True
        )
    }
    together = {"text": "first four", "together": "all"}
    alone = [taken[name] for name in taken if name not in together]
    rows = [(f"`{name}`", *row) for name, row in taken.items() if name not in together]
    for (name, words), count in zip(together.items(), (4, len(alone)), strict=True):
        sums = (round(sum(row[phase] for row in alone[:count]), 2) for phase in range(2))
        rows += [(f"{words}, sum", *sums, ""), (f"{words}, in one sweep", *taken[name])]
    return table(
        ("experiment", "seconds of a step", "seconds of the command", "peak memory (GB)"), rows
    )


def _figures() -> str:
    results = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
    seeds = json.loads((BENCHMARKS / "toy_seeds.json").read_text(encoding="utf-8"))
    circuits = json.loads((BENCHMARKS / "toy_circuits.json").read_text(encoding="utf-8"))
    parts = [
        "# Figures\n\nMade from the benchmarks' results by `make docs`. Ratios compare with a"
        " baseline in the same run."
    ]
    for name, result in results.items():
        machine = (
            f"{result['machine']['cpus']} cores, {result['machine']['processor']},"
            f" Python {result['machine']['python']}"
        )
        versions = ", ".join(
            f"{package} {number}" for package, number in result["versions"].items()
        )
        parts += [
            f"## `benchmarks/{name}.py`\n\n{machine}; {versions}.",
            table(
                ("ratio", "figure"),
                [(f"`{key}`", value) for key, value in result["ratios"].items()],
            ),
            table(("seconds", "median", "least"), list(_seconds(result["seconds"]))),
            *(
                [table(("gigabytes", "peak"), list(_memory(result["memory"])))]
                if "memory" in result
                else []
            ),
        ]
    parts += [
        (
            "## The toy suite, seed by seed\n\n"
            "`python benchmarks/toy_seeds.py --json > benchmarks/toy_seeds.json`: at the first and"
            " the last step, the largest head score of `two_halves` at length 25, the loss on the"
            " first and second copy of 25 random tokens, and the loss on held-out text (nats);"
            " `phase change` is the first saved step at which the largest score is above 0.5."
            " The seconds of this run are those of a machine that did other work beside it."
        ),
        table(tuple(seeds[0]), [tuple(row.values()) for row in seeds]),
        (
            "## Ablation and circuits on the toy suite, seed by seed\n\n"
            "`python benchmarks/toy_circuits.py --json > benchmarks/toy_circuits.json`, which says"
            " what the bounds are. Effects are those of the two strongest induction heads on the"
            " loss of the second copy (nats), controls the mean of all disjoint pairs of their"
            " layers, of which four heads a layer leave one; `errors from corrupted` is how far,"
            " before the onset, the loss with the last step's circuit lies at most from that on the"
            " corrupted prompts, in standard errors."
        ),
        table(("", *(f"seed {row['seed']}" for row in circuits)), _turned(circuits)),
    ]
    return "\n\n".join(parts) + "\n"


def _turned(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows as columns."""
    return [(name, *(row[name] for row in rows)) for name in rows[0] if name != "seed"]


def _seconds(seconds: dict[str, Any], prefix: str = "") -> Iterable[tuple[Any, ...]]:
    """The timed contenders, named by their path.

    Only timings are shown here; the rest (how many pairs were run) is in the results file.
    """
    for name, value in seconds.items():
        if isinstance(value, dict) and "median" in value:
            yield f"`{prefix}{name}`", value["median"], value["min"]
        elif isinstance(value, dict):
            yield from _seconds(value, f"{prefix}{name}: ")


def _memory(memory: dict[str, float]) -> Iterable[tuple[str, str]]:
    return ((f"`{name}`", f"{count / 1e9:.2f}") for name, count in memory.items())


def main() -> None:
    """Writes them."""
    for name, text in files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
