"""Do planning and `status` stay quick when a run holds 100,000 units?

    python benchmarks/scale.py [--json] [--units 1000,10000,100000]

A directory of tiny checkpoints, and a hundred labels of a trivial experiment: 10, 100 and 1,000
steps. Timed are planning with nothing done, planning with all units done, `pythia_traj.status`, and
the whole command `pythia-traj status` in a process of its own.

`planning_100k_vs_10k`, `planning_done_100k_vs_10k` and `status_100k_vs_10k` are ratios of the
fastest of several rounds; the last is of the function, without the start of the process.
`status_command_100k_vs_5_s` is the whole command over the 5 s that it may take.

Measuring is not what is timed, so units are completed without a model. Every file and every line of
the log is nevertheless the one that a sweep would write: `sweeps.record.Recorder` writes them with
the plan's digests. Only flushing to disk is left out. All checkpoints are links to the files of
one, of which planning looks at names, sizes and times.
"""

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TypeVar
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from harness import emit  # noqa: E402

import pythia_traj as pt  # noqa: E402
from pythia_traj.checkpoint import PublishedModel  # noqa: E402
from pythia_traj.store.layout import Run  # noqa: E402
from pythia_traj.sweeps.plan import Plan  # noqa: E402
from pythia_traj.sweeps.record import Circumstances, Recorder, Silent, SweepResult  # noqa: E402
from pythia_traj.sweeps.requests import plan_sweep, record_request  # noqa: E402
from pythia_traj.sweeps.shards import WHOLE  # noqa: E402
from pythia_traj.sweeps.sources import integrity_of, source_of  # noqa: E402
from pythia_traj.values import Key, Rows  # noqa: E402
from pythia_traj.vocabulary import Vocabulary  # noqa: E402
from tests.support import TRIVIAL, publish  # noqa: E402
from tests.support import random_model as tiny_model  # noqa: E402

T = TypeVar("T")

LABELS = 100

ALLOWED_SECONDS = 5.0

ROUNDS = {1_000: 5, 10_000: 5, 100_000: 2}
"""How often each time is taken; the fastest counts."""

DEVICE = {"device": "cpu", "name": "none", "threads": 1, "tf32": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--units", default="1000,10000,100000", help="how many, separated by commas"
    )
    arguments = parser.parse_args()
    sizes = [int(word) for word in arguments.units.split(",")]
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="pythia-traj-scale-") as place:
        first = Path(place) / "first"
        publish(first, tiny_model())
        (Path(place) / "trivial.py").write_text(TRIVIAL)
        for units in sizes:
            seconds |= measured(units, Path(place), first)
    ratios = {
        f"{name}_100k_vs_10k": seconds[f"{name}, 100000"]["min"] / seconds[f"{name}, 10000"]["min"]
        for name in ("planning", "planning_done", "status")
        if {10_000, 100_000} <= set(sizes)
    }
    if 100_000 in sizes:
        whole = seconds["status_command, 100000"]["min"]
        ratios["status_command_100k_vs_5_s"] = whole / ALLOWED_SECONDS
    emit(seconds, ratios, as_json=arguments.json)


def measured(units: int, place: Path, first: Path) -> dict[str, dict[str, float]]:
    """The times with so many units, whose run and suite are then deleted."""
    if units % LABELS:
        raise SystemExit(f"{units} units: give a multiple of {LABELS}, the number of labels")
    suite, out = place / f"suite{units}", place / f"run{units}"
    for step in range(units // LABELS):
        (suite / f"step{step}").mkdir(parents=True)
        for file in first.iterdir():
            os.link(file, suite / f"step{step}" / file.name)
    config = pt.SweepConfig(
        model=str(suite),
        steps="all",
        experiments={
            f"scaled{scale}": {"use": str(place / "trivial.py"), "scale": scale}
            for scale in range(LABELS)
        },
        out=out,
        device="cpu",
    )
    rounds = ROUNDS.get(units, 3)
    found = {}
    found["planning"], (plan, (published,)) = timed(lambda: plan_sweep(config), rounds)
    check(len(plan.todo) == units, "a unit is not planned")
    complete(config, plan, published)
    found["planning_done"], (plan, _) = timed(lambda: plan_sweep(config), rounds)
    check(len(plan.done) == units, "a unit is not done")
    found["status"], status = timed(lambda: pt.status(out), rounds)
    check(status.done == units, "status misses a unit")
    command = [str(Path(sys.executable).with_name("pythia-traj")), "status", str(out)]
    found["status_command"], _ = timed(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), rounds
    )
    for path in (suite, out):
        shutil.rmtree(path)
    return {f"{name}, {units}": times for name, times in found.items()}


def timed(work: Callable[[], T], rounds: int) -> tuple[dict[str, float], T]:
    """The seconds of some rounds, and what the last of them returned."""
    times = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return {"median": round(median(times), 4), "min": round(min(times), 4)}, result


def check(is_right: bool, what: str) -> None:
    if not is_right:
        raise SystemExit(what)


def complete(config: pt.SweepConfig, plan: Plan, published: PublishedModel) -> None:
    """Does what a worker does, with rows that are not measured."""
    run, result = Run.create(config.out), SweepResult(config.out)
    name = record_request(run, config, [published], plan.steps)
    recorder = Recorder(run, Silent(), result, name, WHOLE)
    vocabulary = Vocabulary(d_vocab=300, n_ctx=128)
    with unflushed(), recorder.working():
        for step, together in groupby(plan.todo, key=lambda unit: unit.step):
            units = list(together)
            recorder.started(units)
            under = Circumstances(
                checkpoint=published.checkpoint(step),
                vocabulary=vocabulary,
                device=DEVICE,
                seconds={"fetch": 0.1, "swap": 0.01, "compute": 0.2},
                fetched=100_000,
                waited_for="compute",
                labels=[units[0].label],
                origin=published.origin,
            )
            files = (source_of(published, units[0]), integrity_of(published, units[0]))
            for unit in units:
                rows = Rows()
                rows.add(Key("weight"), float(step))
                recorder.done(unit, rows, files, {}, under, softmax=None)


@contextmanager
def unflushed() -> Iterator[None]:
    """Files are not flushed to disk, which is a matter of the disk alone."""
    with patch("os.fsync", lambda _descriptor: None):
        yield


if __name__ == "__main__":
    main()
