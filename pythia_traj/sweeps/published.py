"""A model's name -> its published checkpoints."""

from pathlib import Path

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.errors import SuiteError
from pythia_traj.suites.local import LocalModel

HUB = "hub"


def open_model(name: str, source: str = HUB) -> PublishedModel:
    """Finds a model: a directory of checkpoints, given by its path or as a name below `source`.

    Args:
        name: a path, or a name.
        source: `hub`, or the directory that holds the models' directories (or is the model's own).

    Raises:
        SuiteError: there is no such directory, or it holds no checkpoints.
    """
    if source != HUB:
        below = Path(source) / name
        return LocalModel.open(below if below.is_dir() else Path(source))
    if Path(name).is_dir():
        return LocalModel.open(Path(name))
    raise SuiteError(
        f"there is no directory {name!r}: this version reads checkpoints from directories (step0/, step512/, ... or checkpoint-500/, ...)"
    )
