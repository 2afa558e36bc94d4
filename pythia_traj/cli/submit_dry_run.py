"""`submit --dry-run`: units, bytes of weights, hours from what was measured before, the script."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.filesize import decimal

from pythia_traj.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from pythia_traj.cluster.estimate import Estimate
    from pythia_traj.config import SweepConfig


def say_estimate(
    request: "SweepConfig", executor: str, jobs: int | None, per_gpu: int | None, as_json: bool
) -> None:
    """Prints what a submission would do and take; reads no weights, writes and starts nothing.

    Raises:
        PythiaTrajError: the request is wrong, or the executor cannot do it so.
    """
    from pythia_traj.cluster.estimate import estimate
    from pythia_traj.cluster.submission import count_workers, find_executor
    from pythia_traj.store.layout import name_of
    from pythia_traj.sweeps.requests import document_of, plan_sweep

    chosen = find_executor(executor)
    plan, models = plan_sweep(request, train=False)
    count = count_workers(chosen, request, jobs, per_gpu) if plan.todo else 0
    found = estimate(request, plan, models, max(1, count))
    script = None
    if plan.todo:
        name = name_of(document_of(request, models, plan.steps))
        script = chosen.preview(request, name, count)
    if as_json:
        print_json(
            {
                "executor": executor,
                "jobs": count,
                "todo": len(plan.todo),
                "done": len(plan.done),
                "units": [asdict(line) for line in found.lines],
                "bytes": found.weight_bytes,
                "worker_hours": found.worker_hours,
                "hours": found.hours,
                "told_by": found.told_by,
                "script": script,
                "warnings": list(plan.warnings),
            }
        )
        return
    for warning in plan.warnings:
        say(f"warning: {warning}", err=True)
    _as_text(found, count)
    if script is not None:
        say(f"\n{script.rstrip()}")


def _as_text(found: "Estimate", jobs: int) -> None:
    rows = []
    for line in found.lines:
        seconds = "-"
        if line.todo:
            seconds = "not known" if line.seconds is None else f"{line.seconds:.2g}"
        rows.append((line.model, line.label, line.todo, line.done, seconds))
    print_table(["model", "label", "to do", "done", "seconds a unit"], rows)
    if jobs == 0:
        say("nothing to do: no worker would start")
        return
    size = "not known" if found.weight_bytes is None else decimal(found.weight_bytes)
    say(f"weights to read: {size}")
    if found.worker_hours is None or found.hours is None:
        say("hours: not known")
        return
    workers = "1 worker" if jobs == 1 else f"{jobs} workers"
    say(
        f"hours: {_hours(found.hours)} by {workers}, {_hours(found.worker_hours)} of work"
        f" (from {', '.join(found.told_by)})"
    )


def _hours(hours: float) -> str:
    return "less than 0.01" if hours < 0.01 else f"{hours:.3g}"
