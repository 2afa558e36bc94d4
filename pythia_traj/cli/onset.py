"""`onset`: when the metrics of a run take off."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import JSON_OPTION, is_wide, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_SHOWN = 30
"""Sentences under the table, at most: --json has all."""

_ALWAYS = ("trajectory", "status", "step", "interval", "flags")
"""Columns for narrow terminals too."""

NOT_SEEDS = (
    "Intervals are of 95 %: they hold the uncertainty of the items and of the measured steps, not"
    " that of seeds."
)


def onset(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    metric: Annotated[
        str | None,
        typer.Argument(help="METRIC, LABEL.METRIC or EXPERIMENT.METRIC; all that keep items."),
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Of this model; repeat.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="half; threshold:X; or for comparison half_max, half_final, logistic, ramp,"
            " change_point, first_above:X,K."
        ),
    ] = "half",
    direction: Annotated[str, typer.Option(help="auto, up, down.")] = "auto",
    floor: Annotated[float | None, typer.Option(help="The base where it is known: chance.")] = None,
    draws: Annotated[int, typer.Option(help="Of the bootstrap over items.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    all_heads: Annotated[
        bool, typer.Option("--all-heads", help="Heads without a sure rise too (q above 0.05).")
    ] = False,
    order: Annotated[
        bool, typer.Option("--order", help="Which came first, for each pair of trajectories.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show when the metrics of a run take off, with 95 % intervals.

    The default, half, is the step at which a metric has risen by half of its height, or fallen
    (`way`). Of heads those are listed whose rise or fall is sure among all of them (q at most
    0.05). docs/onsets.md says how often
    the intervals hold onsets that are known.
    """
    from pythia_traj.analysis.onsets.run import onsets_of_run, order_of_run, surely_rising
    from pythia_traj.analysis.records import as_records

    options: dict[str, Any] = {"direction": direction, "floor": floor, "draws": draws, "seed": seed}
    if order:
        pairs = order_of_run(
            run, metric, model=model, method=method, all_heads=all_heads, **options
        )
        if as_json:
            print_json(as_records(pairs))
        else:
            _show_pairs(pairs)
        return
    table = onsets_of_run(run, metric, model=model, method=method, **options)
    listed = table if all_heads else surely_rising(table)
    if as_json:
        print_json(as_records(listed))
        return
    if table.empty:
        say("no metric keeps items at all of its steps: name a metric, for its bracket")
    if len(listed):
        _show(listed)
    if left := len(table) - len(listed):
        heads = "1 head" if left == 1 else f"{left} heads"
        say(f"{heads} without a rise or fall that is sure among all heads: --all-heads lists them")


def _show(table: "pd.DataFrame") -> None:
    cells = [_cells(row) for row in table.to_dict("records")]
    shown = [
        name
        for name in cells[0]
        if name in _ALWAYS or ((is_wide() or name == "way") and any(row[name] for row in cells))
    ]
    print_table(shown, [[row[name] for name in shown] for row in cells], ("trajectory", "flags"))
    told = table[table["status"] != "onset"]
    for name, words in list(zip(told["name"], told["words"], strict=True))[:_SHOWN]:
        say(f"{name}: {words}")
    if len(told) > _SHOWN:
        say(f"... and {len(told) - _SHOWN} more without a date: --json says why")
    say(NOT_SEEDS)


def _cells(row: "Mapping[Any, Any]") -> dict[str, str]:
    """What a table shows of one trajectory, by column."""
    from pythia_traj.analysis.onsets.words import between, number

    dated = row["status"] not in ("none", "refused")
    return {
        "trajectory": row["name"],
        "status": row["status"],
        "way": "down" if row["direction"] == "down" else "",
        "step": number(row["step"]),
        "interval": between(row["low"], row["high"]) if dated else "",
        "bracket": between(row["bracket_low"], row["bracket_high"]) if dated else "",
        "at 0.75 of it": number(row["step_at_0.75"]),
        "at 1.25 of it": number(row["step_at_1.25"]),
        "base": number(row["base"]),
        "top": number(row["top"]),
        "p or q": number(row["q"]) or number(row["p"]),
        "flags": row["flags"],
    }


def _show_pairs(pairs: "pd.DataFrame") -> None:
    columns = ("a", "b", "a before b", "tied", "b before a", "undetermined", "")
    shares = ("before", "tied", "after", "undetermined")
    print_table(
        columns,
        [
            (one["a"], one["b"], *(f"{one[share]:.3f}" for share in shares), one["verdict"])
            for one in pairs.to_dict("records")
        ],
    )
    say(NOT_SEEDS)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(onset)
