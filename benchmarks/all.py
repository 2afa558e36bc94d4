"""Runs every benchmark and writes benchmarks/results.json.

    python benchmarks/all.py [--full]

`--full` adds the shapes that take minutes and tens of gigabytes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

BENCHMARKS = {
    "swap": ["--full"],
    "startup": [],
    "transfer": [],
    "overlap": [],
    "memory": [],
    "activations": [],
    "growth": [],
    "ablation": [],
    "probing": [],
    "step_cost": [],
    "scale": [],
    "workers": [],
    "many_heads": [],
    "report": [],
    "dashboard": [],
}
"""Each program, with its arguments for --full."""

FULL_ONLY: dict[str, list[str]] = {"pythia_1b": []}
"""Programs that run only for --full; without it, their earlier results are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="large shapes too")
    arguments = parser.parse_args()
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, full in {**BENCHMARKS, **(FULL_ONLY if arguments.full else {})}.items():
        more = full if arguments.full else []
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", *more]
        results[name] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        sys.stdout.write(f"{name}: {json.dumps(results[name]['ratios'])}\n")
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
