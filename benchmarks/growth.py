"""Is a sweep's time linear in its steps, and what does a step cost besides the experiments?

    python benchmarks/growth.py [--json]

154 steps of a tiny model from a hub on this machine, and the first 77 of them.
`growth_154_vs_twice_77` is the time of all over twice that of the first 77; `overhead_vs_100_ms` is
the time of a step besides compute (fetching, swapping, writing, bookkeeping): wall time minus the
seconds of compute, divided by the number of steps and by 0.1 s.
"""

import argparse
import time

from hub import PLACE, served


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    from pythia_traj.suites.catalog import catalog

    steps = catalog()["pythia-14m"].steps
    with served("tiny", ",".join(map(str, steps))):
        measure(list(steps), as_json=arguments.json)


def measure(steps: list[int], *, as_json: bool) -> None:
    from harness import emit

    import pythia_traj as pt
    from pythia_traj.store.events import read_events
    from pythia_traj.store.layout import Run

    def sweep(name: str, count: int) -> tuple[float, float]:
        chosen = ",".join(map(str, steps[:count]))
        experiments = {"induction": {"n": 2, "length": 20}}
        config = pt.SweepConfig(
            model="EleutherAI/pythia-tiny",
            steps=chosen,
            experiments=experiments,
            out=PLACE / name,
            device="cpu",
        )
        start = time.perf_counter()
        if pt.sweep(config).failed:
            raise SystemExit("a step failed")
        wall = time.perf_counter() - start
        compute = sum(
            e["seconds"]["compute"] for e in read_events(Run(PLACE / name)) if e["event"] == "done"
        )
        return wall, (wall - compute) / count

    sweep("warm", 2)
    half, _ = sweep("half", 77)
    whole, overhead = sweep("whole", 154)
    seconds = {
        "77 steps": {"median": half, "min": half},
        "154 steps": {"median": whole, "min": whole},
        "overhead of a step": {"median": overhead, "min": overhead},
    }
    emit(
        seconds,
        {"growth_154_vs_twice_77": whole / (2 * half), "overhead_vs_100_ms": overhead / 0.1},
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
