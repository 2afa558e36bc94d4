"""What can be read from a run: which words each column holds, at which steps.

Only the key columns of the metrics are decoded, and one file's schema for each table and label.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pythia_traj import schema
from pythia_traj.printable import printable
from pythia_traj.store.done import Found, list_tables, list_units
from pythia_traj.store.files import Files
from pythia_traj.store.layout import Run
from pythia_traj.store.mixed import measured_by, say_mixed, say_versions
from pythia_traj.store.parquet import TYPES, Whole, arrow_schema
from pythia_traj.store.records import Footer

_WORDS = tuple(column.name for column in schema.KEY_COLUMNS if column.type == "dictionary")

_RANGES = ("layer", "head", "position")
"""Key columns shown by their first and last value."""

_COUNTS = ("models", "steps", "first_step", "last_step", "rows", "undefined")

_MOST_WORDS, _MOST_SIGNS = 8, 48
"""The most words that a cell of a page shows, and characters of each; the frames have all."""


@dataclass(frozen=True)
class Page:
    """The description of one label, or of the tables, for a person to read."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, repr=False, eq=False)
class Description:
    """What `load` can read from a run, in frames to search; printed, it is short.

    None among words means null, as in a filter.

    Attributes:
        labels: a row for each label of an experiment: which versions measured it, its models, the
            number of units and steps, and the first and last step.
        metrics: a row for each metric of a label: the words in each key column of its rows, the
            sizes, and the first and last layer, head and position; None comes first where some rows
            of the metric have no value there.
        combinations: a row for each combination of words that occurs, with the same counts.
        tables: a row for each column of each table beside the metrics, and one for tensors.
        notes: what is left out, and what cannot be compared.
    """

    labels: pd.DataFrame
    metrics: pd.DataFrame
    combinations: pd.DataFrame
    tables: pd.DataFrame
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, as lists of records."""
        frames = ("labels", "metrics", "combinations", "tables")
        records = {
            name: json.loads(getattr(self, name).to_json(orient="records")) for name in frames
        }
        return {**records, "notes": list(self.notes)}

    def pages(self) -> Iterator[Page]:
        """A page for each label, and one for the tables; long lists of words are cut."""
        for label in self.labels.itertuples(index=False):
            of_label = (self.metrics.experiment == label.experiment) & (
                self.metrics.label == label.label
            )
            yield _label_page(label, self.metrics[of_label])
        if len(self.tables):
            yield _tables_page(self.tables)

    def __repr__(self) -> str:
        said = [f"note: {note}" for note in self.notes]
        return printable("\n\n".join([*map(_as_text, self.pages()), *said])) or NOTHING

    def _repr_html_(self) -> str:
        said = [f"<p>note: {html.escape(note)}</p>" for note in self.notes]
        return "".join([*map(_as_html, self.pages()), *said]) or NOTHING


NOTHING = "no unit is there yet"


def describe(run: str | Path) -> Description:
    """What a run holds: experiments, labels, metrics, their words, tables.

    A notebook shows it as tables; its frames can be searched:

        found = describe("runs/induction")
        found.metrics[["experiment", "label", "metric", "variant", "control"]]
        found.combinations.query("metric == 'prefix_matching'")

    Args:
        run: the run's directory; a sweep may still write to it.

    Raises:
        StoreError: it is not a run.
    """
    opened = Run.open(Path(run))
    files = Files(opened, None)
    counted = [_counted(arrow_schema(schema.METRICS).empty_table(), "", "", 0)]
    footers: dict[Found, Footer] = {}
    labels: dict[tuple[str, str], list[tuple[Found, Footer]]] = {}
    for found, (rows, footer) in files.read(files.there, _summary):
        counted.append(rows)
        footers[found] = footer
        labels.setdefault((_experiment(rows, footer), found.label), []).append((found, footer))
    everything = pa.concat_tables(counted)
    tables, notes = _tables(opened)
    return Description(
        _labels(labels),
        _grouped(everything, ("experiment", "label", "metric"), (*_WORDS[1:], "size")),
        _grouped(everything, ("experiment", "label", *_WORDS), ("size",)),
        tables,
        (*say_versions(footers), *say_mixed(footers), *files.say_left_out(), *notes),
    )


def _summary(found: Found, whole: Whole) -> tuple[pa.Table, Footer]:
    rows = whole.table(["experiment", *_WORDS, "size", *_RANGES, "value"])
    return _counted(rows, found.model, found.label, found.step or 0), whole.footer


def _counted(rows: pa.Table, model: str, label: str, step: int) -> pa.Table:
    """The combinations of one unit, with how many rows each has."""
    keys = ("experiment", *_WORDS, "size")
    ends = [(name, end) for name in _RANGES for end in ("min", "max", "count")]
    found = (
        rows.unify_dictionaries()
        .group_by(keys, use_threads=False)
        .aggregate([([], "count_all"), ("value", "count"), *ends])
    )
    columns: dict[str, Any] = {
        name: found[name].cast(pa.int32() if name == "size" else pa.string()) for name in keys
    }
    columns |= {f"{name}_{end}": found[f"{name}_{end}"] for name, end in ends}
    columns |= {
        "rows": found["count_all"],
        "undefined": pc.subtract(found["count_all"], found["value_count"]),
        "model": pa.repeat(model, len(found)),
        "label": pa.repeat(label, len(found)),
        "step": pa.repeat(pa.scalar(step, pa.int64()), len(found)),
    }
    return pa.table(columns)


def _experiment(rows: pa.Table, footer: Footer) -> str:
    """The experiment of a unit, even of one without rows."""
    by = measured_by(footer)
    return str(rows["experiment"][0]) if len(rows) else by[0] if by else ""


def _grouped(counted: pa.Table, keys: Sequence[str], listed: Sequence[str]) -> pd.DataFrame:
    """A row for each set of equal keys, with the words of the other columns as tuples."""
    ends = [
        (f"{name}_{end}", "sum" if end == "count" else end)
        for name in _RANGES
        for end in ("min", "max", "count")
    ]
    with_null = pc.CountOptions(mode="all")
    found = counted.group_by(keys, use_threads=False).aggregate(
        [
            ("model", "count_distinct"),
            *(("step", how) for how in ("count_distinct", "min", "max")),
            *(("rows", "sum"), ("undefined", "sum")),
            *ends,
            *((name, "distinct", with_null) for name in listed),
        ]
    )
    columns: dict[str, Any] = {name: pd.Categorical(found[name].to_pandas()) for name in keys}
    columns |= {name: _lists(found[f"{name}_distinct"]) for name in listed if name != "size"}
    counts = ("model_count_distinct", "step_count_distinct", "step_min", "step_max")
    for name, own in zip(_COUNTS, (*counts, "rows_sum", "undefined_sum"), strict=True):
        columns[name] = found[own].to_numpy()
    columns["sizes"] = [
        _null_first(sorted(size for size in sizes if size is not None), None in sizes)
        for sizes in found["size_distinct"].to_pylist()
    ]
    for name in _RANGES:
        ends_of = (found[f"{name}_{end}_{end}"].to_pylist() for end in ("min", "max"))
        with_one = found[f"{name}_count_sum"].to_pylist()
        columns[f"{name}s"] = [
            None if first is None else _null_first((first, last), count < rows)
            for first, last, count, rows in zip(*ends_of, with_one, columns["rows"], strict=True)
        ]
    frame = pd.DataFrame(columns)
    return frame.sort_values(["experiment", "label"], kind="stable", ignore_index=True)


def _null_first(numbers: Sequence[int], some_have_none: bool) -> tuple[int | None, ...]:
    """Numbers, after None where some rows have none."""
    return (*([None] if numbers and some_have_none else []), *numbers)


def _lists(words: pa.ChunkedArray) -> list[tuple[str | None, ...]]:
    """Words in order, null first."""
    return [
        (*([None] if None in some else []), *sorted(filter(None, some), key=_in_order))
        for some in words.to_pylist()
    ]


def _in_order(word: str) -> list[Any]:
    """A sort key that orders numbers in words by value: `top10` comes after `top2`."""
    return [
        (len(part), part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", word))
    ]


def _labels(units: Mapping[tuple[str, str], Sequence[tuple[Found, Footer]]]) -> pd.DataFrame:
    columns = ("experiment", "label", "versions", "models", "units", *_COUNTS[1:4])
    rows = []
    for (experiment, label), of_label in sorted(units.items()):
        steps = {found.step or 0 for found, _ in of_label}
        by = [measured_by(footer) for _, footer in of_label]
        rows.append(
            (
                experiment,
                label,
                tuple(sorted({one[1] for one in by if one}, key=_in_order)),
                tuple(sorted({found.model for found, _ in of_label})),
                len(of_label),
                len(steps),
                min(steps),
                max(steps),
            )
        )
    return pd.DataFrame(rows, columns=columns)


def _tables(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """The tables and tensors, and notes on damaged ones."""
    columns = ("table", "column", "type", "nullable", "labels", "units")
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    for table in list_tables(run):
        tensors = [] if table == "models" else list_units(run, table=table, suffix=".safetensors")
        if tensors:
            labels = tuple(sorted({found.label for found in tensors}))
            rows.append((table, None, "safetensors", False, labels, len(tensors)))
        if tensors and not list_units(run, table=table):
            continue
        files = Files(run, table)
        fields: dict[str, list[tuple[str, pa.Field]]] = {}
        for label, field in _fields(files):
            fields.setdefault(field.name, []).append((label, field))
        units = Counter(found.label for found in files.there)
        for name, known in fields.items():
            kinds = dict.fromkeys(_type_name(field.type) for _, field in known)
            labels = tuple(label for label, _ in known if label)
            count = sum(units[label] for label, _ in known)
            nullable = any(field.nullable for _, field in known)
            rows.append((table, name, " or ".join(kinds), nullable, labels, count))
        notes += files.say_left_out()
    return pd.DataFrame(rows, columns=columns), notes


def _type_name(kind: pa.DataType) -> str:
    """The name of a type in a declaration; of another one, Arrow's.

    Lists are found by comparing: in a file, what they hold has another name than in memory.
    """
    return next((name for name, known in TYPES.items() if known == kind), str(kind))


def _fields(files: Files) -> Iterator[tuple[str, pa.Field]]:
    """The columns of a table at each label, from its first whole file."""
    known: set[str] = set()
    for found in files.there:
        if found.label not in known:
            for _, columns in files.read([found], lambda _, whole: whole.columns):
                known.add(found.label)
                yield from ((found.label, field) for field in columns)


def _label_page(label: Any, metrics: pd.DataFrame) -> Page:
    """A row for each metric, with the words of the columns that its rows use."""
    versions = f"version {' and '.join(label.versions)}" if label.versions else ""
    used = f"experiment {label.experiment}" if label.experiment not in ("", label.label) else ""
    of = ", ".join(filter(None, (used, versions)))
    everywhere = (label.steps, label.first_step, label.last_step)
    title = (
        f"{label.label}{f' ({of})' if of else ''}: model {_words(label.models)};"
        f" {_steps(*everywhere)}"
    )
    rows = []
    for one in metrics.to_dict("records"):
        words = {name: _words(one[name]) for name in _WORDS[1:]}
        words["size"] = _words(one["sizes"])
        words |= {name: _range(one[f"{name}s"]) for name in _RANGES}
        at = (one["steps"], one["first_step"], one["last_step"])
        said = [f"{name}: {some}" for name, some in words.items() if some]
        said += [f"at {_steps(*at)} alone"] if at != everywhere else []
        said += [f"{one['undefined']:,} undefined"] if one["undefined"] else []
        rows.append((str(one["metric"]), f"{one['rows']:,}", "; ".join(said)))
    return Page(title, ("metric", "rows", "words"), tuple(rows))


def _tables_page(tables: pd.DataFrame) -> Page:
    """A row for each table, without the columns that every unit's table has."""
    unit = {column.name for column in schema.UNIT_COLUMNS}
    known = (unit, unit | {column.name for column in schema.KEY_COLUMNS})
    rows = []
    for table, columns in tables.groupby("table", sort=False):
        named = [
            f"{one.column} ({one.type})" if isinstance(one.column, str) else "tensors"
            for one in columns.itertuples(index=False)
            if table == "models" or one.column not in known[table == "items"]
        ]
        if table == "items":
            named.insert(0, "those of a metric's key")
        labels = dict.fromkeys(label for some in columns.labels for label in some)
        rows.append((str(table), f"{columns.units.max():,}", ", ".join(labels), ", ".join(named)))
    beside = ", ".join((*schema.PARTITIONS, *(c.name for c in schema.UNIT_COLUMNS)))
    title = f"tables, with table= (each but models has {beside} too)"
    return Page(title, ("table", "files", "labels", "columns"), tuple(rows))


