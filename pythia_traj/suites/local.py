"""A directory as a suite: the checkpoints of one training run, as the Hub or a Hugging Face Trainer lays them out.

    RUN/step0/  RUN/step512/ ...            or            RUN/checkpoint-500/  RUN/checkpoint-1000/ ...
        config.json   model.safetensors   tokenizer.json

Weights may be one file or shards with an index, safetensors or `.bin`. A `suite.json` beside the steps may name the suite
(`suite`) and the tokens of a training step (`tokens_per_step`); without it tokens are unknown.
"""

import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError, SuiteError

_REVISION = re.compile(r"(?:step|checkpoint-)(\d+)")

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""In order of preference; only the first that exists is read, because a stale second format can hide a right first one."""


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

    def source(self, step: int) -> dict[str, Any]:
        """Names, sizes and modification times of the files that a measurement of this step rests on."""
        checkpoint = self.checkpoint(step)
        files = []
        for path in checkpoint.files():
            stat = path.stat()
            files.append([path.name, stat.st_size, stat.st_mtime_ns])
        return {"kind": "directory", "files": files}

    def checkpoint(self, step: int) -> "LocalCheckpoint":
        """The checkpoint of a step that is there."""
        tokens = None if self.tokens_per_step is None else step * self.tokens_per_step
        return LocalCheckpoint(self.directory / self.revisions[step], self.suite, self.model, step, tokens)


@dataclass(frozen=True)
class LocalCheckpoint:
    """One step folder."""

    directory: Path
    suite: str
    model: str
    step: int
    tokens: int | None
    commit: None = None

    @property
    def revision(self) -> str:
        """The folder's name."""
        return self.directory.name

    def config(self) -> dict[str, Any]:
        """The parsed `config.json`."""
        return _read_json(self.directory / "config.json", what="config.json")

    def tokenizer(self) -> Path | None:
        """`tokenizer.json`, in the step's folder or beside the steps."""
        for path in (self.directory / "tokenizer.json", self.directory.parent / "tokenizer.json"):
            if path.is_file():
                return path
        return None

    def files(self) -> list[Path]:
        """The files a measurement rests on, those of them that exist: config, tokenizer, index, weights."""
        try:
            weights = self._weight_paths()
        except CheckpointError:
            weights = []
        index = [path for name in _WEIGHTS if name.endswith(".json") and (path := self.directory / name).is_file()]
        tokenizer = self.tokenizer()
        others = [self.directory / "config.json", *([tokenizer] if tokenizer else []), *index]
        return [path for path in (*others, *weights) if path.is_file()]

    def _weight_paths(self) -> list[Path]:
        for name in _WEIGHTS:
            path = self.directory / name
            if path.is_file():
                return _shards(path) if name.endswith(".json") else [path]
        raise CheckpointError(f"{self.directory} holds no weights: expected one of {', '.join(_WEIGHTS)}")

    @contextmanager
    def open(self) -> Iterator[Sequence[WeightFile]]:
        """Maps the weight files into memory: nothing is read before it is used, and nothing is copied."""
        files = [WeightFile(path.name, _map(path), path) for path in self._weight_paths()]
        try:
            yield files
        finally:
            # A map is closed when the last tensor that lies in it is gone: closing it here would fail while one is alive.
            files.clear()


def _map(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise CheckpointError(f"{path} is empty: copy it again")
            # A private map: torch refuses to share read-only memory without a warning. Nothing ever writes to it.
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _shards(index: Path) -> list[Path]:
    weight_map = _read_json(index, what="the index of the shards").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map, so its shards are unknown: copy it again")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        # An index comes from whoever published the weights: a name that is a path could point anywhere.
        if Path(name).name != name or name in {".", ".."}:
            raise CheckpointError(f"{index} names a shard {name!r}, which is not a plain file name")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"shard {name} named in {index} is missing: copy it again")
    return [index.parent / name for name in names]


def _read_json(path: Path, *, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: every checkpoint needs {what}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        raise CheckpointError(f"{path} is not JSON: copy it again") from None
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path} holds {type(parsed).__name__} where {what} is an object")
    return parsed


def _revisions(directory: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in sorted(directory.iterdir()):
        match = _REVISION.fullmatch(entry.name)
        if match is None or not entry.is_dir():
            continue
        step = int(match[1])
        if step in found:
            raise SuiteError(f"{directory} has step {step} twice, as {found[step]} and {entry.name}: keep one of them")
        found[step] = entry.name
    if not found:
        hint = " (it looks like one checkpoint: give its parent)" if (directory / "config.json").exists() else ""
        raise SuiteError(f"{directory} holds no step0/, step512/ or checkpoint-500/ folders{hint}")
    return found


def _suite_facts(directory: Path) -> dict[str, Any]:
    path = directory / "suite.json"
    if not path.is_file():
        return {}
    try:
        facts = _read_json(path, what="suite.json")
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
