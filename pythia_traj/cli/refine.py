"""`sweep --refine`: what a search would begin with, and what it found, in words."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from pythia_traj.cli.output import SweepProgress, print_json, progress_bar, say
from pythia_traj.cli.result import as_document, exit_status, summarise
from pythia_traj.errors import ConfigError

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig
    from pythia_traj.sweeps.refining import Preview
    from pythia_traj.sweeps.search import Found

Refine = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL.METRIC",
        help="Choose few of the steps, so that they find this metric's onset; all published ones by"
        " default.",
    ),
]
RefineWhere = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="With --refine: of which variant, part, layer or head."
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="With --refine: how many steps of a model are measured in all; 30."
    ),
]

_GAPS = 3
"""Gaps that are named."""


@dataclass(frozen=True)
class Asked:
    """What the options of a search say; `target` is None where none is asked for."""

    target: str | None
    where: tuple[str, ...]
    budget: int | None

    def check(self, record_only: bool) -> None:
        """Refuses options that go with a search where none is asked for.

        Raises:
            ConfigError: one of them is given.
        """
        if self.target is None and (self.where or self.budget is not None):
            given = "--budget" if self.budget is not None else "--refine-where"
            raise ConfigError(
                f"{given} belongs to a search for an onset: give --refine LABEL.METRIC too"
            )
        if self.target is not None and record_only:
            raise ConfigError(
                "--record-only records steps for workers, and --refine chooses each step by the"
                " rows of those before: leave one of them out"
            )


def say_first_round(request: "SweepConfig", asked: Asked, as_json: bool) -> None:
    """Prints what a search would begin with, and the most that it can cost; writes nothing."""
    from pythia_traj.cli.dry_run import costs_of
    from pythia_traj.sweeps.refining import preview

    assert asked.target is not None
    plan, models, previews = preview(request, asked.target, where=asked.where, budget=asked.budget)
    costs = {published.model: costs_of(request, plan, published) for published in models}
    if as_json:
        print_json(
            {
                "refine": [asdict(one) for one in previews],
                "cost_per_step": {
                    model: {label: asdict(cost) for label, cost in by_label.items()}
                    for model, by_label in costs.items()
                },
                "request": request.resolved(),
            }
        )
        return
    for one in previews:
        for line in _preview_in_words(one):
            say(line)
        for label, cost in costs[one.model].items():
            say(
                f"  {label}: at most {one.most * cost.passes:,.0f} forward passes of"
                f" {cost.tokens:.0f} tokens, {one.most * cost.seconds:.2g} seconds of them"
            )


def _preview_in_words(one: "Preview") -> Iterator[str]:
    yield (
        f"{one.model}: {len(one.published)} steps to choose from, {one.measured} of them measured"
        " already"
    )
    if not one.choice.steps:
        yield f"  nothing to do: {one.choice.in_words}"
        return
    steps = ", ".join(map(str, one.choice.steps))
    yield f"  first: {steps}: {one.choice.in_words}"
    size = (
        "" if one.weight_bytes is None else f", {decimal(one.most * one.weight_bytes)} of weights"
    )
    yield f"  at most {one.most} more steps{size}"


def run_refine(request: "SweepConfig", asked: Asked, as_json: bool) -> None:
    """Searches, and prints what was found; the exit status is that of a sweep."""
    from pythia_traj.sweeps.refining import refine

    assert asked.target is not None
    with progress_bar() as progress:
        refined = refine(
            request,
            asked.target,
            where=asked.where,
            budget=asked.budget,
            observer=SweepProgress(progress),
        )
    if as_json:
        found = [_as_document(one) for one in refined.found]
        print_json(as_document(refined.result) | {"refined": found})
    else:
        for one in refined.found:
            for line in in_words(one):
                say(line)
        summarise(refined.result)
    if status := exit_status(refined.result):
        raise typer.Exit(status)


def _as_document(found: "Found") -> dict[str, Any]:
    trajectory = found.trajectory
    return {
        "model": found.model,
        "label": found.goal.label,
        "metric": found.goal.metric,
        "trajectory": None if trajectory is None else dict(trajectory.key),
        "among": None if trajectory is None else trajectory.among,
        "onset": None if found.onset is None else asdict(found.onset),
        "steps": list(found.steps),
        "published": found.published,
        "end": found.end.why,
        "gaps": [asdict(gap) for gap in found.gaps],
        "record": str(found.record),
    }


def in_words(found: "Found") -> Iterator[str]:
    """What a search found, how, and what it can have missed: a line each."""
    trajectory = found.trajectory
    which = "" if trajectory is None or not trajectory.in_words else f" ({trajectory.in_words})"
    yield f"{found.model}: {found.goal.name}{which}"
    if trajectory is not None and trajectory.among > 1:
        yield (
            f"  it has the greatest sure rise of {trajectory.among} at the first steps;"
            " --refine-where names another"
        )
    yield f"  {_onset_in_words(found)}"
    yield (
        f"  {len(found.steps)} of {found.published} steps measured; it ended because"
        f" {found.end.in_words}"
    )
    if found.gaps:
        widest = "; ".join(gap.in_words for gap in found.gaps[:_GAPS])
        more = len(found.gaps) - _GAPS
        others = f"; and {more} narrower" if more > 0 else ""
        yield (
            "  it can have missed a second crossing, or a dip, between measured steps:"
            f" {widest}{others}"
        )
    yield f"  choices: {found.record}"


def _onset_in_words(found: "Found") -> str:
    """What `pythia_traj.onset` says of it, and the bracket."""
    from pythia_traj.analysis.onsets.words import between, words

    onset = found.onset
    if onset is None:
        return "no onset: too few steps were measured"
    row = {**asdict(onset), "flags": ", ".join(onset.flags), "left_out": found.left_out}
    ends = (onset.bracket_low, onset.bracket_high)
    bracket = "" if ends == (None, None) else f"; bracket {between(*ends)}"
    return f"{onset.status}: {words(row)}{bracket}"
