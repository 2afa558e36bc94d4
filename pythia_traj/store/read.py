"""A run -> a tidy DataFrame.

Any Parquet reader does the same on `RUN/metrics`; this one knows the types, damaged files,
controls, and rows measured with other settings.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.outside import shown
from pythia_traj.store.done import Found
from pythia_traj.store.files import Files
from pythia_traj.store.filters import Filter
from pythia_traj.store.layout import Run
from pythia_traj.store.left_out import OTHER_TYPES
from pythia_traj.store.mixed import mixed_versions, say_mixed, say_versions
from pythia_traj.store.parquet import COLUMNS, TYPES, Whole, arrow_schema
from pythia_traj.store.records import Footer
from pythia_traj.store.remote import reading
from pythia_traj.suites.catalog import catalog

_PANDAS = {"dictionary": "category", "bool": "boolean", "int32": "Int64", "int64": "Int64"}

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    # Whatever type a file uses: users compute layer * 1000 + head or step * tokens per step, which
    # overflows the smaller types, and pandas would not say so.
    **dict.fromkeys(
        (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
            *(pa.uint8(), pa.uint16(), pa.uint32()),
        ),
        pd.Int64Dtype(),
    ),
}


_TAKEN_FOR = {"experiment": ("label", "a label"), "label": ("experiment", "an experiment")}
"""Without a label in the request, both have the same name."""


@dataclass(frozen=True)
class Read:
    """What was read of a run.

    Attributes:
        frame: the rows.
        footers: the provenance of each file that was read.
        notes: what a reader of the rows must know: what was left out, what cannot be compared.
        left_out: those of the notes that are about files or columns that were left out.
    """

    frame: pd.DataFrame
    footers: Mapping[Found, Footer]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def load(
    run: str | Path,
    *,
    table: str | None = None,
    controls: bool = False,
    mixed: bool = False,
    **where: Any,
) -> pd.DataFrame:
    """The measurements of a run, one row one value of one metric.

    `pythia_traj.describe(run)` lists its metrics, variants and parts:

        load("runs/induction", metric="prefix_matching", variant="two_halves", step=[0, 512])
        load("runs/induction", metric="prefix_matching", control="shuffled")
        load("runs/induction", label="short", table="items")

    Damaged files are left out with a warning. Another warning says where rows of a label were made
    with different parameters.

    Args:
        run: the run's directory, or its address where fsspec reads it: `s3://bucket/run`,
            `hf://datasets/org/name`. Only the files that the filters may choose are fetched.
        table: another table than the metrics: `items`, one of an experiment's own, or `models`,
            which joins on `model`.
        controls: include the rows of controls; `control` says which. They are also included where
            the filters name a `control`; tables without that column are read whole.
        mixed: allow rows that several versions of one experiment measured.
        **where: columns to filter by, pushed down to the files: a value, a list of values, or None
            for null. `experiment` is the experiment's name, `label` that of its request.

    Returns:
        columns `model`, `label` and those of pythia_traj.schema, sorted by model, label and step;
        words are categories (texts of an experiment's own tables are str), all integers
        Int64.

    Raises:
        StoreError: it is not a run, the table or column is unknown, a column does not hold a word,
            or the rows come from several versions of one experiment.
    """
    found = read_run(run, table=table, controls=controls, mixed=mixed, **where)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.frame


def read_run(
    run: str | Path | Run,
    *,
    table: str | None = None,
    controls: bool = False,
    mixed: bool = False,
    unknown: bool = False,
    **where: Any,
) -> Read:
    """The rows of a run, as `load`, with notes on them.

    Args:
        run: the run's directory or address, or the run that was opened in it.
        table, controls, mixed, **where: as for `load`.
        unknown: allow filters with words that no row holds.

    Raises:
        StoreError: as `load`.
    """
    for name, flag in (("controls", controls), ("mixed", mixed), ("unknown", unknown)):
        if not isinstance(flag, bool):
            raise StoreError(
                f"{name}={shown(flag)}: it is True or False; control='shuffled' chooses a control"
            )
    with reading(run, "metrics" if table is None else "tables") as opened:
        reader = Reader(opened, table, controls, where)
        rows, parts = reader.read(unknown=unknown)
    footers = {found: part.footer for found, part in parts.items()}
    chosen = {found: part.footer for found, part in parts.items() if len(part.rows)}
    hidden = sum(part.hidden for part in parts.values())
    notes, left_out = reader.said(chosen, hidden=hidden, mixed=mixed)
    return Read(as_frame(rows, reader.partitions), footers, tuple(notes), tuple(left_out))


@dataclass(frozen=True)
class Part:
    """The rows of one file; `hidden` counts the rows of controls that were left out."""

    rows: pa.Table
    footer: Footer
    hidden: int = 0


class Reader:
    """Reads the rows of one table that the filters choose."""

    def __init__(
        self, run: Run, table: str | None, controls: bool, where: Mapping[str, Any]
    ) -> None:
        self.files = Files(run, table)
        self.partitions = schema.PARTITIONS[:1] if table == "models" else schema.PARTITIONS
        self.is_stores = table in COLUMNS
        """Whether the store alone defines its columns."""
        self._where = where
        self._filters = [Filter.of(name, value) for name, value in where.items()]
        self._controls = controls or "control" in where
        known = arrow_schema(COLUMNS.get(table, schema.UNIT_COLUMNS))
        self.columns = pa.schema(
            [*(pa.field(name, TYPES["dictionary"]) for name in self.partitions), *known]
        )
        """The columns that are known without opening a file."""

    def read(self, *, unknown: bool = False) -> tuple[pa.Table, dict[Found, Part]]:
        """The rows, together and by their files.

        Raises:
            StoreError: a column is unknown, or does not hold a word that is not `unknown`.
        """
        there, wanted = self.files.there, self.wanted()
        if not there:
            return self.columns.empty_table(), {}
        if self.is_stores:
            parts, columns = dict(self.open(wanted)), self.columns
        else:
            # Only a file can tell the columns of an experiment's own table.
            parts, columns = self._agreeing(dict(self.open(wanted or there[:1])))
        rows = pa.concat_tables(
            [columns.empty_table(), *(part.rows for part in parts.values())],
            promote_options="permissive",
        )
        if not unknown:
            self.refuse_unknown(self.words(rows))
        return rows, parts

    def wanted(self) -> list[Found]:
        """The files that may hold such rows, sorted by model, label and step.

        Raises:
            StoreError: the table is the store's own, and has no such column.
        """
        if self.files.there:
            for one in self._filters:
                if self.is_stores or one.name in self.columns.names:
                    one.check(self.columns)
        return [
            found for found in self.files.there if all(one.may_take(found) for one in self._filters)
        ]

    def open(self, some: Iterable[Found]) -> Iterator[tuple[Found, Part]]:
        """The rows of some files; of the store's own tables those that the filters choose."""
        return self.files.read(some, self._open)

    def words(self, rows: pa.Table) -> dict[str, set[str]]:
        """The words of some rows in each column that is filtered by."""
        return {one.name: _words(rows, one.name) for one in self._filters}

    def refuse_unknown(self, found: Mapping[str, set[str]]) -> None:
        """Raises StoreError: none of the rows holds a word that was asked for."""
        for one in self._filters:
            self._refuse_unknown(one, found[one.name])

    def said(
        self, chosen: Mapping[Found, Footer], *, hidden: int, mixed: bool
    ) -> tuple[list[str], list[str]]:
        """What a reader of the rows must know; and of that, what was left out.

        Args:
            chosen: the provenance of the files that rows are from.
            hidden: how many rows of controls were left out.
            mixed: allow rows that several versions of one experiment measured.

        Raises:
            StoreError: several versions measured them.
        """
        if not mixed:
            _refuse_versions(chosen)
        is_of_models = self.partitions != schema.PARTITIONS
        notes = [*say_versions(chosen), *([] if is_of_models else say_mixed(chosen))]
        left_out = self.files.say_left_out()
        notes += left_out
        if hidden and not chosen:
            notes.append(
                f"these rows hold no measurement, but {hidden} of controls: controls=True gives"
                " them too"
            )
        elif self._where and self.files.there and not chosen:
            asked = ", ".join(f"{name}={shown(value)}" for name, value in self._where.items())
            notes.append(
                f"no row has all of this: {asked}; pythia_traj.describe(run) says which do"
            )
        return notes, left_out

    @cached_property
    def _expression(self) -> pc.Expression | None:
        """All filters, after checking that the columns can hold their values."""
        all_of_them: pc.Expression | None = None
        for one in self._filters:
            own = one.expression()
            all_of_them = own if all_of_them is None else all_of_them & own
        return all_of_them

    def _open(self, found: Found, whole: Whole) -> Part:
        """A file's rows with its partitions in front; of the store's own tables the chosen rows."""
        rows = (
            whole.table()
            if all(one.may_hold(whole.file.metadata) for one in self._filters)
            else whole.columns.empty_table()
        )
        for i, name in enumerate(self.partitions):
            word = found.model if name == "model" else found.label
            codes = pa.repeat(pa.scalar(0, pa.int32()), len(rows))
            rows = rows.add_column(i, name, pa.DictionaryArray.from_arrays(codes, pa.array([word])))
        return self._chosen(rows, whole.footer) if self.is_stores else Part(rows, whole.footer)

    def _chosen(self, rows: pa.Table, footer: Footer) -> Part:
        if self._expression is not None:
            rows = rows.filter(self._expression)
        # A user's own table may use that name for something else.
        if (
            self._controls
            or "control" not in rows.column_names
            or not _holds_words(rows["control"])
        ):
            return Part(rows, footer)
        measured = rows.filter(rows["control"].is_null())
        return Part(measured, footer, hidden=len(rows) - len(measured))

    def _agreeing(self, parts: Mapping[Found, Part]) -> tuple[dict[Found, Part], pa.Schema]:
        """The chosen rows of an experiment's own table, with the columns that they all have.

        Files whose columns differ from those of most files are left out.
        """
        texts = {
            field.name
            for part in parts.values()
            for field in part.rows.schema
            if pa.types.is_string(field.type)
        }
        parts = {
            found: Part(_as_texts(part.rows, texts), part.footer) for found, part in parts.items()
        }
        of_schema: dict[pa.Schema, list[Found]] = {}
        for found, part in parts.items():
            of_schema.setdefault(part.rows.schema, []).append(found)
        common, fitting = self.columns, []
        for columns, founds in sorted(of_schema.items(), key=lambda item: -len(item[1])):
            try:
                common = pa.unify_schemas([common, columns], promote_options="permissive")
                fitting += founds
            except pa.ArrowException:
                self.files.left_out.damaged.update({found.path: OTHER_TYPES for found in founds})
        for one in self._filters:
            one.check(common)
        chosen = {}
        for found in fitting:
            rows, footer = parts[found].rows, parts[found].footer
            rows = pa.concat_tables([common.empty_table(), rows], promote_options="permissive")
            chosen[found] = self._chosen(rows, footer)
        return {found: chosen[found] for found in parts if found in chosen}, common

    def _refuse_unknown(self, one: Filter, found: set[str]) -> None:
        missing = one.words() - found
        if not missing:
            return
        known = self._all_words(one.name)
        if missing - known and one.name in _TAKEN_FOR:
            other, called = _TAKEN_FOR[one.name]
            for word in sorted((missing - known) & self._all_words(other)):
                raise StoreError(
                    f"these rows have no {one.name} {shown(word)}: it is {called}, so give"
                    f" {other}={shown(word)}"
                )
        one.refuse_unknown(missing - known, sorted(known))

    def _all_words(self, name: str) -> set[str]:
        """All words in a column, whatever the other columns hold."""
        if name == "model":
            return {found.model for found in self.files.there}
        if name == "label":
            return {found.label for found in self.files.there}
        read = self.files.read(self.files.there, lambda _, whole: _words(whole.table([name]), name))
        return {word for _, words in read for word in words}


def published_models() -> pd.DataFrame:
    """The published models with a known name, a row each.

    A run has the same table of its own models, directories included: `load(run, table="models")`.
    Both join on `model`:
    `load(run).merge(pythia_traj.published_models(), on="model", suffixes=("", "_of_model"))`.

    Returns:
        columns `model` and those of pythia_traj.schema.MODELS.
    """
    records = [record.as_dict() for record in catalog().values()]
    frame = pd.DataFrame(records, columns=["model", *(column.name for column in schema.MODELS)])
    return frame.astype({c.name: _PANDAS[c.type] for c in schema.MODELS})


def _refuse_versions(footers: Mapping[Found, Footer]) -> None:
    versions = mixed_versions(footers)
    if versions:
        raise StoreError(
            f"{versions}: measure the older units again, choose by label=, model= or step=, or read"
            " them together with mixed=True"
        )


def _words(rows: pa.Table, name: str) -> set[str]:
    if name not in rows.column_names or not _holds_words(rows[name]):
        return set()
    found: set[str | None] = set()
    for chunk in rows[name].chunks:
        found |= set(chunk.unique().to_pylist())
    return {word for word in found if word is not None}


def _as_texts(rows: pa.Table, names: set[str]) -> pa.Table:
    """Words as texts, where other files of the table have texts: Arrow does not unify them."""
    for i, field in enumerate(rows.schema):
        if field.name in names and pa.types.is_dictionary(field.type):
            rows = rows.set_column(i, field.with_type(pa.string()), rows[i].cast(pa.string()))
    return rows


def _holds_words(column: pa.ChunkedArray) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def as_frame(rows: pa.Table, partitions: Sequence[str]) -> pd.DataFrame:
    """Rows with pandas' types, as `load` gives them.

    Args:
        rows: with the partitions as columns.
        partitions: their names.
    """
    frame: pd.DataFrame = rows.to_pandas(types_mapper=_NULLABLE.get)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            # The files' dictionaries also hold words of rows that were left out.
            frame[name] = frame[name].cat.remove_unused_categories()
    for name in partitions:
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame
