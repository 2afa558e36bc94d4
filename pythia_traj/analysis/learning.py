"""What is learnt in which order: statistics of the text, and what probes find in the stream."""

import pandas as pd

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
    """A metric of logistic probes of the stream after each layer, which `what` names.

    Args:
        rows: rows of a run.
        metric: `accuracy`, or `selectivity`, which is that minus the accuracy on control tasks.
    """
    chosen = choose(rows, [metric], component="resid_post")
    chosen = chosen[chosen["variant"] == "logistic"]
    return chosen.assign(what=[f"after layer {layer:.0f}" for layer in chosen["layer"]])
