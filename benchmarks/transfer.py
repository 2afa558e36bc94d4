"""How fast does a checkpoint come from the network into memory, with its digest checked?

    python benchmarks/transfer.py [--json]

A hub on this machine, in a process of its own and not slowed down, serves a weight file of 0.38 GB
(pythia-160m's shape, fp16). In one run and in turn:

- `hf_hub_download`: what a user writes today: the client's download to disk, then safetensors'
  `load_file`; nothing is checked;
- `verified`: ours, into memory, its sha256 compared with the Hub's;
- `verified_without_masks`: the same once the causal masks are known, which then do not cross the
  network;
- `unverified`: ours without the digest, for comparison;
- `sha256`: hashing the same bytes in memory, one thread: the limit for any checked transfer.

`transfer_vs_hf_hub_download` is how many times the baseline's median throughput ours has;
`transfer_vs_sha256` the share of the hash's rate; `unverified_vs_hf_hub_download` is for
information. `readinto_vs_mmap_local` is the time of a swap from a file that is read into a buffer
over that of one from a mapped file, both warm, which is how directories are read;
`swap_streamed_vs_file` that of one from the streamed buffer over one from a mapped file.
"""

import argparse
import hashlib
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from hub import served

if TYPE_CHECKING:
    from pythia_traj.hub.branch import HubCheckpoint
    from pythia_traj.hub.staging import InMemory

SIZE, STEP = "160m", 512


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with served(SIZE, str(STEP)):
        measure(as_json=arguments.json)


def measure(*, as_json: bool) -> None:
    from harness import alternate, emit, summary
    from huggingface_hub import hf_hub_download
    from safetensors.torch import load_file

    from pythia_traj.architectures.gpt_neox import ARCHITECTURE
    from pythia_traj.hub.masks import Masks
    from pythia_traj.hub.model import HubModel
    from pythia_traj.hub.staging import InMemory
    from pythia_traj.hub.transfer import Source, Transfer
    from pythia_traj.models.tensors import read_tensors
    from pythia_traj.suites.buffers import anonymous
    from pythia_traj.suites.catalog import catalog

    model = HubModel.of(catalog()[f"pythia-{SIZE}"])
    checkpoint, commit = model.checkpoint(STEP), model.checkpoint(STEP).commit
    (file,) = [file for file in checkpoint.listed() if file.path == "model.safetensors"]
    staging = InMemory(ahead=0)
    buffer = anonymous(file.size)
    learnt = Masks()

    repository = model.repository

    def ours(masks: Masks) -> None:
        repository.masks = masks
        with checkpoint.open(staging) as files:
            read_tensors(files, ARCHITECTURE)

    def unverified() -> None:
        Transfer(Source(repository.client, model.repo, commit, file), buffer).fetch(
            [(0, file.size)]
        )

    def baseline() -> None:
        load_file(hf_hub_download(model.repo, file.path, revision=commit, force_download=True))

    ours(learnt)
    # Ours must not find in the Hub's cache what the baseline puts there.
    repository.client.cached = lambda *_: None  # type: ignore[method-assign]
    repository.client.cached_blob = lambda *_: None  # type: ignore[method-assign]
    seconds = alternate(
        {
            "hf_hub_download": baseline,
            "verified": lambda: ours(Masks()),
            "verified_without_masks": lambda: ours(learnt),
            "unverified": unverified,
            "sha256": lambda: hashlib.sha256(buffer).digest(),
        }
    )
    path = Path(hf_hub_download(model.repo, file.path, revision=commit))
    local, streamed = swaps(checkpoint, staging, path, buffer)
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {
        "transfer_vs_hf_hub_download": medians["hf_hub_download"] / medians["verified"],
        "transfer_vs_sha256": medians["sha256"] / medians["verified"],
        "unverified_vs_hf_hub_download": medians["hf_hub_download"] / medians["unverified"],
        "readinto_vs_mmap_local": (
            median(local["swap_from_read_buffer"]) / median(local["swap_from_map"])
        ),
        "swap_streamed_vs_file": (
            median(streamed["swap_from_streamed_buffer"]) / median(streamed["swap_from_map"])
        ),
    }
    emit({**summary(seconds), **summary(local)}, ratios, as_json=as_json)


def swaps(
    checkpoint: "HubCheckpoint", staging: "InMemory", path: Path, buffer: memoryview
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of swaps from a file that is mapped or read, and from a streamed buffer.

    Those from the streamed buffer stand beside those from the mapped file.
    """
    import torch
    from harness import alternate

    from pythia_traj.architectures.gpt_neox import ARCHITECTURE
    from pythia_traj.checkpoint import WeightFile
    from pythia_traj.models.swap import SwappableModel
    from pythia_traj.models.tensors import read_tensors
    from pythia_traj.processing import FOLDED
    from pythia_traj.suites.reading import map_file

    swappable = SwappableModel(checkpoint, device=torch.device("cpu"))

    def swap_from_map() -> None:
        swappable.swap(read_tensors([WeightFile(path.name, map_file(path))], ARCHITECTURE), FOLDED)

    def swap_from_buffer() -> None:
        with path.open("rb") as opened:
            opened.readinto(buffer)
        swappable.swap(read_tensors([WeightFile(path.name, buffer)], ARCHITECTURE), FOLDED)

    local = alternate({"swap_from_map": swap_from_map, "swap_from_read_buffer": swap_from_buffer})
    with ExitStack() as stack:
        held = stack.enter_context(checkpoint.open(staging))
        streamed = alternate(
            {
                "swap_from_streamed_buffer": lambda: swappable.swap(
                    read_tensors(held, ARCHITECTURE), FOLDED
                ),
                "swap_from_map": swap_from_map,
            }
        )
    return local, streamed


if __name__ == "__main__":
    main()
