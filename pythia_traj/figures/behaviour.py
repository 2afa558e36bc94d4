"""Figures of `behaviour`: whether a model does a task."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

DIFFERENCE = Quantity("logit difference", "logits", scale="signed")
SHARE = Quantity("right", "share of prompts", rangemode="tozero", scale="share")
ANSWERS = Quantity("loss on the answers", "nats", rangemode="tozero")


def difference_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Logit of the right continuation minus that of the wrong one, at each step."""
    return over_steps(drawable(tasks.on_prompts(rows, "logit_diff"), "logit_diff"), DIFFERENCE)


def right_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of prompts on which a model is right at each step, by two standards."""
    return over_steps(drawable(tasks.right_on_prompts(rows), "accuracy, rank0"), SHARE)


def answers_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss on the right continuations at each step."""
    return over_steps(drawable(tasks.on_prompts(rows, "nll"), "nll"), ANSWERS)


def templates_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Logit difference at each step, by template of the prompts."""
    return over_steps(drawable(tasks.on_templates(rows, "logit_diff"), "templates"), DIFFERENCE)


CHARTS = (
    Chart(
        "behaviour",
        10,
        "Logit difference",
        "Logit of the right continuation minus that of the wrong one; above 0 the model prefers the"
        " right one. Dotted: the same continuations after the corrupted prompts, and after the"
        " prompts' tokens in random order.",
        difference_over_steps,
    ),
    Chart(
        "behaviour",
        20,
        "Prompts on which it is right",
        "Share of prompts on which the right continuation is likelier than the wrong one, and on"
        " which it is the model's first choice of all tokens. Dotted: after corrupted and after"
        " shuffled prompts.",
        right_over_steps,
    ),
    Chart(
        "behaviour",
        30,
        "Loss on the answers",
        "Loss on the right continuations; lower is better. Dotted: after corrupted and after"
        " shuffled prompts.",
        answers_over_steps,
    ),
    Chart(
        "behaviour",
        40,
        "Templates",
        "Logit difference on the prompts of each template: some are learnt before others.",
        templates_over_steps,
    ),
)
"""What a report shows of these."""
