"""Checkpoints fetched ahead of any sweep, for machines that have no network when they compute; and what is kept of them.

Fetched weights stay where `disk.py` keeps them, checked; configs and tokenizers in the Hub's cache. A sweep finds both by itself.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pythia_traj.checkpoint import Room
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.memory import cache_directory, plain_name
from pythia_traj.hub.model import HubModel


@dataclass
class Fetched:
    """How fetching ended.

    Attributes:
        steps: those that are here now.
        failed: those that are not, with the reason.
    """

    steps: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


def fetch(
    model: HubModel,
    steps: Sequence[int],
    *,
    disk_budget: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Fetched:
    """Fetches the checkpoints of a model to stay, and checks those that are here.

    Args:
        disk_budget: bytes that all kept weights may take together.
        on_step: is told each step when it is done.

    Raises:
        ConfigError: they exceed the budget.
        HubError: the Hub cannot be asked.
        StoreError: the disk is full.
    """
    result = Fetched()
    model.expect(steps)
    staging = model.staging(Room(prefetch=0, disk_budget=disk_budget, keep=True), steps)
    model.repository.inventory.branches()
    for step in steps:
        checkpoint = model.checkpoint(step)
        try:
            checkpoint.config()
            checkpoint.tokenizer()
            with checkpoint.open(staging):
                result.steps.append(step)
        except CheckpointError as error:
            result.failed[step] = str(error)
        if on_step is not None:
            on_step(step)
    return result


@dataclass(frozen=True)
class Kept:
    """What is kept of one repository.

    Attributes:
        files: how many weight files.
        size: their bytes.
        used: when one of them was last used, in seconds since the epoch.
    """

    repo: str
    files: int
    size: int
    used: float

    def as_dict(self) -> dict[str, Any]:
        """As `pythia-traj cache --json` prints it."""
        return dict(vars(self))


def kept() -> list[Kept]:
    """What is kept on this machine, by repository."""
    by_repo: dict[str, list[Any]] = {}
    for stored in OnDisk().files():
        by_repo.setdefault(stored.repo, []).append(stored)
    return [
        Kept(repo.replace("--", "/", 1), len(files), sum(file.size for file in files), max(file.used for file in files))
        for repo, files in sorted(by_repo.items())
    ]


def remove(repo: str | None) -> tuple[int, int]:
    """Removes what is kept of a repository, or everything, what was remembered of the Hub included; never what is in use.

    Returns:
        bytes removed, and how many files were in use and stay.

    Raises:
        SuiteError: nothing is kept of it.
    """
    store = OnDisk()
    files = store.files()
    if repo is not None:
        files = [stored for stored in files if stored.repo == plain_name(repo.replace("/", "--"))]
        if not files:
            known = ", ".join(entry.repo for entry in kept()) or "nothing"
            raise SuiteError(f"nothing is kept of {repo!r}; kept: {known}")
    else:
        shutil.rmtree(cache_directory() / "hub", ignore_errors=True)
    removed = [stored for stored in files if store.remove(stored.path)]
    return sum(stored.size for stored in removed), len(files) - len(removed)
