"""The entry point: runs a command and turns what went wrong into one line and an exit status."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from pythia_traj.cli import demo, fetch, listing, report, sweep
from pythia_traj.cli.output import say
from pythia_traj.errors import Interrupted, PythiaTrajError
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

for module in (demo, sweep, listing, fetch, report):
    module.add_to(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0 all done, 1 the request was wrong, 2 usage, 3 some units failed, 128 + n stopped by signal n."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        app(args=arguments)
    except Interrupted as error:
        say(str(error), err=True)
        sys.exit(128 + error.signum)
    except PythiaTrajError as error:
        # One line, whatever a library had to say in several.
        say(f"error: {one_line(str(error))}", err=True)
        sys.exit(1)
    except OSError as error:
        # A path that cannot be read or written, wherever it was met; anything else that escapes is a defect.
        if error.filename is None:
            raise
        say(f"error: cannot use {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    sys.exit(0)


def _stop(signum: int, _frame: FrameType | None) -> None:
    raise Interrupted(signum)
