"""Does a step of `activations` take the memory that is counted?

    python benchmarks/activations.py [--json]

Random weights of six layers, 400 sequences of 64 tokens, 1, 5 and 10 sites, each swept in a process
of its own over one step. Counted is what `sweep --dry-run` prints as memory: the activations of a
batch and the step's file. The peak is that of the process's resident memory, less that of the same
sweep of one sequence: the interpreter, its libraries and the model. `peak_vs_counted` is to be at
most 1.2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from harness import emit  # noqa: E402

from tests.support import publish_suite  # noqa: E402

SITES = {
    1: "resid_post",
    5: "resid_post,attn_out,mlp_out,q,z",
    10: "resid_pre,resid_post,attn_out,mlp_out,q,k,v,z,pre,post",
}

SHAPE = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
}

SEQUENCES, LENGTH = 400, 64

SWEEP = """
import json, resource, sys
import pythia_traj as pt
from pythia_traj.sweeps.cost import estimate
from pythia_traj.sweeps.requests import plan_sweep
suite, out, sites, n, length, only_counted = sys.argv[1:]
settings = {"n": int(n), "length": int(length), "null_n": 1, "sites": sites}
config = pt.SweepConfig(
    model=suite, steps="0", experiments={"activations": settings}, out=out, device="cpu"
)
if only_counted == "True":
    plan, (published,) = plan_sweep(config)
    print(estimate(config, published, plan.todo)["activations"].memory)
else:
    assert not pt.sweep(config).failed
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
"""Prints bytes: what is counted, or the peak of the process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    memory: dict[str, int] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="pythia-traj-bench-") as root:
        suite = publish_suite(Path(root) / "suite", steps=(0,), **SHAPE)
        for number, sites in SITES.items():
            out = Path(root) / f"{number}"
            least = run(suite, out / "one", sites, 1)
            peak = run(suite, out / "all", sites, SEQUENCES) - least
            counted = run(suite, out / "none", sites, SEQUENCES, only_counted=True)
            memory |= {f"counted, {number} sites": counted, f"peak, {number} sites": peak}
            ratios[f"peak_vs_counted: {number} sites"] = peak / counted
    emit({}, ratios, memory=memory, as_json=arguments.json)


def run(suite: Path, out: Path, sites: str, n: int, *, only_counted: bool = False) -> int:
    """Bytes that a process of its own prints."""
    arguments = [str(suite), str(out), sites, str(n), str(LENGTH), str(only_counted)]
    command = [sys.executable, "-c", SWEEP, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(json.loads(found.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