def _words(some: Sequence[Any]) -> str:
    """As many as a person reads; None stands for null, as in a filter."""
    if set(some) <= {None}:
        return ""
    shown = [str(word) for word in some[:_MOST_WORDS]]
    shown = [f"{word[:_MOST_SIGNS]}..." if len(word) > _MOST_SIGNS else word for word in shown]
    more = f" and {len(some) - _MOST_WORDS:,} more" if len(some) > _MOST_WORDS else ""
    return f"{', '.join(shown)}{more}"


def _range(ends: tuple[int | None, ...] | None) -> str:
    if ends is None:
        return ""
    *none, first, last = ends
    said = f"{first}" if first == last else f"{first} to {last}"
    return f"None, {said}" if none else said


def _steps(count: int, first: int, last: int) -> str:
    return f"step {first}" if count == 1 else f"{count:,} steps from {first} to {last}"


def _as_text(page: Page) -> str:
    widths = [max(map(len, column)) for column in zip(page.columns, *page.rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (page.columns, *page.rows)
    )
    return "\n".join((page.title, *lines))


def _as_html(page: Page) -> str:
    rows = pd.DataFrame(page.rows, columns=page.columns)
    with pd.option_context("display.max_colwidth", None):
        return f"<h4>{html.escape(page.title)}</h4>{rows.to_html(index=False)}"
