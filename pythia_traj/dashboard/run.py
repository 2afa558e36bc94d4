"""A run -> its report: reads the rows and what is known of them, and writes the page."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pythia_traj.dashboard.report import report, write_report
from pythia_traj.errors import StoreError
from pythia_traj.store.read import Read, read_run
from pythia_traj.store.writing import writing


def report_run(run: str | Path, path: str | Path) -> tuple[str, ...]:
    """Draws a run as one self-contained HTML file.

    Args:
        run: the run's directory.
        path: the file to write; one that is there is replaced.

    Returns:
        what was left out, or cannot be compared; the page says so too.

    Raises:
        StoreError: it is no run, or the file cannot be written.
    """
    directory, target = Path(run), Path(path)
    found = read_run(directory, controls=True, mixed=True)
    page = report(
        found.frame, title=f"pythia-traj: {directory.resolve().name}", facts=_facts(found)
    )
    if target.is_dir():
        raise StoreError(
            f"{target} is a directory: give the file to write, such as {target / 'report.html'}"
        )
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_report(page, target)
    return found.notes


def _facts(found: Read) -> dict[str, str]:
    """What a reader wants to know of the numbers before looking at them."""
    rows, notes = found.frame, {f"Note {i}": note for i, note in enumerate(found.notes, 1)}
    if rows.empty:
        return notes
    steps = sorted(rows.step.unique())
    footer = next(iter(found.footers.values()))
    versions = ", ".join(f"{name} {version}" for name, version in footer.versions.items())
    return {
        "Models": ", ".join(map(str, rows.model.cat.categories)),
        "Steps": f"{len(steps)}, from {steps[0]} to {steps[-1]}",
        "Experiments": ", ".join(_experiments(rows)),
        "Rows": f"{len(rows):,}",
        "Precision": f"{footer.made_of.get('dtype', 'unknown')} on {footer.name or 'unknown'}",
        "Versions": versions,
        **notes,
    }


def _experiments(rows: pd.DataFrame) -> Iterator[str]:
    """The labels, each with its experiment where that is named otherwise."""
    named = rows[["label", "experiment"]].drop_duplicates().astype(str).sort_values("label")
    for label, experiment in named.itertuples(index=False):
        yield label if label == experiment else f"{label} ({experiment})"
