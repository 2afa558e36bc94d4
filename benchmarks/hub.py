"""A hub on this machine, for the benchmarks with the Hub as a source.

It runs in a separate process, and this process uses its address.

Import this module first: huggingface_hub reads its settings when it is imported.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

PLACE = Path(tempfile.mkdtemp(prefix="pythia-traj-bench-"))
"""The folder for everything that a benchmark writes."""

os.environ |= {
    "HF_HOME": str(PLACE / "hf"),
    "PYTHIA_TRAJ_CACHE": str(PLACE / "cache"),
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",
    "NO_PROXY": "127.0.0.1",
}
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.pop("HF_TOKEN", None)


@contextmanager
def served(size: str, steps: str, *options: str) -> Iterator[str]:
    """A hub that serves random weights of a Pythia's shape at some steps as `pythia-<size>`.

    Yields its endpoint, which goes into the environment of this process too, for whatever is
    imported or started afterwards.
    """
    from tests.hub.publish import hub_process

    random = ["--random", f"{size}=EleutherAI/pythia-{size}", "--steps", steps]
    try:
        with hub_process(PLACE / "hub", *random, *options) as endpoint:
            os.environ["HF_ENDPOINT"] = endpoint
            yield endpoint
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
