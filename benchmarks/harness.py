"""What every benchmark here shares: alternating runs of a baseline and ours in one process, and one JSON object at the end."""

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

PAIRS = 7
DISCARDED = 2


def alternate(contenders: Mapping[str, Callable[[], object]], *, pairs: int = PAIRS) -> dict[str, list[float]]:
    """Seconds of each contender, run in turn so that a noisy neighbour disturbs all alike; the first two rounds are discarded."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(DISCARDED + pairs):
        for name, contender in contenders.items():
            start = time.perf_counter()
            result = contender()
            elapsed = time.perf_counter() - start
            # A model is full of reference cycles: collected here, so that nobody pays for another's garbage.
            del result
            gc.collect()
            if round_number >= DISCARDED:
                seconds[name].append(elapsed)
    return seconds


def summary(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and minimum of each contender."""
    return {
        name: {"median": round(statistics.median(values), 5), "min": round(min(values), 5)}
        for name, values in seconds.items()
    }


def emit(seconds: Mapping[str, object], ratios: Mapping[str, float], *, as_json: bool) -> None:
    """Prints the result: one JSON object, or a table for a person."""
    result = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "transformer-lens", "transformers", "safetensors")},
        "seconds": seconds,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }
    if as_json:
        json.dump(result, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    for name, value in seconds.items():
        sys.stdout.write(f"{name:32} {value}\n")
    for name, value in ratios.items():
        sys.stdout.write(f"{name:44} {value:8.2f}\n")


def hub_cache(root: Path, repo: str, revision: str, commit: str) -> Path:
    """Creates the snapshot folder of one revision in a Hub cache below `root`, and returns it for the files to be put in."""
    folder = root / ("models--" + repo.replace("/", "--"))
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    for name in (revision, "main"):
        (folder / "refs" / name).write_text(commit)
    return snapshot
