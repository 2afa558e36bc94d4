"""A hub's repository in the shape of EleutherAI/pythia-2.8b as it was listed in 2026.

Most of its history is hidden behind stale files.

Of 154 step branches 76 hold a `model.safetensors` that is a copy of `main`'s. 36 of them have the
step's own weights as shards, others in `pytorch_model.bin`, some have nothing left; nine more
branches share one file with the last step (EleutherAI/pythia #205, #195).
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pythia_traj.suites.catalog import catalog
from tests.hub.repository import Repository
from tests.support import write_distinct

NAME = "EleutherAI/pythia-2.8b"
SINGLE, BINARY, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"

STEPS = catalog()["pythia-2.8b"].steps
LAST = STEPS[-1]
SHARDED = tuple(step for step in STEPS if step <= 25_000)
ALONE = (*range(26_000, 54_000, 1000), 55_000, 60_000, 65_000, 70_000, 80_000, 90_000)
ALONE += (100_000, 103_000, 110_000, 120_000, 130_000, 140_000)
"""Branches whose single file is stale and which have no shards."""
EMPTIED = (26_000, 53_000, 103_000)
"""Of those, the ones whose `.bin` is `main`'s too."""
TWINS = (54_000, *range(56_000, 60_000, 1000), *range(61_000, 65_000, 1000))
"""Branches that hold the last step's file."""
LOST = tuple(sorted((*EMPTIED, *TWINS)))


class Stale:
    """The repository, and the same weights as they should be published, in folders in `clean`."""

    def __init__(self, root: Path) -> None:
        self.clean = root / "clean"
        self.clean.mkdir()
        write_distinct(self.clean, STEPS)
        self._root = root
        self._main = self._write_main()
        self.repository = Repository(NAME)
        for step in STEPS:
            self.repository.publish(f"step{step}", self._branch(step))
        self.repository.publish("main", self._main)

    def digest(self, branch: str, name: str) -> str:
        """The sha256 of a file of a branch."""
        return self.repository.commits[self.repository.branches[branch]][name].sha256

    def _write_main(self) -> Path:
        """The last step's weights in other bytes: with buffers that are no weights."""
        folder = self._copy(LAST, "main")
        tensors = load_file(folder / SINGLE)
        save_file(
            {**tensors, "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9).half()},
            folder / SINGLE,
        )
        torch.save(tensors, folder / BINARY)
        return folder

    def _branch(self, step: int) -> Path:
        folder = self._copy(step, f"step{step}")
        tensors = load_file(folder / SINGLE)
        if step in SHARDED:
            self._shard(folder, tensors)
            shutil.copy(self._main / BINARY, folder)
            self._resave(folder)
        if step in ALONE:
            if step in EMPTIED:
                shutil.copy(self._main / BINARY, folder)
            else:
                torch.save(tensors, folder / BINARY)
        if step in SHARDED or step in ALONE:
            shutil.copy(self._main / SINGLE, folder)
        if step in TWINS:
            shutil.copy(self.clean / f"step{LAST}" / SINGLE, folder)
        return folder

    def _copy(self, step: int, name: str) -> Path:
        return Path(shutil.copytree(self.clean / f"step{step}", self._root / "branches" / name))

    def _shard(self, folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        names = sorted(tensors)
        weight_map = {}
        for i, part in enumerate((names[::2], names[1::2]), 1):
            file = f"model-{i:05d}-of-00002.safetensors"
            save_file({name: tensors[name] for name in part}, folder / file)
            weight_map |= dict.fromkeys(part, file)
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}, sort_keys=True))

    def _resave(self, folder: Path) -> None:
        """Config and tokenizer as another version of the libraries writes them.

        Their end of text is another one too.
        """
        config = json.loads((folder / "config.json").read_text())
        config |= {"eos_token_id": 2, "transformers_version": "4.24.0"}
        (folder / "config.json").write_text(json.dumps(config))
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["model"]["merges"] = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
