"""Rows of one metric, whichever it is: the figure they are for, and what lines are called."""

from typing import Literal

import pandas as pd

from pythia_traj.analysis.heads import head_names
from pythia_traj.analysis.selection import WHICH, measured, plain_columns

Kind = Literal["lines", "layers", "parts", "heads", "positions"]
"""What values are of: the whole model or few parts, many layers, many components of layers, heads,
positions.
"""

MOST_LAYERS = 7
"""More parts than these are a map, not lines."""

SINGLE = ("model", "label", "variant", "control", "part", "target", "reference", "size")
"""The columns that must have one value in a map, and in lines along positions."""

_NAMED = ("variant", "part", "target", "reference", "size")

_OF_ONE = ("control", *_NAMED)
"""Of which a map and lines along positions have one: controls where they stand alone."""


def rows_of_metric(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one metric as chosen rows, without `what`.

    Values over all positions are preferred to those of one, and so are their controls.

    Args:
        rows: rows of one metric, as `pythia_traj.load` gives them, with controls or without.
    """
    if rows.empty:
        return plain_columns(rows)
    at_position, of_control = rows["position"].notna(), rows["control"].notna()
    one_at_least = at_position if of_control.all() else at_position[~of_control]
    return plain_columns(rows if one_at_least.all() else rows[~at_position])


def kind_of(chosen: pd.DataFrame) -> Kind:
    """What kind of values chosen rows of one metric hold."""
    known = measured_or_all(chosen)
    if known["head"].notna().any():
        return "heads"
    if known["position"].notna().any():
        return "positions"
    parts = known[["component", "layer"]].drop_duplicates()
    if parts["layer"].notna().any() and len(parts) > MOST_LAYERS:
        return "layers" if known["component"].nunique() == 1 else "parts"
    return "lines"


def measured_or_all(chosen: pd.DataFrame) -> pd.DataFrame:
    """The measurements; where there are controls alone, these."""
    known = measured(chosen)
    return chosen if known.empty else known


def with_a_value(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows of what has a value at any step: others would make a gap in a line."""
    keys = ["experiment", *SINGLE, "component", "layer", "head"]
    return chosen[chosen.groupby(keys, dropna=False)["value"].transform("count") > 0]


def named_by_what_varies(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows with `what`: the component, layer or head, and all else that varies.

    Where nothing varies it is the metric; `all` where a row has none of what others have.
    """
    varies = measured_or_all(chosen)
    names = _where(chosen, varies)
    for column in _NAMED:
        if varies[column].nunique(dropna=False) > 1:
            words = chosen[column]
            if column == "size":
                words = words.map("size {:.0f}".format, na_action="ignore").fillna("")
            elif column == "reference":
                words = ("with " + words).mask(words == "", "")
            names = [[*of, word] for of, word in zip(names, words, strict=True)]
    joined = pd.Series([", ".join(filter(None, of)) for of in names], chosen.index, dtype=str)
    whole = chosen["metric"] if (joined[varies.index] == "").all() else "all"
    return chosen.assign(what=joined.mask(joined == "", whole))


def _where(chosen: pd.DataFrame, varies: pd.DataFrame) -> list[list[str]]:
    """The component, layer or head of each row, as far as they vary."""
    names = [""] * len(chosen)
    if varies[["layer", "head"]].drop_duplicates().shape[0] > 1:
        layers = ["" if pd.isna(layer) else f"layer {layer:.0f}" for layer in chosen["layer"]]
        heads = zip(head_names(chosen), chosen["head"], layers, strict=True)
        names = [layer if pd.isna(head) else name for name, head, layer in heads]
    several = varies["component"].nunique() > 1
    components = chosen["component"] if several else [""] * len(chosen)
    return [[component, name] for component, name in zip(components, names, strict=True)]


def highest(chosen: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """The rows of the lines that are highest at the last step, and how many lines there are.

    Args:
        chosen: chosen rows with `what`.
        most: how many lines are kept at most; controls stay with their lines.
    """
    keys = [*WHICH, "what"]
    known = measured_or_all(chosen).dropna(subset=["value"]).sort_values("step", kind="stable")
    last = known.groupby(keys, sort=False)["value"].last()
    if len(last) <= most:
        return chosen, len(last)
    kept = last.nlargest(most).index
    at = pd.MultiIndex.from_frame(chosen[keys])
    return chosen[at.isin(kept)], len(last)


def for_one_figure(chosen: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows that one figure can show, where those of one metric are of several kinds.

    Args:
        chosen: chosen rows of one metric.

    Returns:
        those of the whole model, else of the first component; where they are a map or by position,
        with the first variant, part, target, reference and size, of controls alone the first; of
        lines one for each control of a measurement; and what was chosen, as `variant mean`.
    """
    chosen, component = _first(chosen, "component")
    told = [component]
    kind = kind_of(chosen)
    apart = {"positions": (*_OF_ONE, "layer"), "heads": (*_OF_ONE, "position")}
    for key in () if kind == "lines" else apart.get(kind, _OF_ONE):
        chosen, one = _first(chosen, key)
        told.append(one)
    if kind == "lines":
        chosen, of_controls = _one_of_each_control(chosen)
        told += of_controls
    return chosen, [one for one in told if one]


def _one_of_each_control(chosen: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Controls in one kind where the lines do not name it, as the measurement has one alone.

    A control of the measurement's own variant, say, is preferred to others, and then the first.
    """
    known = measured_or_all(chosen)
    told = []
    for key in (*_NAMED, "layer", "head", "position"):
        if known[key].nunique(dropna=False) > 1:
            continue
        its_own = known[key].iloc[:1]
        for control in sorted({*chosen["control"].unique()} - {*known["control"].unique()}):
            of_it = chosen["control"] == control
            one, word = _first(chosen[of_it], key, its_own)
            chosen = chosen[~of_it | chosen.index.isin(one.index)]
            told += [f"{word} of control {control.replace('_', ' ')}"] if word else []
    return chosen, told


def _first(
    chosen: pd.DataFrame, key: str, preferred: pd.Series | None = None
) -> tuple[pd.DataFrame, str]:
    """The rows with one value in a column: the first that is measured, the absent one before all.

    Also what was chosen among several, empty where nothing or the absent one was. A preferred value
    comes before these.
    """
    known = measured_or_all(chosen)
    known = known[known["value"].notna()] if known["value"].notna().any() else known
    there = known[key].drop_duplicates().sort_values(na_position="first")
    if len(there) < 2:
        return chosen, ""
    of_those = there if preferred is None else there[there.isin(preferred)]
    word = there.iloc[0] if of_those.empty else of_those.iloc[0]
    is_it = chosen[key].isna() if pd.isna(word) else chosen[key].isin([word])
    shown = "" if pd.isna(word) else word if isinstance(word, str) else f"{word:.0f}"
    return chosen.loc[is_it], f"{key} {shown}" if shown else ""


def metrics_of(rows: pd.DataFrame) -> list[str]:
    """The metrics that are measured, and not of controls alone: those of the whole model first.

    Args:
        rows: rows of one experiment, as `pythia_traj.load` gives them.
    """
    if rows.empty:
        return []
    of_all = rows[rows["control"].isna()]
    whole = of_all["component"].isna() & of_all["position"].isna()
    ordered = pd.concat([of_all.loc[whole, "metric"], of_all.loc[~whole, "metric"]])
    return list(dict.fromkeys(map(str, ordered.unique())))
