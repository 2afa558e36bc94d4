"""The model this project was started for: pythia-1b-deduped's shape, swept from a local hub.

    python benchmarks/pythia_1b.py [--json] [--size 1b] [--steps 0,512,143000] [--items 8]

Random weights of the full shape (16 layers, d_model 2048, 8 heads, 1.01 B parameters, fp16, causal
masks included) are served at three steps by the tests' loopback hub, in a process of its own, under
the model's own name. `pythia-traj sweep` measures both experiments on `--items` sequences each: two
cores do about a hundred billion operations a second, and one sequence of 550 tokens takes a
trillion. Memory does not depend on how many there are. Printed are the seconds of each phase
(medians over steps, from the footers), and the peak of all memory that the sweep had in use, the
model's, three checkpoints' on their way and mapped files' together; `memory_vs_limit_1b` is that
over 12 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from harness import emit, summary, watch_memory  # noqa: E402

from pythia_traj.store.unit import read_footer  # noqa: E402
from tests.hub.publish import hub_process  # noqa: E402

LIMIT = 12e9
"""Bytes of memory that the sweep may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", default="1b", help="a size of Pythia")
    parser.add_argument("--steps", default="0,512,143000", help="which steps are served and swept")
    parser.add_argument("--items", type=int, default=8, help="sequences of each experiment")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    model = f"pythia-{arguments.size}-deduped"
    with tempfile.TemporaryDirectory(prefix="pythia-traj-bench-") as name:
        root = Path(name)
        random = ["--random", f"{arguments.size}=EleutherAI/{model}", "--steps", arguments.steps]
        with hub_process(root / "hub", *random) as endpoint:
            command = [
                "sweep",
                "--model",
                model,
                "--steps",
                arguments.steps,
                "--experiment",
                "induction,loss",
            ]
            for name_of_count in ("induction.n", "loss.n", "loss.null_n"):
                command += ["--set", f"{name_of_count}={arguments.items}"]
            environment = {
                **os.environ,
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(root / "hf"),
                "PYTHIA_TRAJ_CACHE": str(root / "cache"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "NO_PROXY": "127.0.0.1",
            }
            environment.pop("HF_HUB_OFFLINE", None)
            start = time.perf_counter()
            program = str(Path(sys.executable).with_name("pythia-traj"))
            process = subprocess.Popen(
                [program, *command, "--out", str(root / "run")],
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            peaks = watch_memory(process)
            wall = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"the sweep ended with {process.returncode}")
        footers = [
            read_footer(path) or {}
            for path in sorted((root / "run" / "metrics").rglob("*.parquet"))
        ]
    phases: dict[str, list[float]] = {}
    for footer in footers:
        for phase, value in footer["seconds"].items():
            phases.setdefault(f"{footer['made_of']['experiment']}: {phase}", []).append(value)
    seconds = {**summary(phases), "whole sweep": {"median": round(wall, 1), "min": round(wall, 1)}}
    ratios = {f"memory_vs_limit_{arguments.size}": peaks["resident"] / LIMIT}
    emit(seconds, ratios, memory={"resident": peaks["resident"]}, as_json=arguments.json)


if __name__ == "__main__":
    main()
