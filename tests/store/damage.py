"""What disks, editors and other programs do to the files of a run: each kind of damage as a
function of the file.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pythia_traj import schema
from pythia_traj.store.parquet import FOOTER_KEY, arrow_schema, write_parquet

Damage = Callable[[Path], None]


def replaced_by(data: bytes) -> Damage:
    """The whole file is something else."""

    def damage(path: Path) -> None:
        path.write_bytes(data)

    return damage


def shortened_to(share: float) -> Damage:
    """The copying of it was interrupted."""

    def damage(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return damage


def flipped(at: float) -> Damage:
    """One bit has changed, so far into the file."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(len(data) * at)] ^= 16
        path.write_bytes(data)

    return damage


def flipped_in(text: bytes) -> Damage:
    """One bit has changed, right behind a text that stands in the file."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[data.index(text) + len(text)] ^= 1
        path.write_bytes(data)

    return damage


def overwritten(path: Path) -> None:
    """The pages hold other bytes; the footer is as it was."""
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little")
    end = len(data) - 8 - footer
    data[4:end] = os.urandom(end - 4)
    path.write_bytes(data)


def overwritten_without_checksum(path: Path) -> None:
    """The same, in a file that an older version wrote."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table, path, compression="zstd")
    overwritten(path)


def with_table(change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Another program wrote another table in its place, and kept the footer."""

    def damage(path: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        footer = json.loads(table.schema.metadata[FOOTER_KEY])
        changed = change(table).replace_schema_metadata({})
        write_parquet(path, changed, footer)

    return damage


def as_text(name: str) -> Callable[[pa.Table], pa.Table]:
    """A column of numbers holds words."""
    return lambda table: table.set_column(
        table.schema.get_field_index(name), name, pa.array(["many"] * len(table))
    )


def with_footer(text: bytes | None) -> Damage:
    """The provenance is another text, or there is none; checksum and rows are right."""

    def damage(path: Path) -> None:
        table = pq.read_table(path, partitioning=None).replace_schema_metadata(
            {} if text is None else {FOOTER_KEY: text}
        )
        pq.write_table(table, path, compression="zstd")

    return damage


def a_directory(path: Path) -> None:
    """Somebody's folder has its name."""
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def a_dangling_link(path: Path) -> None:
    """A link to a disk that is not mounted."""
    path.unlink()
    path.symlink_to("/nowhere/step.parquet")


def a_pipe(path: Path) -> None:
    """Whoever opens it waits."""
    path.unlink()
    os.mkfifo(path)


def sparse(size: int) -> Damage:
    """A file that says it is large and takes no room."""

    def damage(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return damage


def a_copy_of(name: str) -> Damage:
    """Another step's file has its name."""

    def damage(path: Path) -> None:
        shutil.copy(path.with_name(name), path)

    return damage


def a_claim_of_rows(path: Path) -> None:
    """Few bytes that are two million rows, as run lengths allow."""
    columns = arrow_schema(schema.METRICS)
    count = 2_000_000
    words, zeros = pa.array(["x"]), pa.repeat(pa.scalar(0, pa.int32()), count)
    arrays = []
    for field in columns:
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.DictionaryArray.from_arrays(zeros, words))
        else:
            arrays.append(pa.repeat(pa.scalar(1, field.type), count))
    table = pa.Table.from_arrays(arrays, schema=columns).replace_schema_metadata(
        {FOOTER_KEY: b"{}"}
    )
    pages = {"row_group_size": count, "data_page_size": 1 << 30, "max_rows_per_page": count}
    pq.write_table(table, path, compression="zstd", **pages)
