"""Texts that models write: the continuations of prompts by step, and their metrics."""

import pandas as pd

from pythia_traj.analysis.selection import choose
from pythia_traj.analysis.steps import steps_to_show


def metric_of_samples(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of the continuations, with its control; `what` is "continuations"."""
    return choose(rows, [metric]).assign(what="continuations")


def sample_texts(samples: pd.DataFrame, most: int = 8, of_each: int = 1) -> pd.DataFrame:
    """What a model writes after each prompt, at some of the steps.

    Args:
        samples: `pythia_traj.load(run, table="samples")`.
        most: about how many steps of each model and label are shown.
        of_each: how many continuations of a prompt and step, the first ones.

    Returns:
        columns model, label, prompt_number, prompt, step, sample, continuation and log_prob, in
        this order of their rows.
    """
    columns = ["model", "label", "prompt_number", "prompt", "step", "sample", "continuation"]
    columns += ["log_prob"]
    if samples.empty:
        return pd.DataFrame(columns=columns)
    kept = samples[samples["sample"] < of_each]
    units = kept.groupby(["model", "label"], observed=True, sort=False)
    shown = [unit[unit["step"].isin(steps_to_show(unit["step"], most - 1))] for _, unit in units]
    found = pd.concat(shown)[columns].astype({"model": str, "label": str})
    order = ["model", "label", "prompt_number", "step", "sample"]
    return found.sort_values(order, ignore_index=True, kind="stable")
