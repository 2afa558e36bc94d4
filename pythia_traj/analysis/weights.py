"""Statistics of single matrices."""

import pandas as pd

from pythia_traj.analysis.selection import choose_parts

EMBEDDINGS = {"W_E": "embedding W_E", "W_U": "unembedding W_U"}
"""The matrices that stand in no layer."""


def of_embeddings(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric without variants of embedding and unembedding, with controls; `what` names them."""
    chosen = choose_parts(rows, metric)
    chosen = chosen[chosen["component"].isin(EMBEDDINGS) & (chosen["variant"] == "")]
    return chosen.assign(what=chosen["component"].map(EMBEDDINGS))
