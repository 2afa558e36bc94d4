"""A run -> its report: reads the rows and facts about them, and writes the page."""

from pathlib import Path

from pythia_traj.errors import StoreError
from pythia_traj.reports.contents import page_of
from pythia_traj.reports.report import rendered, write_report
from pythia_traj.store.read import read_run
from pythia_traj.store.writing import writing


def report_run(run: str | Path, path: str | Path) -> tuple[str, ...]:
    """Draws a run as one self-contained HTML file.

    Args:
        run: the run's directory.
        path: the file to write; an existing one is replaced.

    Returns:
        what was left out, or cannot be compared; the page says so too.

    Raises:
        StoreError: it is not a run, or the file cannot be written.
    """
    directory, target = Path(run), Path(path)
    found = read_run(directory, controls=True, mixed=True)
    page = page_of(found.frame, title=directory.resolve().name, notes=found.notes)
    if target.is_dir():
        raise StoreError(
            f"{target} is a directory: give the file to write, such as {target / 'report.html'}"
        )
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_report(rendered(page), target)
    return found.notes
