"""`compare`: two models of runs beside each other, or several seeds."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, print_table, say

if TYPE_CHECKING:
    import pandas as pd

    from pythia_traj.analysis.comparison.runs import Comparison

_ITEMS = "Intervals are of 95 %: other items of the same kind; not other seeds, nor other steps."


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The runs' directories.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Of this metric; repeat. All if not given.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Of this label; repeat.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Of this model; repeat.")] = None,
    align: Annotated[
        str, typer.Option(help="What is equal where values are compared: step, tokens, loss.")
    ] = "step",
    loss_label: Annotated[
        str | None, typer.Option(help="--align loss: the label of the loss, if several have it.")
    ] = None,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="The models are seeds of one model: show bands.")
    ] = False,
    onsets: Annotated[
        bool, typer.Option("--onsets", help="When the metrics of both take off, and which first.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show two models of one or two runs beside each other, or the bands of several seeds.

    Values are those of the last step (number of tokens, loss) that all have. Heads are compared as
    distributions, never by index. docs/comparing.md says what is computed.
    """
    from pythia_traj.analysis.comparison.runs import compare_runs

    found = compare_runs(
        runs,
        align,  # type: ignore[arg-type]  # a wrong word is refused there
        models=model or (),
        metric=metric or (),
        label=label or (),
        loss_label=loss_label,
        seeds=seeds,
        onsets=onsets,
    )
    if as_json:
        print_json(_document(found))
        return
    if found.is_of_seeds:
        _show_seeds(found)
    else:
        _show_two(found)
    for note in found.notes:
        say(f"warning: {note}", err=True)


def _show_two(found: "Comparison") -> None:
    first, second = (side.name for side in found.sides)
    say(f"{first} and {second}, at the last {found.by} that both have")
    known = _known(found.metrics, "difference")
    moving = known[known["largest_difference"] != 0] if len(known) else known
    if len(moving):
        print_table(
            ("metric", found.by, first, second, "difference", "paired by", "largest", "at"),
            [
                (
                    name,
                    _number(one["at"]),
                    _number(one["first"]),
                    _number(one["second"]),
                    _interval(one["difference"], one["low"], one["high"]),
                    "items" if one["paired"] else "",
                    _interval(one["largest_difference"], one["largest_low"], one["largest_high"]),
                    _number(one["largest_at"]),
                )
                for name, one in _named(moving)
            ],
        )
        say(f"Differences are {second} minus {first}. {_ITEMS}")
        say("The interval of a largest difference holds for those at all points together.")
    if len(known) > len(moving):
        say(f"{len(known) - len(moving)} metrics are equal at all points: --json has them")
    if len(found.metrics) > len(known):
        say(f"{len(found.metrics) - len(known)} metrics lack a value of one: --json says why")
    if len(found.heads):
        _show_heads(found, first, second)
    if len(found.onsets):
        _show_onsets(found.onsets, first, second)


def _show_heads(found: "Comparison", first: str, second: str) -> None:
    say("\nHeads as distributions")
    shown = [f"{what}, {side}" for what in ("largest", "median") for side in (first, second)]
    columns = [f"{what}_{side}" for what in ("max", "median") for side in ("first", "second")]
    print_table(
        ("metric", found.by, *shown, "distance", "shuffled", "p"),
        [
            (name, _number(one["at"]), *(_number(one[at]) for at in columns), *_distance(one))
            for name, one in _named(found.heads)
        ],
    )


def _show_onsets(onsets: "pd.DataFrame", first: str, second: str) -> None:
    from pythia_traj.analysis.onsets.words import between

    say("\nOnsets")
    dated = onsets[onsets[["step_first", "step_second"]].notna().any(axis=1)]
    print_table(
        ("metric", first, "", second, "", "octaves later", ""),
        [
            (
                name,
                *(
                    cell
                    for side in ("first", "second")
                    for cell in (
                        _number(one[f"step_{side}"]) or one[f"status_{side}"],
                        between(one[f"low_{side}"], one[f"high_{side}"])
                        if _number(one[f"step_{side}"])
                        else "",
                    )
                ),
                _number(one["octaves"]),
                one["verdict"],
            )
            for name, one in _named(dated)
        ],
    )
    if len(onsets) > len(dated):
        say(f"{len(onsets) - len(dated)} metrics take off in neither")


def _show_seeds(found: "Comparison") -> None:
    names = ", ".join(side.name for side in found.sides)
    say(f"{len(found.sides)} seeds ({names}), at the last {found.by} that all have")
    known = _known(found.metrics, "mean")
    # Of heads the largest and the median; --json has the other quantiles.
    known = known[~known["metric"].str.endswith(("(min)", "(q10)", "(q90)"))]
    columns = ("metric", found.by, "mean of seeds", "sd of seeds", "range", "item error", "seeds")
    print_table(
        columns,
        [
            (
                name,
                _number(one["at"]),
                _interval(one["mean"], one["low"], one["high"]),
                _number(one["sd"]),
                f"{_number(one['least'])} .. {_number(one['most'])}",
                _number(one["item_stderr"]),
                one["seeds"],
            )
            for name, one in _named(known)
        ],
    )
    say(
        "Intervals are of 95 %, of the mean over seeds. The error of a seed's items is beside them."
    )
    if len(found.heads):
        say("\nHeads as distributions, for each two seeds")
        print_table(
            ("metric", "", "", found.by, "distance", "shuffled", "p"),
            [
                (name, one["first"], one["second"], _number(one["at"]), *_distance(one))
                for name, one in _named(found.heads)
            ],
        )


def _distance(one: dict[str, Any]) -> tuple[str, str, str]:
    shuffled = f"{_number(one['null'])}, 95 % below {_number(one['null_high'])}"
    return _number(one["distance"]), shuffled, _number(one["p"])


def _named(table: "pd.DataFrame") -> Iterable[tuple[str, dict[str, Any]]]:
    """Each row with the name of its metric."""
    from pythia_traj.analysis.onsets.tables import KEYS, names_of

    keys = table[[name for name in KEYS if name in table]]
    rows = ({str(name): value for name, value in one.items()} for one in table.to_dict("records"))
    return zip(names_of(keys, always=("metric",)), rows, strict=True)


def _known(table: "pd.DataFrame", column: str) -> "pd.DataFrame":
    return table[table[column].notna()] if len(table) else table


def _number(value: Any) -> str:
    return "" if value is None or value != value else f"{value:.4g}"


def _interval(value: float, low: float, high: float) -> str:
    return _number(value) + (f" [{_number(low)}, {_number(high)}]" if low == low else "")


def _document(found: "Comparison") -> dict[str, Any]:
    from pythia_traj.analysis.records import as_records

    return {
        "by": found.by,
        "seeds": found.is_of_seeds,
        "models": [
            {"name": side.name, "run": str(side.run), "model": side.model} for side in found.sides
        ],
        "metrics": as_records(found.metrics),
        "heads": as_records(found.heads),
        "onsets": as_records(found.onsets),
        "notes": list(found.notes),
    }


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(compare)
