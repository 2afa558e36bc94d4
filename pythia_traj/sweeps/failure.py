"""What an exception leaves behind, as text.

It is its message and, where it is not the project's own, its traceback. An exception itself would
keep the frames it went through, and with them the activations of a batch, until the step's end.
"""

import traceback
from dataclasses import dataclass

from pythia_traj.errors import PythiaTrajError


@dataclass(frozen=True)
class Failure:
    """Why units failed.

    Attributes:
        message: for a person.
        trace: for the log; None where the message says it all.
    """

    message: str
    trace: str | None = None

    @classmethod
    def of(cls, error: Exception, *, doing: str = "") -> "Failure":
        """What an exception says; `doing` stands in front of what is not the project's own."""
        if isinstance(error, PythiaTrajError):
            return cls(str(error))
        return cls(
            f"{doing}{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        )
