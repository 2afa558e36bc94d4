"""`sweep --follow`: what goes with it, and how following a training run ended."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import SweepProgress, print_json, progress_bar, say
from pythia_traj.cli.result import as_document, exit_status, summarise
from pythia_traj.errors import ConfigError

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig
    from pythia_traj.sweeps.following import Followed

Follow = Annotated[
    str | None,
    typer.Option(
        metavar="DIRECTORY",
        help="Measure the checkpoints that a training writes here, each once it is whole; until the"
        " training ends.",
    ),
]
Until = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="STEP",
        help="With --follow: the training ends with this step, whatever trainer_state.json says.",
    ),
]


def check_follow(
    follow: str | None,
    until: int | None,
    *,
    refine: str | None,
    record_only: bool,
    dry_run: bool,
) -> None:
    """Refuses options that do not go together.

    Raises:
        ConfigError: two of them are given.
    """
    if follow is None:
        if until is not None:
            raise ConfigError("--until belongs to --follow: give --follow DIRECTORY too")
        return
    reasons = {
        "--refine": (refine is not None, "chooses among all steps, which are not there yet"),
        "--record-only": (record_only, "records steps for workers, which are not known yet"),
        "--dry-run": (dry_run, "shows steps that are there: give --model in place of --follow"),
    }
    for option, (is_given, why) in reasons.items():
        if is_given:
            raise ConfigError(f"--follow waits for checkpoints, and {option} {why}")


def run_follow(request: "SweepConfig", until: int | None, as_json: bool) -> None:
    """Follows, and prints how it ended; the exit status is that of a sweep."""
    from pythia_traj.sweeps.following import follow

    with progress_bar() as progress:
        followed = follow(request, until=until, observer=SweepProgress(progress))
    if as_json:
        print_json(_as_document(followed))
    else:
        summarise(followed.result)
        _say_removed(followed)
    if status := exit_status(followed.result):
        raise typer.Exit(status)


def _as_document(followed: "Followed") -> dict[str, Any]:
    return as_document(followed.result) | {
        "removed": {str(step): why for step, why in sorted(followed.removed.items())},
        "end": followed.end,
    }


def _say_removed(followed: "Followed") -> None:
    count = len(followed.removed)
    if count:
        what = "1 checkpoint was" if count == 1 else f"{count} checkpoints were"
        say(f"{what} removed before the measurement")
