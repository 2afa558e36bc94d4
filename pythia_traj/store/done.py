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


def is_done(
    run: Run, model: str, label: str, step: int, *, digest: str, source: dict[str, Any], cached: bool = False
) -> bool:
    """Whether a unit is there and was made of the same: reads one footer, opens no connection."""
    footer = read_footer(run.unit_path(model, label, step, cached=cached))
    return footer is not None and footer.get("digest") == digest and footer.get("source") == source
