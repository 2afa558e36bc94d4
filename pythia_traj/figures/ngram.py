"""Figures of `ngram`: which statistics of the text the model has learnt."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.learning import divergence_from_ngrams
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

DIVERGENCE = Quantity("KL(n-gram || model)", "nats per token", rangemode="tozero")


def ngrams_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How far the model's predictions are from each n-gram model's at each step.

    At a minimum the model is nearest to that n-gram.
    """
    chosen = drawable(divergence_from_ngrams(rows), "divergence from n-grams")
    return over_steps(chosen, DIVERGENCE)


CHARTS = (
    Chart(
        "ngram",
        10,
        "Statistics of the text",
        "How far the model is from unigram, bigram and trigram models of the corpus. Each line has"
        " its minimum where the model predicts most as that n-gram does. Dotted: shuffled tokens.",
        ngrams_over_steps,
    ),
)
"""What a report shows of these."""
