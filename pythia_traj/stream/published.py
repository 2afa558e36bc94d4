"""A model's name -> its published checkpoints."""

from pathlib import Path

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.errors import HubError, SuiteError
from pythia_traj.suites.catalog import check_repository, look_up
from pythia_traj.suites.local import LocalModel
from pythia_traj.suites.names import HUB, check_name, find_directory


def open_model(name: str, source: str = HUB, *, refresh: bool = False) -> PublishedModel:
    """Finds a model by its name, in a directory or on the Hub.

    It is a directory of checkpoints, a model of a known suite, or any repository of the Hub with
    step branches. A directory of checkpoints comes before a model of the same name. The Hub is
    asked only for the branches of a repository that belongs to no known suite.

    Args:
        name: a path, `NAME=PATH`, a name or an alias, or `org/name`.
        source: `hub`, or the directory that holds the models' directories (or is the model's own).
        refresh: whether the Hub is asked again for what is known already.

    Raises:
        SuiteError: the model or directory does not exist, it holds no checkpoints, or NAME cannot
            name a model.
        HubError: the Hub cannot be asked.
    """
    record, found = look_up(name), find_directory(name, source)
    if found is not None and found[0] is not None:
        return LocalModel.open(found[1], name=check_name(found[0]))
    if source != HUB:
        return LocalModel.open(Path(source) if found is None else found[1])
    if found is not None:
        try:
            return LocalModel.open(found[1])
        except SuiteError:
            if record is None:
                raise
    if record is not None:
        from pythia_traj.hub.model import HubModel

        return HubModel.of(record, refresh=refresh)
    return _open_repository(name, refresh=refresh)


def _open_repository(name: str, *, refresh: bool) -> PublishedModel:
    """Any repository of the Hub.

    A name that a repository cannot have is refused before the Hub is asked.
    """
    check_repository(name)
    from pythia_traj.hub.model import HubModel

    try:
        return HubModel.open(name, refresh=refresh)
    except HubError as error:
        raise HubError(f"{error} (and no such directory: {name!r})") from None
