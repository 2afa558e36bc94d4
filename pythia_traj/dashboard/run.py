"""A run -> its report: reads the rows and what is known of them, and writes the page."""

from pathlib import Path

import pandas as pd

from pythia_traj.dashboard.report import report, write_report
from pythia_traj.errors import StoreError
from pythia_traj.store.layout import Run, writing
from pythia_traj.store.read import load
from pythia_traj.store.unit import read_footer


def report_run(run: str | Path, path: str | Path) -> None:
    """Draws a run as one self-contained HTML file.

    Args:
        run: the run's directory.
        path: the file to write; one that is there is replaced.

    Raises:
        StoreError: it is no run, or the file cannot be written.
    """
    directory, target = Path(run), Path(path)
    rows = load(directory)
    page = report(rows, title=f"pythia-traj: {directory.resolve().name}", facts=_facts(Run.open(directory), rows))
    if target.is_dir():
        raise StoreError(f"{target} is a directory: give the file to write, such as {target / 'report.html'}")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_report(page, target)


def _facts(run: Run, rows: pd.DataFrame) -> dict[str, str]:
    """What a reader wants to know of the numbers before looking at them."""
    if rows.empty:
        return {}
    steps = sorted(rows.step.unique())
    footer = read_footer(next(run.metrics.rglob("*.parquet"))) or {}
    versions = ", ".join(f"{name} {version}" for name, version in footer.get("versions", {}).items())
    made_of = footer.get("made_of", {})
    return {
        "Models": ", ".join(map(str, rows.model.cat.categories)),
        "Steps": f"{len(steps)}, from {steps[0]} to {steps[-1]}",
        "Experiments": ", ".join(map(str, rows.experiment.cat.categories)),
        "Rows": f"{len(rows):,}",
        "Precision": f"{made_of.get('dtype', 'unknown')} on {footer.get('name', 'unknown')}",
        "Versions": versions,
    }
