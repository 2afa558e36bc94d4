"""`script:*`: a job script is written into the run, and submitted by the user."""

from dataclasses import dataclass

from pythia_traj.cluster.executor import (
    Handed,
    Outcome,
    Submission,
    refuse_sharing,
    worker_words,
)
from pythia_traj.cluster.scripts import Script, script
from pythia_traj.config import SweepConfig
from pythia_traj.store.layout import Run
from pythia_traj.store.writing import writing
from pythia_traj.sweeps.record import Observer, SweepResult


@dataclass(frozen=True)
class Written:
    """Writes the script of a scheduler that we do not talk to.

    Attributes:
        kind: of `scripts.KINDS`.
    """

    kind: str

    @property
    def name(self) -> str:
        """`script:pbs`."""
        return f"script:{self.kind}"

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """As many as are asked for; one by default.

        Raises:
            ConfigError: the scheduler cannot be asked for what `cluster` says, or lacks something.
        """
        refuse_sharing(self.name, per_gpu)
        count = 1 if jobs is None else jobs
        # What cannot be written is said before the request is recorded.
        self._script(config, "", count)
        return count

    def preview(self, config: SweepConfig, request: str, jobs: int) -> str:
        """The script."""
        return self._script(config, request, jobs).text

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Writes the script; submits nothing."""
        observer.planned(submission.plan)
        run = Run.open(submission.config.out)
        made = self._script(submission.config, submission.request, submission.jobs)
        path = run.path.absolute() / made.file
        with writing(run.path), run.replacing(path) as temporary:
            temporary.write_text(made.text, encoding="utf-8")
        plan = submission.plan
        result = SweepResult(run.path, skipped=list(plan.done), warnings=list(plan.warnings))
        return Outcome(
            result, left=plan.todo, handed=Handed(path, made.submit, tasks=submission.jobs)
        )

    def _script(self, config: SweepConfig, request: str, jobs: int) -> Script:
        command = [
            "pythia-traj",
            *worker_words(config, request),
            *("--shards", str(jobs)),
        ]
        directory = config.out.absolute()
        return script(self.kind, command, jobs, directory.name, config.cluster, directory)
