"""How much faster are two workers than one, and are their rows the same?

    python benchmarks/workers.py [--json] [--pairs 2] [--steps 8]

A directory of random checkpoints of 6 layers and 256 dimensions, measured on the CPU by
`pythia-traj submit --executor local` with one and with two workers of one thread each, in turn, and
once by `--executor inline` with one thread. With 8 steps that is more than a minute of work for
one worker.

Each worker's seconds are from the first unit that it begins to the last one that it ends, from its
log: without the start of its process and the making of its data. A run's are those of its slowest
worker. `local_2_vs_1` is the ratio of the medians; the ideal is 2, where a machine has two cores
that are as fast together as each alone: `cores_2_vs_1` is what two processes with a loop of matrix
products reach in the same minute.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from subprocess import PIPE

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from harness import emit, summary  # noqa: E402

import pythia_traj as pt  # noqa: E402
from pythia_traj.store.events import list_logs, parse_event, read_lines  # noqa: E402
from pythia_traj.store.layout import Run  # noqa: E402
from tests.support import publish_suite  # noqa: E402

SHAPE = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
}

EXPERIMENTS = ("loss", "induction")

SETTINGS = (
    *("--set", "loss.length=128", "--set", "loss.n=128"),
    *("--set", "induction.length=50", "--set", "induction.n=64"),
)

SPIN = """
import sys, time, torch
torch.set_num_threads(1)
a = torch.randn(512, 512)
input()
start = time.perf_counter()
for _ in range(600):
    a @ a
print(time.perf_counter() - start)
"""
"""A loop of matrix products that begins when it is told to."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pairs", type=int, default=2, help="runs of each, in turn")
    parser.add_argument("--steps", type=int, default=8, help="checkpoints: about 10 s of work each")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in ("1 worker", "2 workers")}
    cores: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pythia-traj-workers-") as place:
        suite = publish_suite(Path(place) / "suite", tuple(range(arguments.steps)), **SHAPE)
        inline = run_of(suite, Path(place) / "inline", "inline", 1)
        for pair in range(arguments.pairs):
            cores.append(2 * spun(1) / spun(2))
            for jobs, name in ((1, "1 worker"), (2, "2 workers")):
                out = Path(place) / f"{jobs}-{pair}"
                run_of(suite, out, "local", jobs)
                seconds[name].append(busy(out))
                if not pt.load(inline, controls=True).equals(pt.load(out, controls=True)):
                    raise SystemExit(f"{name}: other rows than inline")
    one, two = (median(values) for values in seconds.values())
    ratios = {"local_2_vs_1": one / two, "cores_2_vs_1": median(cores)}
    emit(summary(seconds), ratios, as_json=arguments.json)


def run_of(suite: Path, out: Path, executor: str, jobs: int) -> Path:
    """Measures the suite, every worker with one thread."""
    program = str(Path(sys.executable).with_name("pythia-traj"))
    words = ["--model", str(suite), "--steps", "all", "--experiment", ",".join(EXPERIMENTS)]
    how = ["--executor", executor, "--jobs", str(jobs), "--device", "cpu", "--out", str(out)]
    command = [program, "submit", *words, *SETTINGS, *how]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return out


def busy(out: Path) -> float:
    """The seconds of the slowest worker."""
    return max(busy_worker(log) for log in list_logs(Run.open(out)))


def busy_worker(log: Path) -> float:
    """From the first unit that a worker began to the last one that it ended."""
    times = [
        event["time"]
        for event in map(parse_event, read_lines(log))
        if event is not None and re.fullmatch("started|done", event["event"])
    ]
    return float(times[-1] - times[0]) if times else 0.0


def spun(count: int) -> float:
    """The seconds of the slowest of so many loops at once."""
    loops = [
        subprocess.Popen([sys.executable, "-c", SPIN], stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(count)
    ]
    # All have loaded torch by then; a line lets each begin.
    time.sleep(5)
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write("\n")
        loop.stdin.flush()
    return max(float(loop.communicate()[0]) for loop in loops)


if __name__ == "__main__":
    main()
