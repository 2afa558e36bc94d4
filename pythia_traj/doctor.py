"""What to know of a machine before a sweep: versions, devices, disk, whether the Hub answers."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
from rich.filesize import decimal

from pythia_traj.errors import HubError, PythiaTrajError
from pythia_traj.standins import missing
from pythia_traj.steps import select

_PACKAGES = (
    "pythia-traj",
    "torch",
    "transformer-lens",
    "transformers",
    "huggingface-hub",
    "safetensors",
    "pyarrow",
    "pandas",
)


@dataclass(frozen=True)
class Check:
    """One line of the examination: what was looked at, what was found, whether it will do."""

    what: str
    found: str
    ok: bool


def examine() -> list[Check]:
    """Looks at this machine; asks the Hub for one small page, and nothing else of the network."""
    return [*_versions(), *_devices(), *_disks(), _hub(), _token()]


def _versions() -> list[Check]:
    python = Check(
        "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True
    )
    return [python, *map(_version, _PACKAGES)]


def _version(name: str) -> Check:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, f"not installed: pip install {name}", False)
    if name == "transformer-lens" and not found.startswith("3."):
        return Check(
            name,
            f"{found}: HookedTransformer is in 3.9 only: pip install 'transformer-lens>=3.9,<4'",
            False,
        )
    return Check(name, found, True)


def _devices() -> list[Check]:
    memory = psutil.virtual_memory()
    cpu = Check(
        "cpu",
        f"{os.cpu_count()} cores,"
        f" {decimal(memory.available)} of {decimal(memory.total)} memory free",
        True,
    )
    if "torch" in missing():
        return [cpu, Check("cuda", "not known without torch", False)]
    import torch

    if not torch.cuda.is_available():
        return [cpu, Check("cuda", "no CUDA device: sweeps run on the CPU", True)]
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(
            Check(
                f"cuda:{index}",
                f"{torch.cuda.get_device_name(index)}, {decimal(free)} of {decimal(total)} free",
                True,
            )
        )
    return [cpu, *found]


def _disks() -> list[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE

    return [_disk("disk here", Path.cwd()), _disk("disk of the Hub's cache", Path(HF_HUB_CACHE))]


def _disk(what: str, path: Path) -> Check:
    from pythia_traj.store.writing import free_bytes

    existing = next(
        parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists()
    )
    writable = os.access(existing, os.W_OK)
    return Check(
        what,
        f"{path}: {decimal(free_bytes(path))} free{'' if writable else ', not writable'}",
        writable,
    )


def _hub() -> Check:
    from pythia_traj.hub.client import Client

    try:
        client = Client()
        if client.offline:
            return Check("hub", "HF_HUB_OFFLINE is set: only what is cached can be used", True)
        status = client.status()
    except HubError as error:
        return Check("hub", f"{error}; directories of checkpoints still work", False)
    return Check("hub", f"{client.endpoint} answers {status}", status < 400)


def _token() -> Check:
    given = bool(os.environ.get("HF_TOKEN", "").strip())
    return Check(
        "HF_TOKEN", "set" if given else "not set: only needed for gated and private models", True
    )


def examine_hub(models: Sequence[str], steps: str) -> list[Check]:
    """Whether network, token and disk will do for a sweep of models at steps.

    Says what it will fetch, in bytes and requests. Asks the Hub for one small page, for the token's
    owner if one is set, and for each model for its branches and for the beginning of one weight
    file; with no model named, for the first two alone.
    """
    checks = [_hub(), _whose_token()]
    for name in models:
        try:
            checks += _examine_model(name, steps)
        except PythiaTrajError as error:
            checks.append(Check(name, str(error), False))
    return checks


def _whose_token() -> Check:
    from pythia_traj.hub.client import Client

    try:
        client = Client()
        if not client.has_token or client.offline:
            return _token()
        status, owner = client.owner()
    except HubError as error:
        return Check("HF_TOKEN", str(error), False)
    if owner is None:
        return Check("HF_TOKEN", f"refused ({status}): make a new one, or unset it", False)
    return Check("HF_TOKEN", f"belongs to {owner}", True)


def _examine_model(name: str, expression: str) -> list[Check]:
    from pythia_traj.hub.estimate import estimate, measure_rate
    from pythia_traj.hub.model import HubModel
    from pythia_traj.stream.published import open_model

    published = open_model(name)
    if not isinstance(published, HubModel):
        return [Check(name, "is a directory: nothing has to be fetched", True)]
    steps = select(expression, published.steps, tokens_per_step=published.tokens_per_step)
    cost = estimate(published, steps)
    found = (
        f"{cost.steps} steps of {decimal(cost.checkpoint_bytes)}, {cost.here} of them here;"
        f" {decimal(cost.bytes)} to fetch"
    )
    checks = [Check(name, found, True)]
    if cost.missing:
        checks.append(
            Check(
                name,
                f"no branch for steps {', '.join(map(str, cost.missing))}: their units will fail",
                False,
            )
        )
    limits = (
        f"{cost.api_requests} to the API (500 are allowed in 5 minutes), about {cost.file_requests}"
        " for files (3000)"
    )
    checks.append(Check("requests", limits, True))
    here = (
        "none for a sweep; to keep them (fetch, --keep)"
        f" {decimal(cost.bytes)} of {decimal(cost.free_bytes)} free"
    )
    checks.append(Check("disk", here, True))
    memory = psutil.virtual_memory().available
    checks.append(
        Check(
            "memory",
            f"{decimal(cost.checkpoint_bytes)} a checkpoint on its way, {decimal(memory)} free",
            cost.checkpoint_bytes < memory,
        )
    )
    if cost.bytes and not published.repository.client.offline:
        rate = measure_rate(published, next(step for step in steps if step not in cost.missing))
        checks.append(
            Check(
                "network",
                f"{decimal(round(rate))}/s: about {cost.bytes / rate / 60:.0f} minutes",
                True,
            )
        )
    return checks
