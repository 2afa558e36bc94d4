"""How the learning rates of a run's models went, as far as that is recorded or published."""

from pathlib import Path

import pandas as pd

from pythia_traj.suites.catalog import at_repository
from pythia_traj.suites.local import recorded_rate
from pythia_traj.suites.schedules import Schedule

_HUB, _DIRECTORY = "hub:", "directory:"


def schedules_of(models: pd.DataFrame) -> dict[str, Schedule]:
    """The schedules of some models, by their names; without those that are not known.

    A model is known by where it is published, never by its name: a directory may be called
    `pythia-70m` and hold something else. No connection is opened. Of a directory, `suite.json` is
    read where it still lies there.

    Args:
        models: a row a model, with `model` and with `origin` as `PublishedModel.origin` says it;
            `pythia_traj.reports.reading.read_runs(runs).models` has both.
    """
    found = {}
    for model, origin in zip(models["model"], models["origin"], strict=True):
        schedule = _published(origin) if isinstance(origin, str) else None
        if schedule is not None:
            found[str(model)] = schedule
    return found


def _published(origin: str) -> Schedule | None:
    if origin.startswith(_HUB):
        record = at_repository(origin.removeprefix(_HUB))
        return record.schedule() if record else None
    if origin.startswith(_DIRECTORY):
        rate = recorded_rate(Path(origin.removeprefix(_DIRECTORY)))
        return rate.schedule() if rate else None
    return None
