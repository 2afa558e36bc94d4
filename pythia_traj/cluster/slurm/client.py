"""Slurm's own commands: what they answer, or one line that says why they do not."""

import re
import shutil
import subprocess

from pythia_traj.errors import SchedulerError
from pythia_traj.printable import one_line

_WHO = re.compile(r"^[a-z_]+(?:: error:| error:|:) (?:fatal: )?")

_SECONDS = 30.0
"""A command that asks a controller which is gone tries for about 10 s."""


def require(command: str) -> None:
    """Checks that a command is there.

    Raises:
        SchedulerError: it is not.
    """
    if shutil.which(command) is None:
        raise SchedulerError(
            f"{command} is not on this machine: repeat this on a login node of the cluster"
        )


def ask(*command: str) -> str:
    """The output of a command.

    Raises:
        SchedulerError: it is not there, fails, or takes too long.
    """
    require(command[0])
    try:
        # Slurm's program, with words of ours and ids.
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {_SECONDS:.0f} s") from None
    if answer.returncode:
        raise SchedulerError(f"{command[0]} failed: {reason(answer.stderr)}")
    return answer.stdout


def reason(said: str) -> str:
    """Why a command failed, of all that it printed: the last thing that it says itself."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("Try ")]
    last = lines[-1] if lines else "it does not say why"
    # sbatch: error: Batch job submission failed: ...
    return _WHO.sub("", one_line(last)).rstrip(".")
