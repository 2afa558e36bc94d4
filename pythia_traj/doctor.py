"""What a user needs to know of a machine before a sweep: versions, devices, disk, and whether the Hub answers."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

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

_HUB_SECONDS = 5.0
"""How long the Hub is waited for."""


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
    python = Check("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True)
    return [python, *map(_version, _PACKAGES)]


def _version(name: str) -> Check:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, f"not installed: pip install {name}", False)
    if name == "transformer-lens" and not found.startswith("3."):
        return Check(name, f"{found}: HookedTransformer is in 3.9 only: pip install 'transformer-lens>=3.9,<4'", False)
    return Check(name, found, True)


def _devices() -> list[Check]:
    import torch

    memory = psutil.virtual_memory()
    cpu = Check("cpu", f"{os.cpu_count()} cores, {_gb(memory.available)} of {_gb(memory.total)} memory free", True)
    if not torch.cuda.is_available():
        return [cpu, Check("cuda", "no CUDA device: sweeps run on the CPU", True)]
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(
            Check(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {_gb(free)} of {_gb(total)} free", True)
        )
    return [cpu, *found]


def _disks() -> list[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE

    return [_disk("disk here", Path.cwd()), _disk("disk of the Hub's cache", Path(HF_HUB_CACHE))]


def _disk(what: str, path: Path) -> Check:
    from pythia_traj.store.layout import free_bytes

    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    writable = os.access(existing, os.W_OK)
    return Check(what, f"{path}: {_gb(free_bytes(path))} free{'' if writable else ', not writable'}", writable)


def _hub() -> Check:
    from huggingface_hub import get_session
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return Check("hub", "HF_HUB_OFFLINE is set: only what is cached can be used", True)
    try:
        answer = get_session().get(f"{ENDPOINT}/api/models?limit=1", timeout=_HUB_SECONDS)
    except Exception as error:  # the client's HTTP library and its errors change between versions
        return Check(
            "hub",
            f"{ENDPOINT} cannot be reached ({type(error).__name__}): directories of checkpoints still work",
            False,
        )
    return Check("hub", f"{ENDPOINT} answers {answer.status_code}", answer.status_code < 400)


def _token() -> Check:
    given = bool(os.environ.get("HF_TOKEN", "").strip())
    return Check("HF_TOKEN", "set" if given else "not set: only needed for gated and private models", True)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
