"""A directory as a suite: the checkpoints of one training run.

It has the layout of the Hub or of a Hugging Face Trainer:

    RUN/step0/  RUN/step512/ ...        or        RUN/checkpoint-500/  RUN/checkpoint-1000/ ...
        config.json   model.safetensors   tokenizer.json

Weights may be one file or shards with an index, safetensors or `.bin`. `config.json` and
`tokenizer.json` may be beside the steps instead, for all steps that have none of their own. A
`suite.json` beside the steps may name the suite (`suite`) and the tokens of a training step
(`tokens_per_step`); without it tokens are unknown. Its `recipe` may say how the learning rate went
(`suites/schedules`: `Trapezoid`).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pythia_traj import schema
from pythia_traj.checkpoint import NOT_RECORDED, Integrity, Room, WeightFile
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.outside import checked, read_json
from pythia_traj.printable import one_line
from pythia_traj.suites.files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    is_adapter,
    is_index,
    preferred_weights,
    shards,
    slow_tokenizer,
    what_it_holds,
)
from pythia_traj.suites.files import read_json as read_object
from pythia_traj.suites.folders import names_below, step_folders
from pythia_traj.suites.names import of_directory
from pythia_traj.suites.reading import Reading
from pythia_traj.suites.schedules import Trapezoid

SUITE = "suite.json"

_NAMED = 3
"""Files that a message names."""


def _printable(text: str) -> str:
    if one_line(text) != text:
        raise ValueError("it must be one line of text without control characters")
    return text


class _SuiteFacts(BaseModel):
    """What a `suite.json` may say."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    suite: (
        Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)] | None
    ) = None
    tokens_per_step: Annotated[int, Field(ge=1, le=2**53)] | None = None
    recipe: Any = None


@dataclass(frozen=True)
class LocalModel:
    """The model whose checkpoints lie in `directory`.

    Attributes:
        directory: where the step folders are.
        model: its name in results: the given one, or the directory's; characters that a path
            partition cannot hold are replaced.
        revisions: the name of each step's folder.
        rate: how the learning rate went, if the directory records it.
    """

    directory: Path
    model: str
    suite: str
    tokens_per_step: int | None
    revisions: Mapping[int, str]
    compares_with_main: bool = False
    rate: Trapezoid | None = None

    @classmethod
    def open(cls, directory: Path, *, name: str | None = None) -> "LocalModel":
        """Lists the checkpoints of a directory.

        Args:
            name: the model's in results, instead of the directory's.

        Raises:
            SuiteError: it is not a directory, holds no checkpoints, or holds a step twice.
        """
        if not os.path.isdir(directory):  # noqa: PTH112 - pathlib's raises where it may not be looked at
            raise SuiteError(
                f"{directory} is not a directory of checkpoints (step0/, step512/, or"
                " checkpoint-500/, ...)"
            )
        revisions = step_folders(directory)
        return cls(
            directory=directory,
            model=name or of_directory(directory),
            revisions=revisions,
            **described(directory, max(revisions)),
        )

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Its steps, ascending."""
        return tuple(sorted(self.revisions))

    @cached_property
    def origin(self) -> str:
        """Which directory it is, links resolved.

        Bytes that are not UTF-8 are escaped, so that it can be stored.
        """
        return (
            f"directory:{os.fsencode(self.directory.resolve()).decode(errors='backslashreplace')}"
        )

    def revision(self, step: int) -> str:
        """The name of the step's folder."""
        return self.revisions[step]

    def expect(self, steps: Sequence[int], *, defects: bool = False) -> None:
        """Does nothing: a directory's steps are not compared."""

    def source(self, step: int) -> dict[str, Any]:
        """Names, sizes and modification times of the files a measurement of this step rests on.

        Raises:
            CheckpointError: one of them was removed meanwhile, or access to it is denied.
        """
        files = []
        for path in self.checkpoint(step).files():
            try:
                stat = path.stat()
            except OSError as error:
                raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
            files.append([path.name, stat.st_size, stat.st_mtime_ns])
        return {"kind": "directory", "files": files}

    def what_changed(self, step: int, recorded: Mapping[str, Any]) -> str | None:
        """Which files differ from a recorded source; None if all are as recorded."""
        if not recorded.get("files"):
            return NOT_RECORDED
        try:
            now = self.source(step)
        except CheckpointError:
            return "they cannot be looked at"
        if dict(recorded) == now:  # both hold lists, as JSON does
            return None
        names = _different(recorded["files"], now["files"])
        return f"changed since ({names})" if names else "changed since"

    def learning_rate(self, step: int) -> float | None:
        """Known where the directory records how it went."""
        return self.rate.lr(step) if self.rate else None

    def weight_bytes(self, step: int) -> int | None:
        """The size of the step's weight files; None where they cannot be looked at."""
        return self.checkpoint(step).size() or None

    def facts(self) -> dict[str, Any]:
        """A directory does not say."""
        return {}

    def checkpoint(self, step: int) -> "LocalCheckpoint":
        """The checkpoint of a published step."""
        tokens = None if self.tokens_per_step is None else step * self.tokens_per_step
        return LocalCheckpoint(
            self.directory / self.revisions[step], self.suite, self.model, step, tokens
        )

    def staging(self, room: Room, steps: Sequence[int]) -> Reading:
        """Buffers for the files, as far as the memory allows."""
        return Reading.within(
            room, next((size for step in steps if (size := self.checkpoint(step).size())), 0)
        )


