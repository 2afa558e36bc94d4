"""The seam between where checkpoints come from and what is made of them.

`suites/` (a directory) and `hub/` hand out a `PublishedModel`, whose `checkpoint(step)` is a
`Checkpoint`; `models/` turns a checkpoint into weights of a HookedTransformer. Neither side knows
more of the other than this file says.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class WeightFile:
    """One weight file of a checkpoint, whole.

    Attributes:
        name: its name in the checkpoint, such as `model-00001-of-00002.safetensors`; the ending
            says the format.
        data: its bytes: a buffer that was filled from a disk or a network, or a memory map.
        path: what is mapped, if it is a map, which takes no memory of the process.
        tensors: the names of the tensors that its index takes from it; None without an
            index.
        is_current: whether the file that the bytes are from is unchanged. No byte of a map may be
            used after its file has changed.
    """

    name: str
    data: memoryview
    path: Path | None = None
    tensors: frozenset[str] | None = None
    is_current: Callable[[], bool] = field(default=lambda: True, compare=False)


NOT_RECORDED = "which ones were used is not recorded"
"""What `PublishedModel.what_changed` says of a source that does not name its files."""

Verdict = Literal["verified", "known-defect", "unchecked"]


@dataclass(frozen=True)
class Integrity:
    """Whether a checkpoint's weights are known to be right, for the record.

    Attributes:
        verdict: `verified`: every byte is what was published, and it is this step's own as far as
            other steps' files tell. `known-defect`: it is another step's, or the weights hold
            values that are not numbers. `unchecked`: there was nothing to check it with.
        why: which files were chosen, and why; or what is wrong with them.
        chosen: the names of the weight files.
        non_finite: the tensors that hold NaN or infinity, each with how many.
    """

    verdict: Verdict
    why: str
    chosen: tuple[str, ...] = ()
    non_finite: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As footers hold it."""
        found: dict[str, Any] = {
            "verdict": self.verdict,
            "why": self.why,
            "chosen": list(self.chosen),
        }
        return found | ({"non_finite": dict(self.non_finite)} if self.non_finite else {})


@dataclass(frozen=True)
class Room:
    """What checkpoints on their way into the model may take.

    Attributes:
        prefetch: how many are opened ahead of the one in use.
        disk_budget: bytes on disk for what comes over a network; None and not `keep`: nothing of it
            is put on disk.
        keep: what is put on disk stays there.
        allocate: makes a buffer in memory; None is ordinary memory.
    """

    prefetch: int = 2
    disk_budget: int | None = None
    keep: bool = False
    allocate: Callable[[int], memoryview] | None = None


class Staging(Protocol):
    """Where checkpoints are put on their way into the model."""

    @property
    def medium(self) -> str:
        """Where they come from, for the record of time spent waiting: `network` or `disk`."""

    @property
    def ahead(self) -> int:
        """How many are opened ahead: what was asked for, or fewer where the room is smaller."""

    def stop(self) -> None:
        """Ends all transfers; those who wait for one get an error."""


class Checkpoint(Protocol):
    """The files of one revision, on this machine by the time they are opened.

    Attributes:
        suite, model, step, revision: what it is, in the words of the design.
        tokens: tokens seen in training up to this step, if known.
        commit: the Hub commit, None for a directory.

    What is missing raises CheckpointError when it is asked for. That includes `commit`: a step can
    be announced and not exist.
    """

    @property
    def suite(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def revision(self) -> str: ...
    @property
    def commit(self) -> str | None: ...

    def config(self) -> Mapping[str, Any]:
        """The parsed `config.json`. Raises CheckpointError when it is missing or is not JSON."""

    def tokenizer(self) -> Path | None:
        """The checkpoint's `tokenizer.json`, if it has one."""

    def tokenizer_instead(self) -> str | None:
        """Which tokenizer files it has instead of that one, and what to do, for messages."""

    def integrity(self) -> Integrity:
        """What is known of its weight files before they are opened.

        Opening them gives every byte as published, or an error.

        Raises:
            CheckpointError: there are none, or the Hub cannot be asked.
        """

    def open(self, staging: Any) -> AbstractContextManager[Sequence[WeightFile]]:
        """The weight files, in one format only (safetensors first).

        Their bytes are valid inside the context.

        Args:
            staging: the published model's own.

        Raises:
            DefectError: they are known not to be this step's, and the model was not told to expect
                that; nothing is fetched.
        """


class PublishedModel(Protocol):
    """One model and the steps at which it was published.

    Attributes:
        origin: where it is, whatever it is named: `directory:/home/me/runs/seed0` or
            `hub:org/name`. Two models of the same name have different ones.
        compares_with_main: whether each step's config and tokenizer are compared with those of the
            model as a whole when they are read, so that what differs is a CheckpointError of its
            step.
    """

    @property
    def suite(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def compares_with_main(self) -> bool: ...
    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def tokens_per_step(self) -> int | None: ...

    def revision(self, step: int) -> str:
        """The name under which a step is published."""

    def expect(self, steps: Sequence[int], *, defects: bool = False) -> None:
        """Receives what a request is about, before any of it is opened.

        Args:
            steps: all its steps: their files are compared with each other before one is chosen.
            defects: open weights also where they are known not to be the step's.
        """

    def source(self, step: int) -> dict[str, Any]:
        """What identifies the step's files, as JSON; recorded with every unit."""

    def what_changed(self, step: int, recorded: Mapping[str, Any]) -> str | None:
        """How the step's source differs from the recorded one, in a few words; None if it does not.

        A unit measured on another source is redone. Reads no weights.
        """

    def learning_rate(self, step: int) -> float | None:
        """The learning rate of the update that leads from this step to the next, if known."""

    def weight_bytes(self, step: int) -> int | None:
        """Roughly the bytes of a step's weight files, where that is known without a connection."""

    def facts(self) -> Mapping[str, Any]:
        """What is known of the model beside its config.

        This is `size`, `deduped`, `seed`, ... (see schema.MODELS).
        """

    def checkpoint(self, step: int) -> Checkpoint:
        """The checkpoint of a published step."""

    def staging(self, room: Room, steps: Sequence[int]) -> Staging:
        """What checkpoints of these steps are opened with.

        Raises:
            ConfigError: they cannot fit the room.
        """
