"""`compare`: two models of runs beside each other, or several seeds."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import JSON_OPTION, WIDE, is_wide, print_json, print_table, say

if TYPE_CHECKING:
    import pandas as pd

    from pythia_traj.analysis.comparison.runs import Comparison

_ITEMS = "Intervals are of 95 %: other items of the same kind; not other seeds, nor other steps."

_WHOLE = (
    *("difference", "mean of seeds", "sd of seeds", "item error"),
    *("distance", "shuffled", "p", "status", "step", "interval"),
)
"""Columns whose cells stay on one line on a narrow terminal, where names take several."""

_SENTENCES = 30
"""Of onsets, at most: --json has all."""


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The runs' directories.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="METRIC, LABEL.METRIC or EXPERIMENT.METRIC; repeat. All if not given."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Of this label; repeat.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Of this model; repeat. In this order.")
    ] = None,
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
        rows = [
            {
                "metric": name,
                found.by: _number(one["at"]),
                first: _number(one["first"]),
                second: _number(one["second"]),
                "difference": _interval(one["difference"], one["low"], one["high"]),
                "paired by": "items" if one["paired"] else "",
                "largest": _interval(
                    one["largest_difference"], one["largest_low"], one["largest_high"]
                ),
                "at": _number(one["largest_at"]),
            }
            for name, one in _named(moving)
        ]
        _print(rows, ("metric", first, second, "difference"))
        say(f"Differences are {second} minus {first}. {_ITEMS}")
        if is_wide():
            say("The interval of a largest difference holds for those at all points together.")
    if len(known) > len(moving):
        say(f"{len(known) - len(moving)} metrics are equal at all points: --json has them")
    if len(found.metrics) > len(known):
        say(f"{len(found.metrics) - len(known)} metrics lack a value of one: --json says why")
    if len(found.heads):
        _show_heads(found, first, second)
    if len(found.onsets):
        _show_onsets(found, first, second)


def _show_heads(found: "Comparison", first: str, second: str) -> None:
    say("\nHeads as distributions")
    shown = {
        f"{what}, {name}": f"{column}_{side}"
        for what, column in (("largest", "max"), ("median", "median"))
        for name, side in ((first, "first"), (second, "second"))
    }
    rows = [
        {
            "metric": name,
            found.by: _number(one["at"]),
            **{column: _number(one[of]) for column, of in shown.items()},
            **_distance(one),
        }
        for name, one in _named(found.heads)
    ]
    _print(rows, ("metric", "distance", "shuffled", "p"))


def _show_onsets(found: "Comparison", first: str, second: str) -> None:
    say("\nOnsets")
    if found.by != "step":
        say(f"They are by step, and not at the same {found.by}.")
    names = {"first": first, "second": second}
    statuses = found.onsets[["status_first", "status_second"]]
    rises = ~statuses.isin(["none", "refused"]).all(axis=1)
    # Sentences of what the table shows, before those of what it leaves out.
    named = list(zip(rises, _named(found.onsets), strict=True))
    ordered = [one for _, one in sorted(named, key=lambda pair: not pair[0])]
    rows = [
        {"metric": metric, **_onset(one, side, name)}
        for metric, one in ordered[: int(rises.sum())]
        for side, name in names.items()
    ]
    if rows:
        _print(rows, ("metric", "model", "status", "step", "interval", "order"))
    told = [
        f"{metric}, {name}: {one[f'words_{side}']}"
        for metric, one in ordered
        for side, name in names.items()
        if one[f"status_{side}"] != "onset" or one[f"flags_{side}"]
    ]
    for sentence in told[:_SENTENCES]:
        say(sentence)
    if len(told) > _SENTENCES:
        say(f"... and {len(told) - _SENTENCES} more sentences: --json has them")
    if left := int((~rises).sum()):
        say(f"{left} metrics take off in neither, as far as it can be told")


def _onset(one: dict[str, Any], side: str, name: str) -> dict[str, str]:
    """What the table shows of the onset of one of two models; the second has what is of both."""
    from pythia_traj.analysis.onsets.words import between, number

    is_second = side == "second"
    has_interval = one[f"status_{side}"] in ("onset", "unsure")
    ends = [one[f"{end}_{side}"] for end in ("low", "high")]
    return {
        "model": name,
        "status": one[f"status_{side}"],
        "step": number(one[f"step_{side}"]),
        "interval": between(*ends) if has_interval else "",
        "flags": one[f"flags_{side}"],
        "octaves later": _number(one["octaves"]) if is_second else "",
        "order": (one["verdict"] or "") if is_second else "",
    }


def _show_seeds(found: "Comparison") -> None:
    names = ", ".join(side.name for side in found.sides)
    say(f"{len(found.sides)} seeds ({names}), at the last {found.by} that all have")
    known = _known(found.metrics, "mean")
    # Of heads the largest and the median; --json has the other quantiles.
    known = known[~known["metric"].str.endswith(("(min)", "(q10)", "(q90)"))]
    rows = [
        {
            "metric": name,
            found.by: _number(one["at"]),
            "mean of seeds": _interval(one["mean"], one["low"], one["high"]),
            "sd of seeds": _number(one["sd"]),
            "range": f"{_number(one['least'])} .. {_number(one['most'])}",
            "item error": _number(one["item_stderr"]),
            "seeds": str(one["seeds"]),
        }
        for name, one in _named(known)
    ]
    if rows:
        _print(rows, ("metric", "mean of seeds", "sd of seeds", "item error"))
    say(
        "Intervals are of 95 %, of the mean over seeds. The error of a seed's items is beside them."
    )
    if len(found.heads):
        say("\nHeads as distributions, for each two seeds")
        pairs = [
            {
                "metric": name,
                "first": one["first"],
                "second": one["second"],
                found.by: _number(one["at"]),
                **_distance(one),
            }
            for name, one in _named(found.heads)
        ]
        _print(pairs, ("metric", "first", "second", "distance", "p"))


def _print(rows: Sequence[dict[str, Any]], narrow: Sequence[str]) -> None:
    """A table of cells by column; of a narrow terminal only some columns, and it says so."""
    shown = list(rows[0]) if is_wide() else list(narrow)
    folded = None if is_wide() else [name for name in shown if name not in _WHOLE]
    print_table(shown, [[row[name] for name in shown] for row in rows], folded)
    if len(shown) < len(rows[0]):
        left = ", ".join(name for name in rows[0] if name not in shown)
        say(f"Not shown in {WIDE - 1} characters or fewer: {left}.")


def _distance(one: dict[str, Any]) -> dict[str, str]:
    return {
        "distance": _number(one["distance"]),
        "shuffled": f"{_number(one['null'])}, 95 % below {_number(one['null_high'])}",
        "p": _number(one["p"]),
    }


def _named(table: "pd.DataFrame") -> Iterable[tuple[str, dict[str, Any]]]:
    """Each row with the name of its metric."""
    from pythia_traj.analysis.onsets.tables import names_of
    from pythia_traj.schema import KEYS

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
