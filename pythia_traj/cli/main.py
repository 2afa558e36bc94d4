"""The entry point: runs a command and turns an error into one line and an exit status."""

import io
import logging
import signal
import sys
import warnings
from types import FrameType
from typing import Any, NoReturn

import typer

from pythia_traj.cli import (
    cancel,
    compare,
    convert,
    dashboard,
    demo,
    describe,
    export,
    fetch,
    listing,
    onset,
    plot,
    publish,
    report,
    schema,
    status,
    submit,
    sweep,
    upkeep,
    worker,
)
from pythia_traj.cli.output import say
from pythia_traj.errors import Interrupted, PythiaTrajError
from pythia_traj.hub.environment import check_importable
from pythia_traj.printable import one_line

app = typer.Typer(
    name="pythia-traj",
    help="Measure how language models change during training: every checkpoint, as Parquet.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    demo,
    sweep,
    submit,
    worker,
    status,
    cancel,
    describe,
    listing,
    fetch,
    onset,
    compare,
    plot,
    report,
    dashboard,
    export,
    publish,
    convert,
    upkeep,
    schema,
):
    module.add_to(app)

_UsageError: Any = typer.BadParameter.__mro__[2]
"""The base class of command line errors; Typer names only its children."""


class _Said(logging.Handler):
    """Prints warnings of the library that have no other handler, like all other output."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"warning: {one_line(record.getMessage())}", err=True)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits.

    The status: 0 all done, 1 the request was wrong, 2 usage, 3 some units failed, 128 + n stopped
    by signal n.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    logging.lastResort = _Said(logging.WARNING)
    warnings.formatwarning = _format_warning
    try:
        check_importable()
        # Not in standalone mode, which prints the user's input unescaped.
        status = app(args=arguments, standalone_mode=False)
    except Interrupted as error:
        say(str(error), err=True)
        sys.exit(128 + error.signum)
    except PythiaTrajError as error:
        # One line, even if a library's message has several.
        say(f"error: {one_line(str(error))}", err=True)
        sys.exit(1)
    except OSError as error:
        # A path that cannot be read or written, wherever it occurs; any other uncaught error is a
        # bug.
        if error.filename is None:
            raise
        say(f"error: cannot use {one_line(str(error.filename))}: {error.strerror}", err=True)
        sys.exit(1)
    except MemoryError as error:
        say(
            f"error: not enough memory{one_line(f': {error}') if str(error) else ''}:"
            " ask for less at once",
            err=True,
        )
        sys.exit(1)
    except _UsageError as error:
        text = io.StringIO()
        error.show(file=text)
        say(text.getvalue().rstrip(), err=True)
        sys.exit(error.exit_code)
    sys.exit(status or 0)


def _format_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"warning: {one_line(str(message))}\n"


def _stop(signum: int, _frame: FrameType | None) -> None:
    raise Interrupted(signum)
