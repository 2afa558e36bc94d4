"""A repository whose branches are steps, as a published model.

Branches are resolved to commits from one listing, which is remembered; everything after that goes by commit, of which nothing can change.
So a repeated sweep asks for nothing, and 154 revisions cost one listing each, once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import CachedFileInfo

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError, HubError, SuiteError
from pythia_traj.hub import weights
from pythia_traj.hub.client import Client, RemoteFile
from pythia_traj.hub.constants import Constants
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.memory import Memory
from pythia_traj.hub.staging import HubStaging, InMemory
from pythia_traj.hub.transfer import is_file
from pythia_traj.suites.catalog import ModelRecord
from pythia_traj.suites.files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    is_index,
    is_weights,
    preferred_weights,
    read_json,
    shard_names,
)

_STEP_BRANCH = re.compile(r"step(\d+)")


class HubModel:
    """A model of the Hub.

    Attributes:
        repo: `org/name`.
        record: what is known of it beforehand, for a model of a known suite.
        steps: those it was published at; for a known model, without asking.
    """

    def __init__(self, repo: str, *, record: ModelRecord | None, refresh: bool) -> None:
        self.repo, self.record, self._refresh = repo, record, refresh
        self.client = Client()
        self._memory = Memory(self.client.endpoint, repo)
        self._branches: dict[str, str] | None = None
        self._checkpoints: dict[int, HubCheckpoint] = {}
        self.constants = Constants()

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
        matches = map(_STEP_BRANCH.fullmatch, self.branches())
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

    def branches(self) -> dict[str, str]:
        """The commit of every branch: remembered, or from one listing.

        Raises:
            HubError: it cannot be had.
        """
        if self._branches is None:
            known = None if self._refresh and not self.client.offline else self._memory.branches()
            if known is None and self.client.offline:
                known = self._cached_branches()
            if known is None:
                known = self.client.branches(self.repo)
                self._memory.keep_branches(known)
            self._branches = known
        return self._branches

    def _cached_branches(self) -> dict[str, str] | None:
        """Where branches pointed when another tool downloaded them by name into the Hub's cache."""
        commits = self.client.cached_commits(self.repo)
        return {ref: commit for commit, revision in commits.items() for ref in revision.refs} or None

    def commit(self, step: int) -> str:
        """The commit that a step's branch pointed to.

        Raises:
            CheckpointError: the step was announced and there is no branch of it.
            HubError: the Hub cannot be asked.
        """
        revision = self.revision(step)
        commit = self.branches().get(revision)
        if commit is None:
            raise CheckpointError(
                f"{self.repo} has no branch {revision}: if it was published lately, repeat with --refresh"
            )
        return commit

    def remembers(self, commit: str) -> bool:
        """Whether the files of a commit are known without asking."""
        return self._memory.files(commit) is not None

    def has(self, commit: str, file: RemoteFile) -> bool:
        """Whether a file of a commit is on this machine, by its name."""
        with OnDisk().hold_if_there(self.repo, file) as path:
            if path is not None:
                return True
        cached = self.client.cached(self.repo, commit, file.path) or self.client.cached_blob(self.repo, file.blob)
        return cached is not None

    def files(self, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit: remembered, or from one listing."""
        known = self._memory.files(commit)
        if known is None and self.client.offline:
            known = self._cached_files(commit)
        if known is None:
            try:
                known = self.client.files(self.repo, commit)
            except HubError as error:
                # Where the branches could be had, it is this commit's alone: gone since, or not kept for use offline.
                raise CheckpointError(f"files of commit {commit[:12]}: {error}") from None
            self._memory.keep_files(commit, known)
        return known

    def _cached_files(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """The files of a commit that another tool left in the Hub's cache, where a blob's file is named by its digest."""
        revision = self.client.cached_commits(self.repo).get(commit)
        if revision is None:
            return None
        top = [file for file in revision.files if file.file_path.parent.name == commit and _is_named_by_digest(file)]
        return tuple(RemoteFile(file.file_name, file.size_on_disk, file.blob_path.name) for file in top)

    def fetch(self, commit: str, file: RemoteFile) -> Path:
        """A small file on this machine, as it is listed. Commits that share its content share one download.

        One that is something else, in the cache or as it came, is fetched once more.

        Raises:
            CheckpointError: it cannot be had, or is something else again.
        """
        cached = self.client.cached(self.repo, commit, file.path) or self.client.cached_blob(self.repo, file.blob)
        path = cached or self.client.download(self.repo, commit, file.path)
        if _is_as_listed(path, file):
            return path
        path = self.client.download(self.repo, commit, file.path, anew=True)
        if not _is_as_listed(path, file):
            path.resolve().unlink(missing_ok=True)
            raise CheckpointError(
                f"{file.path} of {self.repo} at {commit[:12]} is corrupt: fetched twice, its content is not what the Hub lists"
            )
        return path

    def source(self, step: int) -> dict[str, Any]:
        """The commit, and the digests of the files that a measurement rests on."""
        commit = self.commit(step)
        files = self.checkpoint(step).listed()
        return {"kind": "hub", "repo": self.repo, "commit": commit, "files": [[f.path, f.size, f.blob] for f in files]}

    def is_current(self, step: int, recorded: Mapping[str, Any]) -> bool:
        """A recorded commit is trusted; only a refresh asks whether the branch has moved."""
        if recorded.get("kind") != "hub" or recorded.get("repo") != self.repo:
            return False
        return not self._refresh or self.branches().get(self.revision(step)) == recorded.get("commit")

    def checkpoint(self, step: int) -> "HubCheckpoint":
        """The checkpoint of a published step; nothing is asked before something of it is."""
        if step not in self._checkpoints:
            self._checkpoints[step] = HubCheckpoint(self, step)
        return self._checkpoints[step]

    def staging(self, room: Room, steps: Sequence[int]) -> HubStaging:
        """Memory, or within a disk budget if there is one.

        Raises:
            ConfigError: the budget is smaller than a checkpoint, or than all of them where they are to be kept.
        """
        self.client.stopped.clear()
        size = self._weight_bytes(steps)
        if room.disk_budget is None and not room.keep:
            return InMemory.within(room, checkpoint=size, stopped=self.client.stopped)
        return OnDisk.within(room, checkpoint=size, total=size * len(steps), stopped=self.client.stopped)

    def _weight_bytes(self, steps: Sequence[int]) -> int:
        """Bytes of the weights of one checkpoint: those of one model are alike, so the first that has any tells."""
        for step in steps:
            try:
                return sum(file.size for file in self.checkpoint(step).listed() if is_weights(file.path))
            except CheckpointError:
                continue
        return 0


class HubCheckpoint:
    """One branch of a model's repository, at the commit it pointed to."""

    def __init__(self, published: HubModel, step: int) -> None:
        self._published, self.step = published, step
        self.integrity = "not opened"

    @property
    def suite(self) -> str:
        """The model's."""
        return self._published.suite

    @property
    def model(self) -> str:
        """The model's name."""
        return self._published.model

    @property
    def tokens(self) -> int | None:
        """Tokens seen in training up to this step, if known."""
        per_step = self._published.tokens_per_step
        return None if per_step is None else self.step * per_step

    @property
    def revision(self) -> str:
        """The branch."""
        return self._published.revision(self.step)

    @property
    def commit(self) -> str:
        """Where the branch pointed."""
        return self._published.commit(self.step)

    @cached_property
    def _files(self) -> dict[str, RemoteFile]:
        """Listed files by name. No name becomes a path here: only those that a checkpoint's files have are looked up."""
        return {file.path: file for file in self._published.files(self.commit)}

    def config(self) -> dict[str, Any]:
        """The parsed `config.json`."""
        return read_json(self._fetch(CONFIG), what=CONFIG)

    def tokenizer(self) -> Path | None:
        """`tokenizer.json`, if the commit has one."""
        return self._fetch(TOKENIZER) if TOKENIZER in self._files else None

    def listed(self) -> list[RemoteFile]:
        """The files a measurement rests on: config, tokenizer, index, weights."""
        weights = preferred_weights(self._files.keys(), self._where())
        others = (CONFIG, TOKENIZER, *([weights] if is_index(weights) else []))
        return [self._files[name] for name in (*others, *self._weights()) if name in self._files]

    @contextmanager
    def open(self, staging: HubStaging) -> Iterator[Sequence[WeightFile]]:
        """The weight files of one format, whole and checked: from this machine if they are here, else fetched into the staging."""
        files = [self._files[name] for name in self._weights()]
        with weights.hold(
            self._published.client, self._published.repo, self.commit, files, staging, self._published.constants
        ) as held:
            self.integrity = (
                "sha256 of every file is the Hub's"
                if all(file.sha256 for file in files)
                else "git blob ids are the Hub's"
            )
            yield held

    def _weights(self) -> list[str]:
        """The names of the weight files: one, or all shards."""
        name = preferred_weights(self._files.keys() & set(WEIGHTS), self._where())
        if not is_index(name):
            return [name]
        names = shard_names(read_json(self._fetch(name), what="the index of the shards"), f"{name} of {self._where()}")
        for shard in names:
            if shard not in self._files:
                raise CheckpointError(f"shard {shard} named in {name} of {self._where()} is missing")
        return names

    def _fetch(self, name: str) -> Path:
        if name not in self._files:
            raise CheckpointError(f"{self._where()} has no {name}: every checkpoint needs it")
        return self._published.fetch(self.commit, self._files[name])

    def _where(self) -> str:
        return f"{self._published.repo} at {self.revision} ({self.commit[:12]})"


def _is_as_listed(path: Path, file: RemoteFile) -> bool:
    return is_file(memoryview(path.read_bytes()), file)


def _is_named_by_digest(file: CachedFileInfo) -> bool:
    """Where links are not possible the Hub's cache holds plain copies, whose names say nothing of their content."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", file.blob_path.name) is not None
