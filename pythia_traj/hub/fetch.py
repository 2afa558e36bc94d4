"""Checkpoints fetched ahead of any sweep, for machines that have no network when they compute.

What is kept of them is listed and removed here, too. Fetched weights stay where `disk.py` keeps
them, checked; configs and tokenizers in the Hub's cache. A sweep finds both by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.filesize import decimal

from pythia_traj.checkpoint import Room
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.hub.cache import cache_directory, plain_name, refuse_foreign
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.listings import forget
from pythia_traj.hub.model import HubModel
from pythia_traj.settings import size_in_bytes


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
    disk_budget: int | str | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Fetched:
    """Fetches the checkpoints of a model to stay, and checks those that are here.

    Args:
        disk_budget: bytes (or `20GB`) that all kept weights may take together.
        on_step: is called with each step when it is done.

    Raises:
        ConfigError: they exceed the budget, or it is not a number of bytes.
        HubError: the Hub cannot be asked.
        StoreError: the disk is full.
    """
    budget = size_in_bytes("disk_budget", disk_budget)
    result = Fetched()
    model.expect(steps)
    staging = model.staging(Room(prefetch=0, disk_budget=budget, keep=True), steps)
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
        Kept(
            repo.replace("--", "/", 1),
            len(files),
            sum(file.size for file in files),
            max(file.used for file in files),
        )
        for repo, files in sorted(by_repo.items())
    ]


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        files: how many weight files.
        size: their bytes.
        in_use: how many were in use and stay.
        listings: how many listings of the Hub.
    """

    files: int
    size: int
    in_use: int
    listings: int

    @property
    def sentence(self) -> str:
        """What was removed, in a line."""
        listings = f", and {_counted(self.listings, 'listing')} of the Hub" if self.listings else ""
        stay = f"; in use and stay: {_counted(self.in_use, 'file')}" if self.in_use else ""
        return (
            f"removed {_counted(self.files, 'weight file')}, {decimal(self.size)}{listings},"
            f" from {cache_directory()}{stay}"
        )

    def as_dict(self) -> dict[str, Any]:
        """As `pythia-traj cache --remove --json` prints it."""
        return {
            "removed_bytes": self.size,
            "removed_files": self.files,
            "removed_listings": self.listings,
            "in_use": self.in_use,
        }


def remove(repo: str | None) -> Removed:
    """Removes what is kept of a repository, or everything, remembered listings included.

    Files in use stay, and so do files that pythia-traj did not put into its cache. Nothing outside
    the cache is touched.

    Raises:
        SuiteError: nothing is kept of it.
        StoreError: the cache is not ours, or cannot be written.
    """
    refuse_foreign(cache_directory())
    store = OnDisk()
    files, listings = store.files(), 0
    if repo is not None:
        files = [stored for stored in files if stored.repo == plain_name(repo.replace("/", "--"))]
        if not files:
            known = ", ".join(entry.repo for entry in kept()) or "nothing"
            raise SuiteError(f"nothing is kept of {repo!r}; kept: {known}")
    else:
        listings = forget()
    removed = [stored for stored in files if store.remove(stored.path)]
    return Removed(
        len(removed), sum(stored.size for stored in removed), len(files) - len(removed), listings
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
