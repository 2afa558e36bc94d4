"""`sweep --dry-run`: what would be done, what would be done again and why, and the cost."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.filesize import decimal

from pythia_traj.cli.output import print_json, print_table, say
from pythia_traj.errors import CheckpointError, DeviceError
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.checkpoint import PublishedModel
    from pythia_traj.config import SweepConfig
    from pythia_traj.sweeps.cost import Cost
    from pythia_traj.sweeps.plan import Plan, Unit


def say_plan(request: "SweepConfig", as_json: bool) -> None:
    """Prints what a sweep would do; writes nothing and reads no weights.

    Raises:
        PythiaTrajError: the request is wrong.
    """
    from pythia_traj.sweeps.requests import plan_sweep

    plan, models = plan_sweep(request, train=False)
    for warning in plan.warnings:
        say(f"warning: {warning}", err=True)
    costs = {published.model: costs_of(request, plan, published) for published in models}
    if as_json:
        _as_json(request, plan, costs)
    else:
        _as_text(request, plan, costs)


def _as_json(request: "SweepConfig", plan: "Plan", costs: "Mapping[str, dict[str, Cost]]") -> None:
    print_json(
        {
            "steps": {name: list(selected) for name, selected in plan.steps.items()},
            "todo": [unit.name for unit in plan.todo],
            "done": [unit.name for unit in plan.done],
            "why": {unit.name: why for unit, why in plan.redone.items()},
            "counts": {
                "new": len(plan.todo) - len(plan.redone),
                "redone": len(plan.redone),
                "done": len(plan.done),
            },
            "cost_per_step": {
                name: {label: asdict(cost) for label, cost in by_label.items()}
                for name, by_label in costs.items()
            },
            "warnings": list(plan.warnings),
            "request": request.resolved(),
        }
    )


def _as_text(request: "SweepConfig", plan: "Plan", costs: "Mapping[str, dict[str, Cost]]") -> None:
    for name, selected in plan.steps.items():
        say(f"{name}: {len(selected)} steps: {', '.join(map(str, selected))}")
    table = []
    for name in plan.steps:
        for label in request.experiments:
            counts = [
                sum(u.label == label and u.model == name for u in units)
                for units in (plan.todo, plan.done)
            ]
            cost = costs[name].get(label)
            # The cost of what is done already is not estimated.
            passes = seconds = "not known" if counts[0] else "-"
            memory = "-"
            if cost:
                memory = "-" if cost.memory is None else decimal(cost.memory)
                passes = f"{cost.passes:,.0f} of {cost.tokens:.0f} tokens"
                seconds = f"{cost.seconds:.0f}" if cost.seconds >= 10 else f"{cost.seconds:.2g}"
            table.append((name, label, *counts, passes, seconds, memory))
    print_table(
        [
            "model",
            "label",
            "to do",
            "done",
            "forward passes a step",
            "seconds a step",
            "memory",
        ],
        table,
    )
    sharing = {
        tuple(sorted((label, *cost.shared_with)))
        for found in costs.values()
        for label, cost in found.items()
    }
    for labels in sorted(labels for labels in sharing if len(labels) > 1):
        say(f"{', '.join(labels)} share one pass: together they take less than the sum.")
    _say_redone(plan.redone)


def _say_redone(redone: "Mapping[Unit, str]") -> None:
    """A line for each label and reason: most steps of a label have the same reason."""
    steps: dict[tuple[str, str, str], list[int]] = {}
    for unit, why in redone.items():
        steps.setdefault((unit.model, unit.label, why), []).append(unit.step)
    for (model, label, why), found in steps.items():
        which = (
            f"step {found[0]}"
            if len(found) == 1
            else f"{len(found)} steps, {min(found)} to {max(found)}"
        )
        say(one_line(f"redone: {model}/{label}, {which}: {why}"))


def costs_of(
    request: "SweepConfig", plan: "Plan", published: "PublishedModel"
) -> "dict[str, Cost]":
    """The cost by label; empty, with a line that says why, where it cannot be found here."""
    todo = [unit for unit in plan.todo if unit.model == published.model]
    if not todo:
        return {}
    from pythia_traj.standins import check_installed

    try:
        check_installed()
        from pythia_traj.sweeps.cost import estimate

        return estimate(request, published, todo)
    except (CheckpointError, DeviceError) as error:
        say(f"the cost is not known: {error}", err=True)
        return {}
