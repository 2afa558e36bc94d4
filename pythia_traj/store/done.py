"""Which units of a run are there: by their names, and by what they were made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.store.layout import Run, step_of
from pythia_traj.store.unit import read_footer


@dataclass(frozen=True)
class Found:
    """A unit's file, by its name alone."""

    model: str
    label: str
    step: int
    path: Path


def list_units(run: Run, *, cached: bool = False) -> Iterator[Found]:
    """The units whose metrics files exist. Reads names only."""
    root = run.path / "cache" / "metrics" if cached else run.metrics
    for path in sorted(root.glob("model=*/experiment=*/step-*.parquet")):
        model = path.parent.parent.name.removeprefix("model=")
        label = path.parent.name.removeprefix("experiment=")
        yield Found(model, label, step_of(path), path)


def recorded_source(
    run: Run, model: str, label: str, step: int, *, digest: str, cached: bool = False
) -> dict[str, Any] | None:
    """The files that a unit was measured on, where it is there and has this digest; None where it has to be done.

    Reads one footer, opens no connection.
    """
    footer = read_footer(run.unit_path(model, label, step, cached=cached))
    if footer is None or footer.get("digest") != digest:
        return None
    source = footer.get("source")
    return source if isinstance(source, dict) else None