@dataclass(frozen=True)
class LocalCheckpoint:
    """One step folder."""

    directory: Path
    suite: str
    model: str
    step: int
    tokens: int | None
    commit: None = None

    def integrity(self) -> Integrity:
        """Unchecked: a directory publishes no digests."""
        return Integrity(
            "unchecked",
            "a directory publishes no digests",
            tuple(path.name for path in self.weight_paths()),
        )

    @property
    def revision(self) -> str:
        """The folder's name."""
        return self.directory.name

    def config(self) -> dict[str, Any]:
        """The parsed `config.json`, of the step's folder or beside the steps."""
        self._refuse_other_folders()
        return read_object(self._own_or_shared(CONFIG) or self.directory / CONFIG, what=CONFIG)

    def tokenizer(self) -> Path | None:
        """`tokenizer.json`, in the step's folder or beside the steps."""
        return self._own_or_shared(TOKENIZER)

    def _own_or_shared(self, name: str) -> Path | None:
        """A file of the step, or the one beside the steps, where a Trainer may write it once."""
        for path in (self.directory / name, self.directory.parent / name):
            # Also if it cannot be read: another file must not replace a step's own.
            if os.path.lexists(path):
                return path
        return None

    def tokenizer_instead(self) -> str | None:
        """Which tokenizer files exist instead of `tokenizer.json`."""
        return slow_tokenizer(names_below(self.directory))

    def _refuse_other_folders(self) -> None:
        """Refuses a folder that does not hold a model, and says what it holds.

        An adapter beside weights is refused too.
        """
        names = names_below(self.directory)
        if is_adapter(names) or not any(name in WEIGHTS for name in names):
            found = what_it_holds(names)
            if found is not None:
                raise CheckpointError(f"{self.directory} holds {found}")

    def files(self) -> list[Path]:
        """The files a measurement rests on, if they exist: config, tokenizer, index, weights."""
        try:
            weights = self.weight_paths()
        except CheckpointError:
            weights = []
        index = [
            path for name in WEIGHTS if is_index(name) and _is_file(path := self.directory / name)
        ]
        shared = [self._own_or_shared(name) for name in (CONFIG, TOKENIZER)]
        return [path for path in (*shared, *index, *weights) if path is not None and _is_file(path)]

    def size(self) -> int:
        """Bytes of the weight files; 0 if they cannot be read."""
        try:
            return sum(path.stat().st_size for path in self.weight_paths())
        except (CheckpointError, OSError):
            return 0

    def weight_paths(self) -> list[Path]:
        """The files of its weights: one, or all shards that the index names.

        Raises:
            CheckpointError: it has none, or lacks one of them.
        """
        return list(self._weights())

    def _weights(self) -> dict[Path, frozenset[str] | None]:
        """The weight files, each with the tensors that the index takes from it.

        None without an index.
        """
        self._refuse_other_folders()
        there = [name for name in WEIGHTS if _is_file(self.directory / name)]
        path = self.directory / preferred_weights(there, self.directory)
        if not is_index(path.name):
            return {path: None}
        named = shards(read_object(path, what="the index"), path)
        for shard in named:
            if not _is_file(self.directory / shard):
                single = self.directory / path.name.removesuffix(".index.json")
                advice = (
                    f", or remove the index if {single.name} is right" if _is_file(single) else ""
                )
                raise CheckpointError(
                    f"shard {shard} named in {path} is missing: fetch it again{advice}"
                )
        return {self.directory / shard: tensors for shard, tensors in named.items()}

    @contextmanager
    def open(self, staging: Reading | None = None) -> Iterator[Sequence[WeightFile]]:
        """Reads the weight files into the staging's buffers; without a staging they are mapped."""
        weights = self._weights()
        with (staging or Reading()).hold(list(weights)) as files:
            yield [
                replace(file, tensors=tensors)
                for file, tensors in zip(files, weights.values(), strict=True)
            ]


def _different(before: Any, now: Sequence[Sequence[Any]]) -> str:
    """The names of files that are in only one of two lists, or differ between them."""
    known = before if isinstance(before, list) else []
    gone = (file for file in known if isinstance(file, list) and file and file not in now)
    different = [*gone, *(file for file in now if file not in known)]
    names = sorted({str(file[0]) for file in different})
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - pathlib's raises where a file may not be looked at


def _suite_facts(directory: Path) -> _SuiteFacts:
    path = directory / SUITE
    try:
        return checked(_SuiteFacts, read_json(path, error=SuiteError), path, error=SuiteError)
    except FileNotFoundError:
        return _SuiteFacts()


def described(directory: Path, last: int) -> dict[str, Any]:
    """What `suite.json` says of a directory's model: `suite`, `tokens_per_step` and `rate`.

    Args:
        last: its last step.

    Raises:
        SuiteError: it is not what it should be, or more tokens are seen than can be stored.
    """
    facts = _suite_facts(directory)
    most = last * (facts.tokens_per_step or 0)
    if most > schema.MOST_TOKENS:
        raise SuiteError(
            f"{directory / SUITE}: tokens_per_step is {facts.tokens_per_step}: step {last} would be"
            f" after {most} tokens, at most {schema.MOST_TOKENS} can be stored"
        )
    return {
        "suite": facts.suite or "local",
        "tokens_per_step": facts.tokens_per_step,
        "rate": _rate(facts),
    }


def recorded_rate(directory: Path) -> Trapezoid | None:
    """How the learning rate of a directory's training run went; None where it does not say."""
    try:
        return _rate(_suite_facts(directory))
    except SuiteError:
        return None


def _rate(facts: _SuiteFacts) -> Trapezoid | None:
    """A recipe of another kind is somebody else's and says nothing here."""
    try:
        return Trapezoid.model_validate(facts.recipe)
    except ValidationError:
        return None
