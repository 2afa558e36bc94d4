"""A repository whose branches are steps, as a published model."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pythia_traj.checkpoint import Room
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.hub.branch import HubCheckpoint
from pythia_traj.hub.comparison import Comparison
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.repository import Repository
from pythia_traj.hub.staging import HubStaging, InMemory
from pythia_traj.suites.catalog import ModelRecord
from pythia_traj.suites.files import is_weights

_STEP_BRANCH = re.compile(r"step(\d+)")


class HubModel:
    """A model of the Hub.

    Attributes:
        repository: where it is published.
        record: what is known of it beforehand, for a model of a known suite.
        steps: those it was published at; for a known model, without asking.
    """

    def __init__(self, repo: str, *, record: ModelRecord | None, refresh: bool) -> None:
        self.record, self._refresh = record, refresh
        self.repository = Repository(repo, refresh=refresh)
        self._opens_defects = False
        self._checkpoints: dict[int, HubCheckpoint] = {}

    @classmethod
    def of(cls, record: ModelRecord, *, refresh: bool = False) -> "HubModel":
        """A model of a known suite; asks nothing."""
        return cls(record.repo, record=record, refresh=refresh)

    @classmethod
    def open(cls, repo: str, *, refresh: bool = False) -> "HubModel":
        """Any repository with branches `step<N>`.

        Raises:
            HubError: it cannot be asked for its branches.
            SuiteError: it has none of that name.
        """
        model = cls(repo, record=None, refresh=refresh)
        if not model.steps:
            raise SuiteError(
                f"{repo} has no branches step0, step512, ...: its checkpoints cannot be told apart by step"
            )
        return model

    @property
    def repo(self) -> str:
        """`org/name`."""
        return self.repository.name

    @cached_property
    def comparison(self) -> Comparison:
        """Whose its steps' files are."""
        return Comparison(self.repository, {self.revision(step): step for step in self.steps})

    @property
    def suite(self) -> str:
        """The known suite, else the organisation."""
        return self.record.suite if self.record else self.repo.partition("/")[0]

    @property
    def model(self) -> str:
        """Its name in results."""
        name = self.record.name if self.record else self.repo.rpartition("/")[2]
        # Readers guess the type of a partition from its text: a name of digits alone would become a number.
        return name if re.search(r"[A-Za-z]", name) else f"model-{name}"

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps it was published at, ascending."""
        if self.record:
            return self.record.steps
        matches = map(_STEP_BRANCH.fullmatch, self.repository.inventory.branches())
        return tuple(sorted(int(match[1]) for match in matches if match))

    @property
    def tokens_per_step(self) -> int | None:
        """Known for models of known suites."""
        return self.record.tokens_per_step if self.record else None

    def revision(self, step: int) -> str:
        """The branch of a step."""
        return f"step{step}"

    def learning_rate(self, step: int) -> float | None:
        """Known for models of known suites."""
        return self.record.learning_rate(step) if self.record else None

    def facts(self) -> dict[str, Any]:
        """What the suite says of it, as columns of schema.MODELS."""
        return {"repo": self.repo, **(self.record.facts() if self.record else {})}

    def expect(self, steps: Sequence[int], *, defects: bool = False) -> None:
        """The steps whose files are compared with each other; asks nothing yet."""
        self.comparison.expect(steps)
        self._opens_defects = defects
        self._checkpoints.clear()

    def source(self, step: int) -> dict[str, Any]:
        """The commit, and the digests of the files that a measurement rests on."""
        return self.checkpoint(step).source()

    def is_current(self, step: int, recorded: Mapping[str, Any]) -> bool:
        """A recorded commit is trusted; only a refresh asks whether the branch has moved.

        What was measured on files that are known by now to be another step's is not current, unless it was measured in spite of that.
        """
        if recorded.get("kind") != "hub" or recorded.get("repo") != self.repo:
            return False
        if self._refresh and self.repository.inventory.branches().get(self.revision(step)) != recorded.get("commit"):
            return False
        if recorded.get("defect") or recorded.get("weights_commit"):
            return True
        blobs = [blob for path, _, blob in recorded.get("files", ()) if is_weights(path)]
        return not self.comparison.knows_as_foreign(step, blobs)

    def checkpoint(self, step: int) -> "HubCheckpoint":
        """The checkpoint of a published step; nothing is asked before something of it is."""
        if step not in self._checkpoints:
            tokens = None if self.tokens_per_step is None else step * self.tokens_per_step
            self._checkpoints[step] = HubCheckpoint(
                self.repository,
                self.comparison,
                suite=self.suite,
                model=self.model,
                step=step,
                tokens=tokens,
                revision=self.revision(step),
                opens_defects=self._opens_defects,
            )
        return self._checkpoints[step]

    def staging(self, room: Room, steps: Sequence[int]) -> HubStaging:
        """Memory, or within a disk budget if there is one.

        Raises:
            ConfigError: the budget is smaller than a checkpoint, or than all of them where they are to be kept.
        """
        self.repository.client.stopped.clear()
        size = self._weight_bytes(steps)
        if room.disk_budget is None and not room.keep:
            return InMemory.within(room, checkpoint=size, stopped=self.repository.client.stopped)
        return OnDisk.within(room, checkpoint=size, total=size * len(steps), stopped=self.repository.client.stopped)

    def _weight_bytes(self, steps: Sequence[int]) -> int:
        """Bytes of the weights of one checkpoint: those of one model are alike, so the first that has any tells."""
        for step in steps:
            try:
                return sum(file.size for file in self.checkpoint(step).weights())
            except CheckpointError:
                continue
        return 0
