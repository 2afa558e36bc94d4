"""The onsets of two models' metrics, and whose came first."""

from collections.abc import Sequence
from math import log2

import pandas as pd

from pythia_traj.analysis.comparison.intervals import SIDES
from pythia_traj.analysis.comparison.items import Pair
from pythia_traj.analysis.matrix import identity, number, plain
from pythia_traj.analysis.onsets.frames import onset
from pythia_traj.analysis.onsets.order import order

_SHOWN = ("status", "step", "low", "high", "flags", "words")

_HAS_INTERVAL = ("onset", "unsure")
"""What of the others is known, their `words` say."""


def onsets_of_two(rows: Pair, items: Pair, same_items: Sequence[str]) -> pd.DataFrame:
    """When each metric of two models takes off, and which of them came first.

    Args:
        rows: rows of the whole model, of each side; `model` is the name of the side.
        items: their items.
        same_items: the labels at which the items of both are the same.

    Returns:
        a row for each metric that both have: the columns that identify it; of each side `status`,
        `flags` and `words` as `pythia_traj.onset` has them (`status_first`, ...), `step` where the
        status is `onset`, `low` and `high` where it is that or `unsure`; `octaves`, by how many
        log2 steps the second is later, where both are dated; `verdict`, as `pythia_traj.order` says
        it with the names of the models, where the items are the same too.
    """
    both = plain(pd.concat(rows, ignore_index=True))
    of_items = plain(pd.concat(items, ignore_index=True))
    both = both[both["value"].notna()]
    keys = [name for name in identity(both) if name != "model"]
    dated = plain(onset(both, of_items))
    dated["step"] = dated["step"].where(dated["status"] == "onset")
    for end in ("low", "high"):
        dated[end] = dated[end].where(dated["status"].isin(_HAS_INTERVAL))
    names = [str(side["model"].iloc[0]) for side in rows]
    table = pd.DataFrame(columns=keys)
    for side, name in zip(SIDES, names, strict=True):
        own = dated.loc[dated["model"] == name, [*keys, *_SHOWN]]
        own = own.rename(columns={shown: f"{shown}_{side}" for shown in _SHOWN})
        table = own if side == SIDES[0] else table.merge(own, on=keys)
    steps = table[[f"step_{side}" for side in SIDES]].to_numpy(float)
    table["octaves"] = [log2((second + 1) / (first + 1)) for first, second in steps]
    # What cannot be drawn together, or has no date, has no order.
    asked = table["octaves"].notna() & table["label"].isin(same_items)
    verdicts = _verdicts(table, asked, both, of_items)
    table["verdict"] = pd.Series(verdicts, index=table.index, dtype=object)
    return table


def _verdicts(
    table: pd.DataFrame, asked: pd.Series, rows: pd.DataFrame, items: pd.DataFrame
) -> list[str | None]:
    keys = [name for name in identity(rows) if name != "model"]
    parts = [part[keys].astype(object) for part in (table, rows, items)]
    numbers = number(pd.concat(parts, ignore_index=True), keys)
    of_rows = numbers[len(table) : len(table) + len(rows)]
    of_items = numbers[len(table) + len(rows) :]
    first, second = rows["model"].unique()
    said = {"a before b": f"{first} before {second}", "b before a": f"{second} before {first}"}
    found: list[str | None] = []
    for i, is_asked in enumerate(asked):
        verdict: str | None = None
        if is_asked:
            pair = order(rows[of_rows == numbers[i]], items[of_items == numbers[i]])
            # Its a is the first model, as the rows of that come first.
            verdict = str(pair["verdict"].iloc[0])
            verdict = said.get(verdict, verdict)
        found.append(verdict)
    return found
