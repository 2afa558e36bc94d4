"""Does a sweep keep to its limits of memory and disk?

    python benchmarks/memory.py [--json] [--steps 24]

Twenty-four steps of pythia-70m's shape from a hub on this machine, in processes of their own,
sampled every 50 ms. In memory: the peak of anonymous memory over what is allowed,
`memory_vs_allowed`: that of a process that has imported everything, the model's parameters, one
buffer for the checkpoint in use and each one ahead, 600 MB for activations.
`memory_growth_from_step_4` is the peak over the steps after the fourth over the peak up to it. On
disk: the peak of all that lies in the cache over the budget, `disk_vs_budget`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from hub import PLACE, served

SIZE, PREFETCH, SLACK = "70m", 2, 600e6

IMPORTS = """
import json, pythia_traj as pt
import pythia_traj.sweeps.worker, pythia_traj.sweeps.measure, pythia_traj.models.swap
import pythia_traj.hub.model, pandas, pyarrow.parquet
status = open("/proc/self/status").read().splitlines()
print(json.dumps(next(
    int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon")
)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=24, help="how many steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    steps = ",".join(str(1000 * i) for i in range(arguments.steps))
    with served(SIZE, steps):
        measure(steps, as_json=arguments.json)


def measure(steps: str, *, as_json: bool) -> None:
    from harness import anonymous_bytes, emit

    from pythia_traj.suites.catalog import SIZES

    imports = json.loads(
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True).stdout
    )
    checkpoint = next((PLACE / "hub").rglob("model.safetensors")).stat().st_size
    allowed = imports + 4 * SIZES[SIZE].n_parameters + (1 + PREFETCH) * checkpoint + SLACK

    samples: list[tuple[float, int]] = []
    run = sweep(
        steps, "memory", [], lambda pid: samples.append((time.time(), anonymous_bytes(pid)))
    )
    ends = sorted(
        event["time"]
        for path in (run / "log").glob("*.jsonl")
        for event in map(json.loads, path.read_text().splitlines())
        if event["event"] == "done"
    )
    early = max(count for when, count in samples if when <= ends[3])
    late = max(count for when, count in samples if when > ends[3])

    budget = int(2.5 * checkpoint)
    on_disk: list[int] = []
    cache = Path(os.environ["PYTHIA_TRAJ_CACHE"]) / "weights"
    sweep(steps, "disk", ["--disk-budget", str(budget)], lambda _: on_disk.append(size_of(cache)))
    peaks = {
        "anonymous": max(early, late),
        "allowed": int(allowed),
        "disk": max(on_disk),
        "disk budget": budget,
    }
    ratios = {
        "memory_vs_allowed": max(early, late) / allowed,
        "memory_growth_from_step_4": late / early,
        "disk_vs_budget": max(on_disk) / budget,
    }
    emit({}, ratios, memory=peaks, as_json=as_json)


def sweep(steps: str, name: str, more: list[str], sample) -> Path:  # type: ignore[no-untyped-def]
    """Runs a sweep in a process of its own, and `sample(pid)` while it runs."""
    command = [
        str(Path(sys.executable).with_name("pythia-traj")),
        "sweep",
        "--model",
        f"pythia-{SIZE}",
        "--steps",
        steps,
    ]
    command += [
        "--experiment",
        "induction,loss",
        "--prefetch",
        str(PREFETCH),
        "--out",
        str(PLACE / name),
        *more,
    ]
    for setting in ("induction.n=2", "loss.n=2", "loss.null_n=2"):
        command += ["--set", setting]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        sample(process.pid)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return PLACE / name


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, while others add and remove some."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


if __name__ == "__main__":
    main()
