"""The arrays of tasks that a run has submitted, each with a folder of its own.

    RUN/jobs/20261129-101530-3f9c2a-0/array.json            what it is
    RUN/jobs/20261129-101530-3f9c2a-0/17_submission.sh      its script
    RUN/jobs/20261129-101530-3f9c2a-0/17_2_0_log.out        what task 2 of job 17 has printed
    RUN/jobs/20261129-101530-3f9c2a-0/17_2_0_submitted.pkl  the task, as submitit keeps it

The folder is there before Slurm knows of the job, and its name is the job's comment: so no job is
lost when the submission is interrupted.
"""

import re
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pythia_traj.cluster.scripts import plain_name
from pythia_traj.errors import StoreError
from pythia_traj.outside import checked, read_json
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array, as_json
from pythia_traj.store.writing import writing

_FOLDER = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}-[0-9]{1,6}")

_LOG = re.compile(r"(?P<job>[0-9]{1,12})(?:_(?P<index>[0-9]{1,9}))?_0_log\.out")


@dataclass(frozen=True)
class Submitted:
    """One array.

    Attributes:
        folder: where its files are.
        array: what it is.
    """

    folder: Path
    array: Array

    @property
    def logs(self) -> dict[tuple[str, int], Path]:
        """The logs of its tasks that have begun, by the job's id and the task's index."""
        found = {}
        for path in sorted(self.folder.glob("*_log.out")):
            match = _LOG.fullmatch(path.name)
            if match is not None:
                found[match["job"], int(match["index"] or 0)] = path
        return found

    def know(self, job: str, run: Run) -> "Submitted":
        """Keeps the id that the scheduler has given it.

        Raises:
            StoreError: the run cannot be written.
        """
        known = Submitted(self.folder, self.array.model_copy(update={"job": job}))
        known.write(run)
        return known

    def write(self, run: Run) -> None:
        """Says in its folder what it is.

        Raises:
            StoreError: the run cannot be written.
        """
        path = self.folder / "array.json"
        with writing(run.path), run.replacing(path) as temporary:
            text = as_json(self.array.model_dump(), indent=1)
            temporary.write_text(f"{text}\n", encoding="utf-8")

    def remove(self) -> None:
        """Removes its folder: it was not submitted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()


def new_submission() -> str:
    """A name for what one command submits; what is submitted a second later sorts behind it."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def submission_of(folder: str) -> str:
    """The name of the submission that an array's folder belongs to."""
    return folder.rpartition("-")[0]


def read(run: Run) -> dict[str, Submitted]:
    """The arrays of a run, by the names of their folders, oldest first; without damaged ones."""
    found = {}
    for folder in sorted(run.jobs.glob("*")):
        if _FOLDER.fullmatch(folder.name):
            path = folder / "array.json"
            with suppress(StoreError, OSError):
                document = read_json(path, error=StoreError)
                array = checked(Array, document, path, error=StoreError)
                found[folder.name] = Submitted(folder, array)
    return found


def job_name(run: Run) -> str:
    """The name of all jobs of a run: its directory's, and a digest that no other run has."""
    path = run.path.resolve()
    return f"{plain_name(path.name)}-{sha256(str(path).encode()).hexdigest()[:10]}"
