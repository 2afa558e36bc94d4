"""Whether a model fits the device: found from its config alone, before any weights are read."""

import gc
import logging
import os
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from rich.filesize import decimal

from pythia_traj.architectures.settings import shape
from pythia_traj.architectures.tensors import parameter_count
from pythia_traj.errors import DeviceError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """`auto` is the first CUDA device, or the CPU without one; any other name is torch's.

    Raises:
        DeviceError: the device does not exist; the message names those that do.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
        if visible not in ("", "-1"):
            # A scheduler has dealt one out, and this torch or the driver does not fit it.
            log.warning(
                "CUDA_VISIBLE_DEVICES is %s, but torch sees no GPU: measuring on the CPU", visible
            )
        return torch.device("cpu")
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}: use auto, {', '.join(there)}") from None
    known = device.type == "cpu" or (
        device.type == "cuda" and (device.index or 0) < torch.cuda.device_count()
    )
    if not known:
        raise DeviceError(f"this machine has no device {name!r}: use auto, {', '.join(there)}")
    return device


def check_fits(
    config: Mapping[str, Any],
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
    copies: int = 1,
) -> None:
    """Refuses a model whose parameters and tables exceed the device's free memory.

    Args:
        copies: how many sets of weights are held: 2 where an experiment compares with a reference
            step.

    Raises:
        DeviceError: it does not fit; the message names the dtypes that would, if any.
    """
    count = copies * (parameter_count(config) + _held_besides(config))
    # While a checkpoint is loaded, its tensors, too, are on the GPU, in the precision of its file.
    passing = parameter_count(config) * torch.float16.itemsize if device.type == "cuda" else 0
    free = free_memory(device) - passing
    if count * dtype.itemsize <= free:
        return
    smaller = [
        name
        for name, other in DTYPES.items()
        if other.itemsize < dtype.itemsize and count * other.itemsize <= free
    ]
    advice = (
        f"use --dtype {' or '.join(smaller)}"
        if smaller
        else "no dtype fits: use another device or a smaller model"
    )
    name = str(dtype).removeprefix("torch.")
    sets = f" ({copies} sets of weights)" if copies > 1 else ""
    raise DeviceError(
        f"{model} in {name} needs {decimal(count * dtype.itemsize)}{sets} and {device} has"
        f" {decimal(free)} free: {advice}"
    )


_ROTATED_POSITIONS = 2048
"""Positions for which HookedTransformer has sines and cosines from the beginning.

It makes more of them for longer sequences.
"""


def _held_besides(config: Mapping[str, Any]) -> int:
    """Numbers that HookedTransformer holds beside the parameters of the file.

    They are a bias of the unembedding, which folding fills, and in each layer a table of sines and
    one of cosines: in a deep and narrow model these are most of the numbers. It keeps no causal
    mask.
    """
    sizes = shape(config)
    table = min(sizes["n_ctx"], _ROTATED_POSITIONS) * sizes.get("rotary_dim", 0)
    return int(sizes["d_vocab"] + 2 * sizes["n_layers"] * table)


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def release_memory(device: torch.device) -> None:
    """Frees the GPU memory of a model that is not used any more, for the next one."""
    if device.type == "cuda":
        # A model is full of reference cycles.
        gc.collect()
        torch.cuda.empty_cache()


def describe_device(device: torch.device) -> dict[str, Any]:
    """The facts of the device that can change numbers: its name, threads, TF32."""
    cuda = device.type == "cuda"
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "tf32": bool(cuda and torch.backends.cuda.matmul.allow_tf32),
    }
