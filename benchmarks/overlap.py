"""Does a sweep take as long as the slower of network and compute, not as long as both together?

    python benchmarks/overlap.py [--json] [--steps 12] [--seconds 1.0]

Twelve steps of pythia-14m's shape come from a hub on this machine that is slowed down until a
checkpoint takes as long as the experiment, which sleeps. `overlap_vs_ideal` is (wall time - one
checkpoint's transfer) / max(transfer, compute) with the default prefetch; `sequential_vs_ideal` is
the wall time over the same without prefetch.
"""

import argparse
import time
from pathlib import Path

from hub import PLACE, served

SIZE = "14m"

EXPERIMENT = '''
import time
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1)
def sleep(model, *, seconds: float = 1.0) -> Rows:
    """Takes its time."""
    time.sleep(seconds)
    rows = Rows()
    rows.add(Key("slept"), seconds)
    return rows
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=12, help="how many steps")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of compute, and of transfer, at each step"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    steps = [0, *(1000 * i for i in range(1, arguments.steps))]
    # All masks except the first checkpoint's are known, so only this crosses the network.
    rate = unmasked_bytes() / arguments.seconds
    with served(SIZE, ",".join(map(str, steps)), "--bytes-per-second", str(rate)):
        measure(steps, arguments.seconds, as_json=arguments.json)


def unmasked_bytes() -> int:
    from pythia_traj.suites.catalog import SIZES

    return 2 * SIZES[SIZE].n_parameters


def measure(steps: list[int], seconds: float, *, as_json: bool) -> None:
    from harness import emit

    import pythia_traj as pt
    from pythia_traj.store.events import read_events
    from pythia_traj.store.layout import Run

    (PLACE / "sleep.py").write_text(EXPERIMENT)

    def sweep(name: str, prefetch: int, selected: list[int]) -> tuple[float, Path]:
        experiments = {"sleep": {"use": str(PLACE / "sleep.py"), "seconds": seconds}}
        chosen = ",".join(map(str, selected))
        out = PLACE / name
        config = pt.SweepConfig(
            model=f"pythia-{SIZE}",
            steps=chosen,
            experiments=experiments,
            out=out,
            prefetch=prefetch,
            device="cpu",
        )
        start = time.perf_counter()
        result = pt.sweep(config)
        if result.failed:
            raise SystemExit(f"failed: {result.failed[0][1]}")
        return time.perf_counter() - start, out

    sweep("warm", 0, steps[:1])
    overlapped, run = sweep("overlapped", 2, steps)
    sequential, _ = sweep("sequential", 0, steps)
    fetches = [
        event["seconds"]["fetch"] for event in read_events(Run(run)) if event["event"] == "done"
    ]
    ideal = max(sum(fetches), seconds * len(steps))
    emit(
        {
            name: {"median": value, "min": value}
            for name, value in (("overlapped", overlapped), ("sequential", sequential))
        }
        | {"fetches": {"median": sorted(fetches)[len(fetches) // 2], "min": min(fetches)}},
        {
            "overlap_vs_ideal": (overlapped - max(fetches)) / ideal,
            "sequential_vs_ideal": sequential / ideal,
        },
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
