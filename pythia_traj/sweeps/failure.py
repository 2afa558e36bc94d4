"""The text that is kept of an exception.

It is the message and, unless the exception is the project's own, the traceback. The exception
itself would keep its frames, and with them the activations of a batch, until the step's end.
"""

import traceback
from dataclasses import dataclass

from pythia_traj.errors import PythiaTrajError


@dataclass(frozen=True)
class Failure:
    """Why units failed.

    Attributes:
        message: for a person.
        trace: for the log; None where the message says everything.
    """

    message: str
    trace: str | None = None

    @classmethod
    def of(cls, error: Exception, *, doing: str = "") -> "Failure":
        """An exception's text; `doing` comes before one that is not the project's own."""
        if isinstance(error, PythiaTrajError):
            return cls(str(error))
        return cls(
            f"{doing}{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        )
