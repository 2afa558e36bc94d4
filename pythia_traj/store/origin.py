"""Which published model the rows under a model's name belong to, as a run records it."""

from pythia_traj import schema
from pythia_traj.store.done import list_units, read_footer
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import DamagedError, read_parquet
from pythia_traj.store.records import Footer


def row_footer(run: Run, model: str) -> Footer | None:
    """The provenance of a model's row; None where it is missing or damaged."""
    try:
        return read_parquet(run.model_path(model), schema.MODELS).footer
    except (FileNotFoundError, DamagedError):
        return None


def recorded_origin(run: Run, model: str) -> str | None:
    """Where a model was published, by its row or else by one of its units; None if neither says."""
    of_row = row_footer(run, model)
    if of_row is not None and of_row.published_at is not None:
        return of_row.published_at
    footers = (read_footer(run, found) for found in list_units(run) if found.model == model)
    return next(
        (footer.published_at for footer in footers if footer is not None and footer.published_at),
        None,
    )
