"""A repository whose branches are steps, as a published model."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pythia_traj.checkpoint import NOT_RECORDED, Room
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.hub.branch import HubCheckpoint
from pythia_traj.hub.comparison import Comparison
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.repository import Repository
from pythia_traj.hub.staging import HubStaging, InMemory
from pythia_traj.suites.catalog import ModelRecord
from pythia_traj.suites.files import CONFIG, is_weights
from pythia_traj.suites.names import in_results

_STEP_BRANCH = re.compile(r"step0*([0-9]{1,19})")
"""Leading zeros belong to the branch's name and not to the step's number.

Longer numbers are beyond the last step.
"""

_LAST_STEP = 2**63 - 1


class HubModel:
    """A model of the Hub.

    Attributes:
        repository: where it is published.
        record: what is known of it beforehand, for a model of a known suite.
        steps: those it was published at; for a known model this needs no request.
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
            HubError: its branches cannot be listed.
            SuiteError: it has no branch of that form, or two for one step.
        """
        model = cls(repo, record=None, refresh=refresh)
        if not model.steps:
            raise SuiteError(
                f"{repo} has no branches step0, step512, ...:"
                " its checkpoints cannot be told apart by step"
            )
        return model

    @property
    def repo(self) -> str:
        """`org/name`."""
        return self.repository.name

    @property
    def origin(self) -> str:
        """Which repository it is, whatever it is named."""
        return f"hub:{self.repo}"

    @property
    def compares_with_main(self) -> bool:
        """Whether `main` exists and has a config to compare with."""
        main = self.repository.main
        return main is not None and CONFIG in main[1]

    @cached_property
    def comparison(self) -> Comparison:
        """Which file belongs to which of its steps."""
        return Comparison(self.repository, {self.revision(step): step for step in self.steps})

    @property
    def suite(self) -> str:
        """The known suite, else the organisation."""
        return self.record.suite if self.record else self.repo.partition("/")[0]

    @property
    def model(self) -> str:
        """Its name in results."""
        return self.record.name if self.record else in_results(self.repo.rpartition("/")[2])

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps it was published at, ascending."""
        if self.record:
            return self.record.steps
        return tuple(sorted(self._revisions))

    @cached_property
    def _revisions(self) -> dict[int, str]:
        """The branch of each step: `step8`, or `step00008`.

        Raises:
            SuiteError: two branches of one step point to different commits.
        """
        branches, found = self.repository.inventory.branches(), dict[int, str]()
        for name in sorted(branches, key=len):
            match = _STEP_BRANCH.fullmatch(name)
            if match is None or int(match[1]) > _LAST_STEP:
                continue
            known = found.setdefault(int(match[1]), name)
            if branches[known] != branches[name]:
                raise SuiteError(
                    f"{self.repo} has two branches for step {int(match[1])}, {known} and {name},"
                    " which are not alike: it cannot be told which of them is the step"
                )
        return found

    @property
    def tokens_per_step(self) -> int | None:
        """Known for models of known suites."""
        return self.record.tokens_per_step if self.record else None

    def revision(self, step: int) -> str:
        """The branch of a step."""
        return f"step{step}" if self.record else self._revisions.get(step, f"step{step}")

    def learning_rate(self, step: int) -> float | None:
        """Known for models of known suites."""
        return self.record.learning_rate(step) if self.record else None

    def weight_bytes(self, step: int) -> int | None:
        """Known for models of known suites, whose parameters are float16 in the files."""
        return 2 * self.record.size.n_parameters if self.record else None

    def facts(self) -> dict[str, Any]:
        """The suite's facts about it, as columns of schema.MODELS."""
        return {"repo": self.repo, **(self.record.facts() if self.record else {})}

    def expect(self, steps: Sequence[int], *, defects: bool = False) -> None:
        """The steps whose files are compared with each other; asks nothing yet."""
        self.comparison.expect(steps)
        self._opens_defects = defects
        self._checkpoints.clear()

    def source(self, step: int) -> dict[str, Any]:
        """The commit, and the digests of the files that a measurement rests on."""
        return self.checkpoint(step).source()

    def what_changed(self, step: int, recorded: Mapping[str, Any]) -> str | None:
        """A recorded commit is trusted; only a refresh asks whether the branch has moved.

        A unit is redone if its files are now known to be another step's, unless it was measured in
        spite of that. It is also redone if its record does not name the files of the commit.
        """
        if recorded.get("kind") != "hub" or recorded.get("repo") != self.repo:
            return f"they were not those of {self.repo}"
        if self._refresh and self.repository.inventory.branches().get(
            self.revision(step)
        ) != recorded.get("commit"):
            return "the branch has moved"
        blobs = [blob for path, _, blob in recorded.get("files", ()) if is_weights(path)]
        if not blobs:
            return NOT_RECORDED
        if recorded.get("defect") or recorded.get("weights_commit"):
            return None
        foreign = self.comparison.knows_as_foreign(step, blobs)
        return "known to be another step's" if foreign else None

    def checkpoint(self, step: int) -> "HubCheckpoint":
        """The checkpoint of a published step; the Hub is asked only when one of its parts is."""
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
            ConfigError: the budget is smaller than a checkpoint, or than all of them where they are
                to be kept.
        """
        self.repository.client.stopped.clear()
        size = self._weight_bytes(steps)
        if room.disk_budget is None and not room.keep:
            return InMemory.within(room, checkpoint=size, stopped=self.repository.client.stopped)
        return OnDisk.within(
            room, checkpoint=size, total=size * len(steps), stopped=self.repository.client.stopped
        )

    def _weight_bytes(self, steps: Sequence[int]) -> int:
        """Bytes of the weights of one checkpoint.

        All checkpoints of a model have the same size: the first that has weights gives it.
        """
        for step in steps:
            try:
                return sum(file.size for file in self.checkpoint(step).weights())
            except CheckpointError:
                continue
        return 0
