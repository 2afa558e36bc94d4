"""The figures of the page in order, with headings and captions."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.dashboard import circuits, figures, learning


@dataclass(frozen=True)
class Chart:
    """A figure of the page: its heading and caption, and how to draw it from one model's rows."""

    heading: str
    caption: str
    draw: Callable[[pd.DataFrame], go.Figure]
    per_label: bool = False
    """Whether each label gets a figure of its own."""


CHARTS = (
    Chart(
        "Loss on text",
        "Mean loss per token; lower is better. Dotted is the control, the same tokens in random"
        " order: what is left when order says nothing.",
        figures.loss_over_steps,
    ),
    Chart(
        "Accuracy on text",
        "Share of tokens that the model ranks first. Dotted: the same tokens in random order.",
        figures.accuracy_over_steps,
    ),
    Chart(
        "Loss along the context",
        "Loss at each position, for some of the steps; the darker the later. A line that goes on"
        " falling to the right is a model that uses more of its context.",
        figures.loss_by_position,
        per_label=True,
    ),
    Chart(
        "In-context learning",
        "Loss late in the context minus loss early in it, at single tokens and averaged over"
        " windows. Negative means that the model learns from its context.",
        figures.icl_over_steps,
    ),
    Chart(
        "Induction: the strongest heads",
        "Attention to the token after the previous occurrence of the current one (convention"
        " two_halves). Thick: the largest head at each step. Thin: the heads that reach most."
        " Dotted: the largest on shuffled repeats.",
        figures.induction_over_steps,
    ),
    Chart(
        "Induction: loss on a repeated segment",
        "Loss on random tokens and on their exact repeat. The second copy falls below the first"
        " once the model continues what it has seen. Dotted: the repeat is shuffled.",
        figures.copies_over_steps,
    ),
    Chart(
        "Prefix matching by convention",
        "The largest head at each step, under each definition in use. Each has a scale of its own:"
        " compare a line with its dotted control, never with another line.",
        figures.conventions_over_steps,
    ),
    Chart(
        "What heads attend to",
        "For each kind of target, the largest share of attention that any head gives it, at each"
        " step. Previous-token heads are expected before induction heads, which build on them.",
        figures.attention_over_steps,
    ),
    Chart(
        "Prefix matching of every head",
        "One map a layer: heads downwards, training to the right, the darker the more attention"
        " goes to the token after the previous occurrence. All layers share one scale.",
        figures.head_heatmaps,
        per_label=True,
    ),
    Chart(
        "Attention of every head to the previous token",
        "One map a layer, read as the one above.",
        lambda rows: figures.head_heatmaps(rows, metric="previous_token"),
        per_label=True,
    ),
    Chart(
        "Removing sets of heads",
        "What a task's loss rises by when heads are removed together, measured on other prompts"
        " than they were chosen on. Dotted: the mean of other heads of the same layers, as many.",
        circuits.sets_over_steps,
        per_label=True,
    ),
    Chart(
        "Removing single heads",
        "The heads whose removal ever costs most.",
        circuits.removed_heads_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: the metric",
        "The whole model, the corrupted prompts, and a circuit that was found at another step."
        " Where the first two do not differ there is nothing for a circuit to explain. Dotted: a"
        " circuit of random edges.",
        circuits.circuit_metric_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: faithfulness",
        "How much of the difference between clean and corrupted prompts a circuit keeps. Not drawn"
        " where that difference is within three standard errors of 0. Dotted: circuits of as many"
        " random edges.",
        circuits.faithfulness_over_steps,
        per_label=True,
    ),
    Chart(
        "Circuits: size",
        "The fewest edges that are faithful enough, from the best attributed ones down. Dotted:"
        " taken in random order.",
        circuits.circuit_size_over_steps,
        per_label=True,
    ),
    Chart(
        "Roles of heads",
        "How many heads exceed the 99.9th percentile of their controls, by role. Dotted: the same"
        " of shuffled tokens; a head or two stand out by chance.",
        circuits.roles_over_steps,
        per_label=True,
    ),
    Chart(
        "Statistics of the text",
        "How far the model is from unigram, bigram and trigram models of the corpus. Each line has"
        " its minimum where the model predicts most as that n-gram does. Dotted: shuffled tokens.",
        learning.ngrams_over_steps,
        per_label=True,
    ),
    Chart(
        "Probes: accuracy",
        "Accuracy of a linear probe of the stream after each layer, on documents it was not trained"
        " on. Dotted: the same probe on a control task, in which each token type has a random"
        " label: what can be learnt by heart.",
        learning.probe_accuracy_over_steps,
        per_label=True,
    ),
    Chart(
        "Probes: selectivity",
        "Accuracy minus that on the control tasks. Negative where the token itself is easier to"
        " read off than the label. Dotted: of one control task against the others.",
        learning.probe_selectivity_over_steps,
        per_label=True,
    ),
)
"""The figures of a model's section, in order.

A chart without rows is left out.
"""
