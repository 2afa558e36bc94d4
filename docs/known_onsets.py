"""The tables of onsets.md: what each method says of curves whose onset is known.

They are made from benchmarks/onset.json and benchmarks/onset_claims.json, which the programs of
those names print.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markup import table

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

GRIDS = ("all", "log:18")

Row = Mapping[str, Any]


def of_default() -> str:
    """Coverage and width of the default, by kind of curve."""
    rows = []
    for kind, by_grid in _by_kind("half").items():
        cells: list[object] = []
        for grid in GRIDS:
            cells += [_share(by_grid[grid]["held"]), f"{by_grid[grid]['width']:g}"]
        rows.append((kind, *cells, _said(by_grid[grid] for grid in GRIDS)))
    return table(("curves", "all 154", "width", "log:18", "width", "said, all and log:18"), rows)


def of_thresholds() -> str:
    """Thresholds that are reached, never reached, and passed at the start."""
    columns = []
    for share, status in (("reached", None), ("never", "never"), ("present", "present")):
        found = _by_kind(f"threshold:{share}")
        for grid in GRIDS:
            columns.append(
                {
                    kind: _share(
                        by_grid[grid]["held"]
                        if status is None
                        else by_grid[grid]["said"].get(status, 0) / by_grid[grid]["curves"]
                    )
                    for kind, by_grid in found.items()
                }
            )
    rows = [(kind, *(column[kind] for column in columns)) for kind in columns[0]]
    heads = [f"{what}, {grid}" for what in ("held", "never", "present") for grid in GRIDS]
    return table(("curves", *heads), rows)


def of_methods() -> str:
    """Coverage of every method on both grids, by kind; of flat curves how often one is dated."""
    results = _results()
    methods = list(dict.fromkeys(row["method"] for row in results))
    methods = [one for one in methods if not one.startswith("threshold")]
    cells = {(row["kind"], row["method"], row["grid"]): row for row in results}
    rows = []
    for kind in dict.fromkeys(row["kind"] for row in results):
        by_method = [[cells[kind, method, grid] for grid in GRIDS] for method in methods]
        rows.append((kind, *(" / ".join(map(_held_or_dated, pair)) for pair in by_method)))
    return table(("curves", *(f"`{method}`" for method in methods)), rows)


def of_orders() -> str:
    """What is said of the order of two onsets that are so many octaves apart."""
    rows = [
        (
            row["grid"],
            f"{row['octaves']:g}",
            *(_share(row[name]) for name in ("right", "wrong")),
            *(_share(row["said"].get(name, 0.0)) for name in ("tied", "not told apart")),
        )
        for row in _read("onset_claims")["orders"]
    ]
    return table(("steps", "octaves", "right", "wrong", "tied", "not told apart"), rows)


def of_heads() -> str:
    """How many heads are listed that do not rise, and heights of heads chosen as highest."""
    rows = _read("onset_claims")["heads"]
    return table(
        ("", *(row["grid"] for row in rows)),
        [
            (name.replace("_", " "), *(row[name] for row in rows))
            for name in rows[0]
            if name != "grid"
        ],
    )


def _held_or_dated(row: Row) -> str:
    if row["held"] is not None:
        return f"{row['held']:.2f}"
    if not row["kind"].startswith("flat"):
        return "no date"
    return f"dated {row['said'].get('onset', 0) / row['curves']:.2f}"


def _said(rows: Iterable[Row]) -> str:
    return " / ".join(
        ", ".join(f"{status} {count / row['curves']:.3f}" for status, count in row["said"].items())
        for row in rows
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _by_kind(method: str) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in _results():
        if row["method"] == method:
            found.setdefault(row["kind"], {})[row["grid"]] = row
    return found


def _results() -> list[Row]:
    rows: list[Row] = _read("onset")
    return rows


def _read(name: str) -> Any:
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))
