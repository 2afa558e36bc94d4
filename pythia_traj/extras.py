"""Packages that come with an extra of this one, and what is said where they are missing."""

from importlib.util import find_spec

from pythia_traj.errors import MissingExtraError


def require(what: str, extra: str, *packages: str) -> None:
    """Refuses to begin what needs packages that are not installed.

    Args:
        what: that needs them, as the message begins.
        extra: that brings them.
        *packages: their names when imported.

    Raises:
        MissingExtraError: one is missing; the text has the command that installs it.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {' and '.join(missing)}: pip install 'pythia-traj[{extra}]'"
        )
