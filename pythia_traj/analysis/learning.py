"""What is learnt in which order: statistics of the text, and what probes find in the stream."""

import pandas as pd

from pythia_traj.analysis.layers import values_of_layers
from pythia_traj.analysis.selection import choose

_NGRAMS = {1: "unigram", 2: "bigram", 3: "trigram"}
"""The n-gram models in the comparison, by their n."""


def divergence_from_ngrams(rows: pd.DataFrame) -> pd.DataFrame:
    """How far the model's predictions are from those of n-grams, which `what` names.

    At a minimum the model is nearest to that n-gram.
    """
    chosen = choose(rows, ["kl"])
    chosen = chosen[chosen["size"].isin(_NGRAMS)]
    return chosen.assign(what=chosen["size"].map(_NGRAMS))


def logistic_probes(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of logistic probes at each layer, which `what` names.

    They are of the stream after the layer where that was probed, else of one other site.

    Args:
        rows: rows of a run.
        metric: `accuracy`, or `selectivity`, which is that minus the accuracy on control tasks.
    """
    chosen = values_of_layers(rows, metric, "logistic")
    after = chosen["component"] == "resid_post"
    # Without any row pandas takes the layers' names for numbers.
    layer = chosen["what"].astype(str)
    site = chosen["component"] + ", " + layer
    return chosen.assign(what=site.mask(after, "after " + layer))
