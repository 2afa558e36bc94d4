"""A directory as a suite: the checkpoints of one training run, as the Hub or a Hugging Face Trainer lays them out.

    RUN/step0/  RUN/step512/ ...            or            RUN/checkpoint-500/  RUN/checkpoint-1000/ ...
        config.json   model.safetensors   tokenizer.json

Weights may be one file or shards with an index, safetensors or `.bin`. `config.json` and `tokenizer.json` may stand
beside the steps instead, for all steps that have none of their own. A `suite.json` beside the steps may name the
suite (`suite`) and the tokens of a training step (`tokens_per_step`); without it tokens are unknown.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pythia_traj.checkpoint import Integrity, Room, WeightFile
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.suites.files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    is_adapter,
    is_index,
    map_file,
    preferred_weights,
    read_json,
    shard_names,
    what_it_holds,
)

_REVISION = re.compile(r"(?:step|checkpoint-)(\d+)")

_FRAMEWORK = re.compile(r"global_step\d+|pytorch_model_fsdp_\d+")
"""Folders that DeepSpeed, GPT-NeoX and FSDP make."""


@dataclass(frozen=True)
class LocalModel:
    """The model whose checkpoints lie in `directory`.

    Attributes:
        directory: where the step folders are.
        model: its name in results: the directory's, with characters that a path partition cannot hold replaced.
        revisions: the name of each step's folder.
    """

    directory: Path
    model: str
    suite: str
    tokens_per_step: int | None
    revisions: Mapping[int, str]

    @classmethod
    def open(cls, directory: Path) -> "LocalModel":
        """Lists the checkpoints of a directory.

        Raises:
            SuiteError: it is no directory, or holds no checkpoints, or one step twice.
        """
        if not directory.is_dir():
            raise SuiteError(
                f"{directory} is not a directory of checkpoints (step0/, step512/, or checkpoint-500/, ...)"
            )
        facts = _suite_facts(directory)
        return cls(
            directory=directory,
            model=_model_name(directory),
            suite=str(facts.get("suite", "local")),
            tokens_per_step=facts.get("tokens_per_step"),
            revisions=_revisions(directory),
        )

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps there are, ascending."""
        return tuple(sorted(self.revisions))

    def revision(self, step: int) -> str:
        """The name of the step's folder."""
        return self.revisions[step]

    def expect(self, steps: Sequence[int], *, defects: bool = False) -> None:
        """There is nothing to compare."""

    def source(self, step: int) -> dict[str, Any]:
        """Names, sizes and modification times of the files that a measurement of this step rests on."""
        checkpoint = self.checkpoint(step)
        files = []
        for path in checkpoint.files():
            stat = path.stat()
            files.append([path.name, stat.st_size, stat.st_mtime_ns])
        return {"kind": "directory", "files": files}

    def is_current(self, step: int, recorded: Mapping[str, Any]) -> bool:
        """Whether a source that was recorded is what is there now."""
        return dict(recorded) == self.source(step)  # lists within, as JSON has them

    def learning_rate(self, step: int) -> None:
        """A directory does not say."""
        return

    def facts(self) -> dict[str, Any]:
        """A directory does not say."""
        return {}

    def checkpoint(self, step: int) -> "LocalCheckpoint":
        """The checkpoint of a step that is there."""
        tokens = None if self.tokens_per_step is None else step * self.tokens_per_step
        return LocalCheckpoint(self.directory / self.revisions[step], self.suite, self.model, step, tokens)

    def staging(self, room: Room, steps: Sequence[int]) -> "InPlace":
        """Nothing has to be put anywhere."""
        return InPlace(room.prefetch)


