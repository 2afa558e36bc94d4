"""What a sweep of a model will cost in bytes and requests, before it is begun."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.stored import weights_directory
from pythia_traj.hub.transfer import METER, Source, Transfer
from pythia_traj.suites.buffers import anonymous

PROBE_BYTES = 16 << 20
"""How much of a weight file is fetched to measure the rate of the network."""


@dataclass(frozen=True)
class Estimate:
    """The cost of fetching some steps of a model.

    Attributes:
        here: of the steps, how many have their weights on this machine already.
        missing: steps that are announced and have no branch, or are known to have no weights.
        checkpoint_bytes: weights of one checkpoint; all checkpoints of a model have the same size.
        api_requests, file_requests: what the Hub counts against its two limits.
    """

    steps: int
    here: int
    missing: tuple[int, ...]
    checkpoint_bytes: int
    api_requests: int
    file_requests: int

    @property
    def bytes(self) -> int:
        """Bytes that have to be fetched."""
        return (self.steps - self.here - len(self.missing)) * self.checkpoint_bytes

    def as_dict(self) -> dict[str, Any]:
        """As `pythia-traj fetch --dry-run --json` prints it."""
        return {
            **vars(self),
            "missing": list(self.missing),
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
        }

    @property
    def free_bytes(self) -> int:
        """Free space where fetched weights are kept."""
        directory = weights_directory().absolute()
        return shutil.disk_usage(
            next(path for path in (directory, *directory.parents) if path.exists())
        ).free

    def sentence(self, rate: float | None) -> str:
        """The cost in a line, at so many bytes per second."""
        minutes = (
            f", about {self.bytes / rate / 60:.0f} minutes at {decimal(round(rate))}/s"
            if rate
            else ""
        )
        return (
            f"{self.steps} steps of {decimal(self.checkpoint_bytes)}, {self.here} of them here:"
            f" {decimal(self.bytes)} to fetch{minutes}; {decimal(self.free_bytes)} are free"
            f" in {weights_directory()}"
        )


def estimate(model: HubModel, steps: Sequence[int]) -> Estimate:
    """Asks for the branches and, unless they are remembered, for the files of one commit.

    It measures nothing.

    Raises:
        HubError: the Hub cannot be asked, or refuses.
        CheckpointError: none of the steps has weights.
    """
    branches = model.repository.inventory.branches()
    missing = [step for step in steps if model.revision(step) not in branches]
    there = [step for step in steps if step not in missing]
    if not there:
        raise CheckpointError(f"{model.repo} has none of the branches asked for")
    weights = _first_weights(model, there)
    unknown = here = 0
    for step in there:
        commit = branches[model.revision(step)]
        if model.repository.inventory.remembered(commit) is None:
            unknown += 1
            continue
        try:
            checkpoint = model.checkpoint(step)
            here += all(
                model.repository.has(checkpoint.choice().commit, file)
                for file in checkpoint.weights()
            )
        except CheckpointError:
            missing.append(step)
    # For a large file the Hub is asked once for the address; its bytes come from another host.
    # Config and tokenizer are fetched once in all.
    files = len(weights) * (len(there) - here) + 2 * 2
    size = sum(file.size for file in weights)
    return Estimate(
        len(steps),
        here,
        tuple(sorted(missing)),
        size,
        api_requests=1 + unknown,
        file_requests=files,
    )


def _first_weights(model: HubModel, steps: Sequence[int]) -> tuple[RemoteFile, ...]:
    """The weight files of the first step that has any: all steps of a model have similar ones."""
    failure: CheckpointError | None = None
    for step in steps:
        try:
            return model.checkpoint(step).weights()
        except CheckpointError as error:
            failure = failure or error
    raise failure or CheckpointError(f"{model.repo} has no weights")


def measure_rate(model: HubModel, step: int) -> float:
    """Bytes per second at which the beginning of a step's weights arrives.

    Raises:
        HubError: the Hub cannot be asked, or refuses.
    """
    checkpoint = model.checkpoint(step)
    file = max(checkpoint.weights(), key=lambda file: file.size)
    count = min(file.size, PROBE_BYTES)
    transfer = Transfer(
        Source(model.repository.client, model.repo, checkpoint.choice().commit, file),
        anonymous(file.size),
    )
    start, before = time.perf_counter(), METER.total
    with model.repository.client.asking(model.repo):
        transfer.fetch([(0, count)])
    # A server that ignores ranges sends more than was asked for.
    return (METER.total - before) / (time.perf_counter() - start)
