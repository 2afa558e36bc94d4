"""How checkpoints are laid out: what a layout changes of a plain one, as functions of a folder or
of weights.

`Layout` is a row of the table in test_layouts.py: what is different, and what is to become of it.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from tests.support import publish, random_model

Tensors = dict[str, Tensor]
SAFE, BIN = "model.safetensors", "pytorch_model.bin"
INDEX = f"{SAFE}.index.json"


@dataclass(frozen=True)
class Layout:
    """A checkpoint as users have them.

    Attributes:
        name: says what is different.
        model: settings of the model, as GPTNeoXConfig takes them.
        dtype: of the file.
        settings: what `config.json` says besides; None takes a key out.
        weights: changes the tensors before they are written.
        binary: they are written by torch.save, with these arguments.
        folder: changes the step's folder, last.
        refused: a part of the message, where the layout is refused; else it computes what
            transformers does.
        theirs: whether transformers reads this very folder; else it reads the plain one, of the
            same weights.
        given: the path that is asked for, from the run's directory.
    """

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Callable[[Tensors], Any] | None = None
    binary: Mapping[str, Any] | None = None
    folder: Callable[[Path], Any] | None = None
    refused: str = ""
    theirs: bool = True
    given: str = "."

    def write(self, run: Path) -> Path:
        """Writes the run, and returns the folder that transformers reads."""
        step, plain = run / "step0", run.parent / "plain"
        publish(step, random_model(**self.model), dtype=self.dtype)
        change_config(step, **self.settings)
        shutil.copytree(step, plain)
        if self.weights is not None or self.binary is not None:
            tensors = load_file(step / SAFE)
            if self.weights is not None:
                tensors = self.weights(tensors) or tensors
            write_weights(step, tensors, self.binary)
        if self.folder is not None:
            self.folder(step)
        return step if self.theirs else plain


def transformers_reading(folder: Path, tokens: Tensor) -> Tensor:
    """The log-probabilities that transformers computes from a folder."""
    model = GPTNeoXForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    # GPTNeoXForCausalLM takes its own model's output apart by name, and fails where a config asks
    # for tuples.
    model.config.return_dict = True
    with torch.no_grad():
        return model(tokens).logits.log_softmax(-1)


def change_config(folder: Path, **settings: Any) -> None:
    """Rewrites keys of `config.json`; None takes a key out, ... makes it null."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | settings
    config = {
        key: None if value is ... else value for key, value in config.items() if value is not None
    }
    path.write_text(json.dumps(config))


def write_weights(folder: Path, tensors: Tensors, binary: Mapping[str, Any] | None) -> None:
    """One file of weights in place of the one that is there."""
    (folder / SAFE).unlink()
    if binary is None:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            folder / SAFE,
            {"format": "pt"},
        )
    else:
        torch.save(tensors, folder / BIN, **binary)


# Of weights


def renamed(pattern: str, name: str) -> Callable[[Tensors], Tensors]:
    """Every tensor under another name."""
    return lambda tensors: {re.sub(pattern, name, old): tensor for old, tensor in tensors.items()}


def without(pattern: str) -> Callable[[Tensors], Tensors]:
    """Less the tensors of these names."""
    return lambda tensors: {
        name: tensor for name, tensor in tensors.items() if not re.search(pattern, name)
    }


def also(more: Tensors) -> Callable[[Tensors], None]:
    """And others."""
    return lambda tensors: tensors.update(more)


def each(change: Callable[[Tensor], Tensor], pattern: str = "") -> Callable[[Tensors], Tensors]:
    """Some tensors changed."""
    return lambda tensors: {
        name: change(t) if re.search(pattern, name) else t for name, t in tensors.items()
    }


def both(*changes: Callable[[Tensors], Tensors | None]) -> Callable[[Tensors], Tensors]:
    """One change after another."""

    def change(tensors: Tensors) -> Tensors:
        for one in changes:
            tensors = one(tensors) or tensors
        return tensors

    return change


def strided(tensor: Tensor) -> Tensor:
    """The same values, transposed in memory."""
    return tensor.t().contiguous().t() if tensor.ndim == 2 else tensor


def part_of_more(tensor: Tensor) -> Tensor:
    """The same values as a slice of a larger tensor."""
    return torch.cat([torch.full_like(tensor, 7.0), tensor])[len(tensor) :]


# Of folders


def files(contents: Mapping[str, str]) -> Callable[[Path], None]:
    """Files besides, by name; those that there are get another content."""

    def write(folder: Path) -> None:
        for name, content in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)

    return write


def only(*names: str) -> Callable[[Path], None]:
    """Only (empty) files of these names, in folders of the step's folder where they say so."""

    def write(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"")

    return write


def cut(name: str, kept: float) -> Callable[[Path], Any]:
    """A file of which only the beginning has been written."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: int(kept * (folder / name).stat().st_size)]
    )


def removed(*names: str) -> Callable[[Path], None]:
    """Files that are not there (yet)."""

    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def to_root(name: str) -> Callable[[Path], Any]:
    """A file that stands beside the steps."""
    return lambda folder: (folder / name).rename(folder.parent / name)


def sharded(folder: Path, *, binary: bool = False, keep_single: bool = False) -> None:
    """The weights in two shards and an index."""
    tensors = load_file(folder / SAFE)
    stem = "pytorch_model-0000{}-of-00002.bin" if binary else "model-0000{}-of-00002.safetensors"
    weight_map = {}
    for i, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        part = {name: tensors[name] for name in names}
        (
            torch.save(part, folder / stem.format(i))
            if binary
            else save_file(part, folder / stem.format(i))
        )
        weight_map |= dict.fromkeys(names, stem.format(i))
    index = folder / (f"{BIN}.index.json" if binary else INDEX)
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    if not keep_single:
        (folder / SAFE).unlink()


def then(*changes: Callable[[Path], Any]) -> Callable[[Path], None]:
    """One change of the folder after another."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change