@dataclass(frozen=True)
class InPlace:
    """Files that are here already are mapped where they lie; ahead means that the system reads them ahead."""

    ahead: int = 0
    source: str = "disk"

    def stop(self) -> None:
        """Nothing is on its way."""


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
        """Nothing is known: a directory publishes no digests."""
        return Integrity(
            "unchecked", "a directory publishes no digests", tuple(path.name for path in self._weight_paths())
        )

    @property
    def revision(self) -> str:
        """The folder's name."""
        return self.directory.name

    def config(self) -> dict[str, Any]:
        """The parsed `config.json`, of the step's folder or beside the steps."""
        self._refuse_other_folders()
        return read_json(self._own_or_shared(CONFIG) or self.directory / CONFIG, what=CONFIG)

    def tokenizer(self) -> Path | None:
        """`tokenizer.json`, in the step's folder or beside the steps."""
        return self._own_or_shared(TOKENIZER)

    def _own_or_shared(self, name: str) -> Path | None:
        """A Trainer may write once, beside the steps, what does not change between them."""
        for path in (self.directory / name, self.directory.parent / name):
            if path.is_file():
                return path
        return None

    def _refuse_other_folders(self) -> None:
        """Says what the folder is, if it holds something else than a model; so does an adapter beside weights."""
        names = _names_below(self.directory)
        if is_adapter(names) or not any(name in WEIGHTS for name in names):
            found = what_it_holds(names)
            if found is not None:
                raise CheckpointError(f"{self.directory} holds {found}")

    def files(self) -> list[Path]:
        """The files a measurement rests on, those of them that exist: config, tokenizer, index, weights."""
        try:
            weights = self._weight_paths()
        except CheckpointError:
            weights = []
        index = [path for name in WEIGHTS if is_index(name) and (path := self.directory / name).is_file()]
        shared = [self._own_or_shared(name) for name in (CONFIG, TOKENIZER)]
        return [path for path in (*shared, *index, *weights) if path is not None and path.is_file()]

    def _weight_paths(self) -> list[Path]:
        self._refuse_other_folders()
        there = [name for name in WEIGHTS if (self.directory / name).is_file()]
        path = self.directory / preferred_weights(there, self.directory)
        if not is_index(path.name):
            return [path]
        shards = [self.directory / name for name in shard_names(read_json(path, what="the index"), path)]
        for shard in shards:
            if not shard.is_file():
                single = self.directory / path.name.removesuffix(".index.json")
                advice = f", or remove the index if {single.name} is right" if single.is_file() else ""
                raise CheckpointError(f"shard {shard.name} named in {path} is missing: fetch it again{advice}")
        return shards

    @contextmanager
    def open(self, staging: "InPlace | None" = None) -> Iterator[Sequence[WeightFile]]:
        """Maps the weight files into memory, and asks the system to read ahead: nothing is copied."""
        files = [WeightFile(path.name, map_file(path), path) for path in self._weight_paths()]
        try:
            yield files
        finally:
            # A map is closed when the last tensor that lies in it is gone: closing it here would fail while one is alive.
            files.clear()


def _revisions(directory: Path) -> dict[int, str]:
    try:
        names = _names_below(directory)
    except CheckpointError as error:
        raise SuiteError(str(error)) from error
    found: dict[int, str] = {}
    for name in names:
        match = _REVISION.fullmatch(name)
        if match is None or not (directory / name).is_dir():
            continue
        step = int(match[1])
        if step in found:
            raise SuiteError(f"{directory} has step {step} twice, as {found[step]} and {name}: keep one of them")
        found[step] = name
    if not found:
        what = None if any(name in WEIGHTS for name in names) and not is_adapter(names) else what_it_holds(names)
        if what is not None:
            raise SuiteError(
                f"{directory} is not a run of step0/, step512/ or checkpoint-500/ folders: it holds {what}"
            )
        hint = " (it looks like one checkpoint: give its parent)" if CONFIG in names else ""
        raise SuiteError(f"{directory} holds no step0/, step512/ or checkpoint-500/ folders{hint}")
    return found


def _names_below(directory: Path) -> list[str]:
    """The files of a folder, and those of folders in it that a training framework makes, with the folder in front."""
    try:
        entries = sorted(directory.iterdir())
        inner = [path for path in entries if _FRAMEWORK.fullmatch(path.name) and path.is_dir()]
        return [path.name for path in entries] + [
            f"{path.name}/{below.name}" for path in inner for below in path.iterdir()
        ]
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename or directory}: {error.strerror}") from error


def _suite_facts(directory: Path) -> dict[str, Any]:
    path = directory / "suite.json"
    if not path.is_file():
        return {}
    try:
        facts = read_json(path, what="suite.json")
    except CheckpointError as error:
        raise SuiteError(str(error)) from error
    tokens = facts.get("tokens_per_step")
    if tokens is not None and not (isinstance(tokens, int) and tokens > 0):
        raise SuiteError(f"{path}: tokens_per_step is {tokens!r}, expected a whole number of tokens")
    return facts


def _model_name(directory: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name).strip("-.")
    # Readers guess the type of a partition from its text: a name of digits alone would become a number or a date.
    return name if re.search(r"[A-Za-z]", name) else f"model-{name}" if name else "model"
