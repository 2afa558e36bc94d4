"""From folders to repositories, from nothing to checkpoints, and a hub in a process of its own."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from tests.hub.repository import Repository

ROOT = Path(__file__).parents[2]

_START_SECONDS = 120
"""Enough to write random weights of a few GB."""


def publish_steps(repository: Repository, directory: Path) -> None:
    """Publishes every folder of `directory` as a branch.

    The last step is published as `main` too, unless a folder has that name.

    A folder's name is the branch's, quoted if it has a slash. `tokenizer.json` beside the folders
    goes into every branch that has none, as a run on disk may share one.
    """
    folders = sorted(
        (path for path in directory.iterdir() if path.is_dir() and path.name[0] != "."), key=_step
    )
    names = [unquote(folder.name) for folder in folders]
    if folders and "main" not in names:
        folders, names = [*folders, folders[-1]], [*names, "main"]
    shared = directory / "tokenizer.json"
    for folder, branch in zip(folders, names, strict=True):
        extra = (
            {} if (folder / shared.name).exists() or not shared.exists() else {shared.name: shared}
        )
        repository.publish(branch, folder, extra)


def random_pythia(
    folder: Path,
    shape: str,
    seed: int,
    *,
    masks: bool = True,
    sharded: bool = False,
    binary: bool = False,
) -> None:
    """Writes a checkpoint of random fp16 weights as Pythia publishes them.

    That is a config, a tokenizer, and one weights file or two shards.

    `shape` is one of `tests.hub.shapes.SHAPES`. With `masks` the file carries the buffers of the
    published ones (causal masks, `masked_bias`, `inv_freq`). The seed decides all weights.

    Raises:
        ValueError: there is no such shape.
    """
    # Here, because serving needs no torch, whose import takes seconds.
    from tests.hub.weights import write_checkpoint

    write_checkpoint(folder, shape, seed, masks=masks, sharded=sharded, binary=binary)


@contextmanager
def hub_process(directory: Path, *arguments: str) -> Iterator[str]:
    """Runs `python -m tests.hub DIRECTORY ARGUMENTS` and yields its endpoint.

    The process ends with the context.

    Raises:
        RuntimeError: the process ended, or said nothing for two minutes.
    """
    command = [sys.executable, "-m", "tests.hub", str(directory.resolve()), "--json", *arguments]
    command += ["--parent", str(os.getpid())]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    with process:
        try:
            ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
            line = process.stdout.readline() if ready else b""
            if not line:
                raise RuntimeError(f"the hub did not start: {' '.join(command)}")
            yield json.loads(line)["endpoint"]
        finally:
            process.terminate()
            process.wait()


def _step(folder: Path) -> tuple[int, str]:
    """Steps by number, after everything that is no step."""
    match = re.fullmatch(r"step(\d+)", folder.name)
    return int(match.group(1)) if match else -1, folder.name
