"""Does the toy suite learn induction, whatever the seed?

Trains and sweeps one suite a seed, and prints a table.

    python benchmarks/toy_seeds.py [--seeds 6] [--json]

For each seed, at the first and the last step: the largest head score of `two_halves` at length 25,
the loss on the first and the second copy, and the loss on text the model was not trained on (nats);
the phase change, which is the first saved step with a head above 0.5; then the seconds of training
and sweep. docs/figures.md lists one run of it.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

import pythia_traj as pt
from pythia_traj.toy.recipe import Recipe
from pythia_traj.toy.train import train


def measure(seed: int, root: Path) -> dict[str, float | None]:
    """One seed's row."""
    suite, run = root / f"toy-seed{seed}", root / f"run-seed{seed}"
    start = time.perf_counter()
    train(suite, Recipe(seed=seed))
    trained = time.perf_counter()
    pt.sweep(pt.SweepConfig.from_yaml("demo", model=str(suite), out=run))
    swept = time.perf_counter()
    rows = pt.load(run)
    halves = rows[rows.variant == "two_halves"]
    text = rows[(rows.metric == "nll") & (rows.experiment == "loss") & rows.position.isna()]
    series = {
        "largest head": halves[halves.metric == "prefix_matching"].groupby("step").value.max(),
        "nll first": halves[halves.part == "first_copy"].set_index("step").value,
        "nll second": halves[halves.part == "second_copy"].set_index("step").value,
        "nll text": text.set_index("step").value,
    }
    last = rows.step.max()
    row: dict[str, float | None] = {"seed": seed}
    for name, values in series.items():
        row |= {
            f"{name} at 0": round(float(values[0]), 3),
            f"{name} at {last}": round(float(values[last]), 3),
        }
    row["phase change"] = next(
        (int(str(step)) for step, score in series["largest head"].items() if score > 0.5), None
    )
    return {**row, "train s": round(trained - start, 1), "sweep s": round(swept - trained, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=6, help="seeds 0 to N - 1")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pythia-traj-toy-") as root:
        rows = [measure(seed, Path(root)) for seed in range(arguments.seeds)]
    sys.stdout.write(
        json.dumps(rows, indent=1) if arguments.json else pd.DataFrame(rows).to_string(index=False)
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
