"""Functions that every benchmark here uses.

Runs of a baseline and of ours alternate in one process; the result is one JSON object.
"""

import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.filesize import decimal

PAIRS = 7
DISCARDED = 2

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def alternate(
    contenders: Mapping[str, Callable[[], object]],
    *,
    pairs: int = PAIRS,
    discarded: int = DISCARDED,
) -> dict[str, list[float]]:
    """Seconds of each contender, run in turn so that other programs disturb all alike.

    The first rounds are discarded.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(discarded + pairs):
        for name, contender in contenders.items():
            start = time.perf_counter()
            result = contender()
            elapsed = time.perf_counter() - start
            # A model is full of reference cycles: collected here, so that no contender collects
            # another's garbage.
            del result
            gc.collect()
            if round_number >= discarded:
                seconds[name].append(elapsed)
    return seconds


def chromium() -> str:
    """The browser's path; ends the benchmark where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    return found


def summary(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and minimum of each contender."""
    return {
        name: {"median": round(statistics.median(values), 5), "min": round(min(values), 5)}
        for name, values in seconds.items()
    }


def emit(
    seconds: Mapping[str, object],
    ratios: Mapping[str, float],
    *,
    as_json: bool,
    memory: Mapping[str, int] | None = None,
) -> None:
    """Prints the result: one JSON object, or a table for a person; `memory` is in bytes."""
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
        },
        "versions": {
            name: version(name)
            for name in ("torch", "transformer-lens", "transformers", "safetensors")
        },
        "seconds": seconds,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }
    if memory:
        result["memory"] = dict(memory)
    if as_json:
        json.dump(result, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    for name, value in seconds.items():
        sys.stdout.write(f"{name:32} {value}\n")
    for name, value in (memory or {}).items():
        sys.stdout.write(f"{name:32} {decimal(value, precision=2)}\n")
    for name, value in ratios.items():
        sys.stdout.write(f"{name:44} {value:8.2f}\n")


def watch_memory(process: "subprocess.Popen[bytes]", *, every: float = 0.05) -> dict[str, int]:
    """Waits for a process to end, and returns the peaks of its memory, in bytes.

    They are those of its anonymous memory (what it allocated) and of all that was resident.
    """
    peaks = {"anonymous": 0, "resident": 0}
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            memory = watched.memory_info()
        except psutil.Error:
            break
        peaks["resident"] = max(peaks["resident"], memory.rss)
        peaks["anonymous"] = max(peaks["anonymous"], anonymous_bytes(process.pid))
        time.sleep(every)
    process.wait()
    return peaks


def anonymous_bytes(pid: int) -> int:
    """Needs Linux, which says how much of a process's resident memory is anonymous."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")
    )


def hub_cache(root: Path, repo: str, revision: str, commit: str) -> Path:
    """Creates the snapshot folder of one revision in a Hub cache below `root`.

    Returns the folder, for the caller to fill.
    """
    folder = root / ("models--" + repo.replace("/", "--"))
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    for name in (revision, "main"):
        (folder / "refs" / name).write_text(commit)
    return snapshot
