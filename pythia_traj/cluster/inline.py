"""`inline`: the request is done in this process, as `sweep` does it."""

from pythia_traj.cluster.executor import Outcome, Submission, refuse_sharing
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError
from pythia_traj.standins import check_installed
from pythia_traj.sweeps.record import Observer
from pythia_traj.sweeps.worker import sweep


class Inline:
    """One worker: this process. Breakpoints and tracebacks are at hand."""

    name = "inline"

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """One.

        Raises:
            ConfigError: more are asked for.
            DeviceError: what measures is not installed.
        """
        check_installed()
        refuse_sharing(self.name, per_gpu)
        if jobs not in (None, 1):
            raise ConfigError(
                f"--jobs {jobs}: inline is this process alone: use --executor local, or leave out"
                " --jobs"
            )
        return 1

    def preview(self, config: SweepConfig, request: str, jobs: int) -> None:
        """None: it writes no script."""

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Does all of it."""
        return Outcome(sweep(submission.config, observer=observer))
