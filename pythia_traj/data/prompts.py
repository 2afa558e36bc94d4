"""The prompts of a task as token batches, for the model in use."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pythia_traj.data import documents
from pythia_traj.data import tasks as folder_of_tasks
from pythia_traj.data.containers import is_table
from pythia_traj.data.tasks import own
from pythia_traj.data.tasks.prompt import Dropped, TaskBatch
from pythia_traj.data.tasks.task import Asked, Task, as_batches
from pythia_traj.errors import DataError, nearest
from pythia_traj.experiment import AtLeastTwo, Count, Data, Vocabulary
from pythia_traj.folder import defined_in

log = logging.getLogger(__name__)


@cache
def tasks() -> dict[str, Task]:
    """The tasks by name; anything else is the path of a user's file."""
    return {task.name: task for task in defined_in(folder_of_tasks, "TASK", Task)}


@dataclass(frozen=True)
class TaskPrompts(Data["BoundTaskPrompts"]):
    """Prompts of a task that the model's tokenizer allows.

    Attributes:
        task: ioi, ioi_abc, greater_than, agreement, agreement_attractor, pronoun, repeats, or a
            .jsonl or .parquet file of your own.
        n: prompts, all of them distinct; as many as there are, but at most 100, if not given.
        bos: whether BOS is prepended.
    """

    identified: ClassVar = ("task",)

    task: str = "ioi"
    n: Count | None = None
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The task, or the content of a file, and the seed of the draw."""
        if self.task in tasks():
            return {"source": f"task:{self.task}", "version": 2, "seed": seed}
        return {**documents.identify(str(_file(self.task))), "version": 2, "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundTaskPrompts":
        """Draws the prompts, or reads the file.

        Raises:
            DataError: the task is unknown, none of its items can be used with this model, or fewer
                than n.
        """
        return BoundTaskPrompts(self, vocabulary, seed=seed)


@dataclass(frozen=True)
class HalvedTaskPrompts(TaskPrompts):
    """Prompts of a task, one half to choose something on, the other to measure it on.

    Attributes:
        n: prompts of both halves, all of them distinct; as many as there are, but at most 100, if
            not given.
    """

    n: AtLeastTwo | None = None


class BoundTaskPrompts:
    """The prompts, as token batches.

    Attributes:
        parameters: what was asked for.
        metric: what the task is measured by: `logit_diff`, `prob_diff` or `nll`.
        batches: the items, those of one length together.
        dropped: how many were not used, by reason.
        groups: the clean prompts by batch, as all data has them: int64 [item, pos].
        facts: how many items there are, and how many were dropped, for the record.
    """

    def __init__(self, parameters: TaskPrompts, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters, task = parameters, parameters.task
        self.metric = tasks()[task].metric if task in tasks() else "logit_diff"
        self.batches: list[TaskBatch]
        self.dropped: Dropped
        self.batches, self.dropped = _batches(vocabulary, seed, parameters)
        if not self.batches:
            reasons = f"all were dropped, {self.dropped}" if self.dropped else "there were none"
            raise DataError(f"task {task} has no items for this model's tokenizer: {reasons}")
        if parameters.n is not None and self.n < parameters.n:
            raise DataError(
                f"task {task} has {self.n} distinct prompts for this model's tokenizer,"
                f" {parameters.n} were asked for: set n to at most {self.n}, or leave it out"
            )
        if self.dropped:
            log.warning(
                "task %s: %d prompts are not used: %s", task, self.dropped.total(), self.dropped
            )
        self.facts = {"items": self.n, "dropped": dict(self.dropped)}
        self.groups = {f"{task}/{i}": batch.clean for i, batch in enumerate(self.batches)}

    @property
    def n(self) -> int:
        """How many items there are."""
        return sum(len(batch.clean) for batch in self.batches)


def _batches(
    vocabulary: Vocabulary, seed: int, asked: TaskPrompts
) -> tuple[list[TaskBatch], Dropped]:
    task = asked.task
    how = Asked(task, seed, asked.n, asked.bos)
    if task in tasks():
        return tasks()[task].draw(vocabulary, how)
    # The stream of a file's null has one name, wherever the file lies.
    return as_batches(
        own.prompts(_file(task), vocabulary.d_vocab), vocabulary, how._replace(name="own")
    )


def _file(task: str) -> Path:
    path = Path(task)
    if not is_table(path):
        raise DataError(
            f"unknown task {task!r}: {nearest(task, tasks())} (or a .jsonl or .parquet file of"
            " your own)"
        )
    if not path.is_file():
        raise DataError(
            f"{task} is not a file: give one of the tasks {', '.join(tasks())}, or a file"
        )
    return path
