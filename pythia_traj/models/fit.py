"""Does the model fit the device? Asked from its config alone, before the first byte of weights is read."""

from collections.abc import Mapping
from typing import Any

import psutil
import torch

from pythia_traj.errors import DeviceError
from pythia_traj.models.architecture import check_architecture

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def parameter_count(config: Mapping[str, Any]) -> int:
    """The number of parameters of a GPT-NeoX model, embedding and unembedding included."""
    check_architecture(config)
    d, mlp, vocab, layers = (
        config[key] for key in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers")
    )
    attention = 4 * d * d + 4 * d
    mlp_block = 2 * d * mlp + mlp + d
    return int(2 * vocab * d + vocab + layers * (attention + mlp_block + 4 * d) + 2 * d)


def pick_device(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; any other name is torch's.

    Raises:
        DeviceError: there is no such device; the message names those there are.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"{name!r} is no device: use auto, {', '.join(there)}") from None
    known = device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())
    if not known:
        raise DeviceError(f"there is no device {name!r} here: there is {', '.join(there)}")
    return device


def check_fits(
    config: Mapping[str, Any], *, model: str, dtype: torch.dtype, device: torch.device, copies: int = 1
) -> None:
    """Refuses a model whose parameters exceed the device's free memory.

    Args:
        copies: how many sets of weights are held: 2 where an experiment compares with a reference step.

    Raises:
        DeviceError: it does not fit; the message names a dtype that does, if one does.
    """
    count = copies * parameter_count(config)
    free = free_memory(device)
    if count * dtype.itemsize <= free:
        return
    smaller = [
        name for name, other in DTYPES.items() if other.itemsize < dtype.itemsize and count * other.itemsize <= free
    ]
    advice = (
        f"use --dtype {' or '.join(smaller)}" if smaller else "no dtype fits: use another device or a smaller model"
    )
    name = str(dtype).removeprefix("torch.")
    sets = f" ({copies} sets of weights)" if copies > 1 else ""
    raise DeviceError(
        f"{model} in {name} needs {_gigabytes(count * dtype.itemsize)}{sets} and {device} has {_gigabytes(free)} free: {advice}"
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
