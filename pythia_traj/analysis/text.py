"""Loss, accuracy and in-context learning: on text, and on random segments that are repeated."""

import pandas as pd

from pythia_traj.analysis.selection import choose, measured, of_everything, on_text
from pythia_traj.schema import WORDS

_LEARNING = {"icl_score": "tokens 500 and 50", "icl_window": "tokens 450..549 and 40..59"}
"""The tokens whose losses each in-context learning metric compares."""

_REPEATED = {"extractible": "whole continuations", "match": "tokens"}
"""What is repeated by heart, by metric."""


def loss_on_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean loss on text and its controls; `what` is "text"."""
    return _over_all_tokens(on_text(rows), {"nll": "text"})


def accuracy_on_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of tokens of text that are predicted correctly, and its controls; `what` is "text"."""
    return _over_all_tokens(on_text(rows), {"accuracy": "text"})


def in_context_learning(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss late in the context minus loss early in it; `what` names the tokens compared."""
    return _over_all_tokens(rows, _LEARNING)


def loss_by_position(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss on text at each position of the context, without controls.

    Without `what`: the lines are the steps.
    """
    return measured(of_everything(choose(rows, ["nll"], by_position=True)))


def loss_by_class(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss on the tokens of each class, without controls; `what` names the class."""
    return _by_kind(rows, frequency=False)


def loss_by_frequency(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss on tokens by how frequent they are, the most frequent first, without controls.

    `what` names the ranks.
    """
    return _by_kind(rows, frequency=True)


def _by_kind(rows: pd.DataFrame, *, frequency: bool) -> pd.DataFrame:
    kinds = [part for part in WORDS["part"] if _is_band(part) == frequency]
    chosen = measured(choose(rows, ["surprisal"]))
    chosen = chosen[chosen["part"].isin(kinds)]
    chosen = chosen.sort_values("part", key=lambda parts: parts.map(kinds.index), kind="stable")
    names = chosen["part"].str.replace(r"^rank_(\d+)_(\d+)$", r"ranks \1 to \2", regex=True)
    return chosen.assign(what=names.str.replace("rank_", "ranks ").str.replace("_", " "))


def _is_band(part: str) -> bool:
    return part.startswith("rank_") or part == "unseen"


def loss_on_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss on the first and the second copy of a random segment, which `what` names."""
    chosen = choose(rows, ["nll"])
    chosen = chosen[chosen["part"].isin(["first_copy", "second_copy"])]
    return chosen.assign(what=chosen["part"].str.replace("_", " "))


def _over_all_tokens(rows: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    chosen = of_everything(choose(rows, list(names)))
    return chosen.assign(what=chosen["metric"].map(names))


def memorised(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """How much of its training sequences a model repeats, with chance; `what` says of what.

    Args:
        rows: rows of a run.
        metric: `extractible`, whole continuations, or `match`, single tokens.
    """
    return _over_all_tokens(rows, {metric: _REPEATED[metric]})
