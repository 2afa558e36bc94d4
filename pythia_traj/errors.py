"""What can go wrong, as one base class and its few children.

Every error a user can cause is a `PythiaTrajError` whose text says what was given, what is allowed
and what to do next. The command line prints that text as one line and exits 1; anything else that
escapes is a defect and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class PythiaTrajError(Exception):
    """Base of all errors that the request or the machine causes, not the program."""


class StepsError(PythiaTrajError):
    """A step expression is malformed, or names steps that were not published."""


class ConfigError(PythiaTrajError):
    """A sweep's request is wrong: unknown experiment, misspelt parameter, value of a wrong type.

    Attributes:
        key: the names that lead to the setting that is wrong, `("experiments", "loss", "n")`, and
            the number of an entry in a list; empty where it is not one setting.
    """

    def __init__(self, message: str, key: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


class SuiteError(PythiaTrajError):
    """A model or a directory of checkpoints is not what it was said to be."""


class CheckpointError(PythiaTrajError):
    """One checkpoint's files are missing, truncated or not of the shape its config promises."""


class DefectError(CheckpointError):
    """The files published for a step are known not to be that step's own."""


class HubError(PythiaTrajError):
    """The Hub cannot be asked: it does not answer, or has no such repository for this token."""


class ModelError(PythiaTrajError):
    """A user's loop changed the model: the next step's weights do not fit it any more."""


class DeviceError(PythiaTrajError):
    """The device does not exist, the model cannot fit it, or torch is not installed."""


class DataError(PythiaTrajError):
    """The tokens an experiment runs on cannot be made from what was given."""


class StoreError(PythiaTrajError):
    """The run's directory is not a run, or cannot be written."""


class AnalysisError(PythiaTrajError):
    """Rows, items or options cannot be analysed as asked."""


class FigureError(PythiaTrajError):
    """A figure cannot be written as asked, or what draws it is not installed."""


class MissingExtraError(PythiaTrajError):
    """What was asked for needs packages of an extra that is not installed."""


class SchedulerError(PythiaTrajError):
    """A scheduler is not here, does not answer, or refuses a job."""


class Interrupted(BaseException):
    """The sweep was asked to stop (Ctrl-C, SIGTERM); what was finished before is stored.

    Not an `Exception`: an experiment or a library that catches all of those would take it for a
    failure of its own.

    Attributes:
        signum: the signal that asked; the exit status is 128 + signum.
    """

    def __init__(self, signum: int) -> None:
        super().__init__("stopped: finished units are stored, the same command goes on from here")
        self.signum = signum


_LISTED = 12
"""How many known names a message lists before it breaks off."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for an error message: the known names close to `name`.

    Where none is close, it lists the first of all known names.

    >>> nearest("indcution", ["induction", "loss"])
    'did you mean induction?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    more = ", ..." if len(names) > _LISTED else ""
    return f"known: {', '.join(names[:_LISTED])}{more}" if names else "none is known"
